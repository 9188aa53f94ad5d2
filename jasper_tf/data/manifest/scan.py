"""Scans a manifest into columns: 25 bytes a line, without the text.

`python -m jasper_tf.data.manifest.scan FILE START END FOLDER FILES_EXIST TEXTS` scans a part of a file, in its own
process.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jasper_tf.data.manifest.line import LONGEST_LINE, read_fields, read_lines
from jasper_tf.errors import UserError
from jasper_tf.io.progress import Progress, megabytes
from jasper_tf.io.thread_pool import map_in_order

PART_BYTES = 1 << 26
"""Larger manifests are scanned in parts of this size, a process for each core."""

_RECORDINGS = (b"RIFF", b"fLaC", b"OggS", b"ID3")
_NAMED = 1000


@dataclass
class ManifestScan:
    """The utterances of (a part of) one file.

    Args:
        start: [utterances] int64, the first byte of each utterance's line.
        line: [utterances] int32, its number in the part, from 1.
        duration_s: [utterances] float64.
        characters: [utterances] int32, the length of its text.
        alphabet: every character of the texts.
        broken: (line, reason) of the first thousand broken lines.
        broken_lines: how many there are.
        lines: of the part, blank ones included.
    """

    start: np.ndarray
    line: np.ndarray
    duration_s: np.ndarray
    characters: np.ndarray
    alphabet: str
    broken: list[tuple[int, str]]
    broken_lines: int
    lines: int


def scan(path: str, start: int, end: int, folder: str, files_exist: bool = False, texts: bool = True) -> ManifestScan:
    """The lines of `path` that begin at bytes [start, end); `start` must begin a line. See `parse_line`."""
    # array, not list: an object for each number would take four times the memory.
    starts, numbers, durations, sizes = array("q"), array("i"), array("d"), array("i")
    alphabet: set[str] = set()
    broken: list[tuple[int, str]] = []
    broken_lines = number = 0
    with open(path, "rb") as file:
        for number, position, line in read_lines(file, start, end):
            try:
                fields = read_fields(line, folder, files_exist=files_exist, texts=texts)
            except UserError as error:
                broken_lines += 1
                if broken_lines <= _NAMED:
                    broken.append((number, str(error)))
            else:
                if fields is not None:
                    _, _, _, duration_s, text = fields
                    starts.append(position)
                    numbers.append(number)
                    durations.append(duration_s)
                    sizes.append(len(text))
                    alphabet.update(text)
    return ManifestScan(
        np.array(starts, np.int64),
        np.array(numbers, np.int32),
        np.array(durations, np.float64),
        np.array(sizes, np.int32),
        "".join(sorted(alphabet)),
        broken,
        broken_lines,
        number,
    )


def scan_file(path: str, folder: str, name: str, files_exist: bool = False, texts: bool = True) -> ManifestScan:
    """The whole of one file, called `name` in messages; a large one by several processes.

    Raises:
        OSError: the file cannot be read.
        UserError: it is a file of another kind, or a process did not finish.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        if file.read(4).startswith(_RECORDINGS):
            raise UserError(f"{name}: is a recording; a manifest holds a line of JSON for each recording")
    if size <= PART_BYTES:
        return scan(path, 0, size, folder, files_exist, texts)
    bounds = _line_starts(path, size)
    parts = list(zip(bounds[:-1], bounds[1:], strict=True))
    scans = map_in_order(
        lambda part: _in_process(path, *part, folder, name, files_exist, texts), parts, os.cpu_count() or 1
    )
    found = []
    with Progress(f"reading {os.path.basename(name)}", size, megabytes) as progress:
        for (first, end), one in zip(parts, scans, strict=True):
            found.append(one)
            progress.advance(end - first)
    return _joined(found)


def _line_starts(path: str, size: int) -> list[int]:
    """Where the parts begin, each at the start of a line, and the end."""
    bounds = [0]
    with open(path, "rb") as file:
        while bounds[-1] + PART_BYTES < size:
            file.seek(bounds[-1] + PART_BYTES)
            if len(file.readline(LONGEST_LINE + 1)) > LONGEST_LINE:
                return [0, size]  # one process ends there, with the line's number
            bounds.append(min(file.tell(), size))
    return bounds if bounds[-1] == size else [*bounds, size]


def _joined(parts: list[ManifestScan]) -> ManifestScan:
    before = np.cumsum([0] + [part.lines for part in parts])
    broken = [(n + int(first), reason) for first, part in zip(before, parts, strict=False) for n, reason in part.broken]
    return ManifestScan(
        np.concatenate([part.start for part in parts]),
        np.concatenate([part.line + np.int32(first) for first, part in zip(before, parts, strict=False)]),
        np.concatenate([part.duration_s for part in parts]),
        np.concatenate([part.characters for part in parts]),
        "".join(sorted(set().union(*(part.alphabet for part in parts)))),
        broken[:_NAMED],
        sum(part.broken_lines for part in parts),
        int(before[-1]),
    )


# Not multiprocessing: its children import the caller's main module, which a script without a guard does not survive.
def _in_process(
    path: str, start: int, end: int, folder: str, name: str, files_exist: bool, texts: bool
) -> ManifestScan:
    package = str(Path(__file__).parents[3])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([package, os.environ.get("PYTHONPATH", "")])}
    command = [
        sys.executable,
        "-m",
        "jasper_tf.data.manifest.scan",
        path,
        str(start),
        str(end),
        folder,
        str(int(files_exist)),
        str(int(texts)),
    ]
    result = subprocess.run(command, env=environment, capture_output=True, check=False)
    if result.returncode:
        last = result.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise UserError(f"{name}: a process that read it ended with status {result.returncode} ({last}); try again")
    arrays = np.load(io.BytesIO(result.stdout))
    return ManifestScan(
        arrays["start"],
        arrays["line"],
        arrays["duration_s"],
        arrays["characters"],
        str(arrays["alphabet"]),
        list(zip(arrays["broken_line"].tolist(), arrays["broken_reason"].tolist(), strict=True)),
        int(arrays["broken_lines"]),
        int(arrays["lines"]),
    )


def _main(
    write: Callable[[bytes], object], path: str, start: str, end: str, folder: str, files_exist: str, texts: str
) -> None:
    found = scan(path, int(start), int(end), folder, bool(int(files_exist)), bool(int(texts)))
    out = io.BytesIO()
    columns = {key: value for key, value in vars(found).items() if key != "broken"}
    reasons = np.array([reason for _, reason in found.broken], np.str_)
    np.savez(out, broken_line=np.array([n for n, _ in found.broken], np.int64), broken_reason=reasons, **columns)
    write(out.getvalue())


if __name__ == "__main__":
    _main(sys.stdout.buffer.write, *sys.argv[1:])

"""Maps a function over the numbered parts of a job; each result is a file, so that a second run goes on."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import os
import pickle
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from jasper_tf.data.jobs.runner import Runner
from jasper_tf.errors import DataError, UserError
from jasper_tf.io.atomic_write import atomic_write

_JOB = "job.json"
"""What the results of a work folder depend on."""
_LOOK_EVERY_S = 0.05


class PartResult(NamedTuple):
    """What the function returned for a part, and whether an earlier run had computed it."""

    value: Any
    kept: bool


def run_parts(
    function: Callable[[Any], Any], parts: Sequence[Any], runner: Runner, folder: str | Path
) -> Iterator[PartResult]:
    """Yields `function(part)` for each part, in order and as soon as it is known.

    A result that is in `folder` already is not computed again.

    Args:
        function: picklable, of a module that the workers can import: a part -> a value for JSON. Workers run in the
            folder where this process runs. One may call it for a part again, when another one was lost.
        parts: picklable; each is taken when it is sent.
        runner: where.
        folder: `work_folder`, or one in it; on storage that every worker sees under this path.

    Raises:
        UserError: the first one that `function` raised; or as `Runner.map`.
    """
    folder = Path(folder).absolute()
    folder.mkdir(exist_ok=True)
    kept = [result_file(folder, number).exists() for number in range(len(parts))]
    todo = [number for number, done in enumerate(kept) if not done]
    stop = threading.Event()
    failure: list[BaseException] = []
    for old in folder.glob("parts-*.pickle"):
        old.unlink()

    def work() -> None:
        try:
            first, *places = _write_parts(sent, function, parts, todo)
            runner.map(functools.partial(run_part, str(sent), first), places, stop)
        except BaseException as error:
            failure.append(error)

    # A name of its own: a worker that an earlier run left behind must not read another part's place.
    sent = folder / f"parts-{secrets.token_hex(4)}.pickle"
    worker = threading.Thread(target=work, daemon=True)
    if todo:
        worker.start()
    try:
        for number in range(len(parts)):
            yield PartResult(_wait_for(folder, number, worker, failure), kept[number])
        if todo:
            worker.join()  # an engine that is left before its end complains
    finally:
        stop.set()


def result_file(folder: Path, number: int) -> Path:
    """The result of a part: a JSON object with `value`."""
    return folder / f"result-{number:06d}.json"


_Place = tuple[int, int, int, str]
"""Number of a part, its first byte, its bytes and their SHA-256."""


def run_part(parts_file: str, first: _Place, place: _Place) -> None:
    """Computes one part and writes its result; what the workers call.

    Args:
        parts_file: the function and the parts, pickled.
        first: where the function is.
        place: where the part is.

    Raises:
        DataError: the file is not the one that was sent. A pickle is a program, and the folder is often shared.
    """
    target = result_file(Path(parts_file).parent, place[0])
    if target.exists():
        return
    function, here = _read_part(parts_file, first)
    part = _read_part(parts_file, place)
    os.chdir(here)  # relative paths are those of the command
    try:
        found = {"value": function(part)}
    except UserError as error:
        found = {"error": str(error), "exit_status": error.exit_status}
    with atomic_write(target) as out:
        json.dump(found, out)


@contextmanager
def work_folder(folder: str | Path, option: str, job: Mapping[str, Any]) -> Iterator[Path]:
    """A folder for the results of a job, for this run alone; it is deleted when the block ends without an error.

    Args:
        folder: new, empty, or left by an interrupted run of the same job.
        option: that named it, for messages.
        job: what the results depend on, for JSON.

    Raises:
        UserError: it holds something else, or the parts of another job, or another run works there.
    """
    folder = Path(folder)
    plan, wanted = folder / _JOB, json.loads(json.dumps(job))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UserError(f"{option} {folder}: another run works there; wait for it") from None
            before = _read_object(plan) if plan.exists() else None
            others = [name for name in os.listdir(folder) if name != "lock" and not name.startswith(".writing-")]
            if before is None and others:
                raise UserError(f"{option} {folder}: holds something else ({min(others)}); name a new folder")
            if before not in (None, wanted):
                differs = [key for key in wanted if before.get(key) != wanted[key]]
                raise UserError(
                    f"{option} {folder}: holds parts of another job (another {', '.join(differs)}); "
                    "delete it, or name a new folder"
                )
            with atomic_write(plan) as file:
                json.dump(wanted, file)
            yield folder
            for entry in os.scandir(folder):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry)
                elif entry.name not in (_JOB, "lock"):
                    os.unlink(entry)
            shutil.rmtree(folder)  # what says whose it is goes last: a run that is killed here leaves no strange folder
    except OSError as error:
        raise UserError(f"{option} {folder}: cannot be used ({error.strerror}); name another folder") from None


def is_unfinished(folder: str | Path) -> bool:
    """Whether an interrupted run left its parts in this work folder."""
    return Path(folder, _JOB).is_file()


def _write_parts(sent: Path, function: Callable[[Any], Any], parts: Sequence[Any], todo: Sequence[int]) -> list[_Place]:
    """Writes the function and the parts to one file; returns the places of the function and of each part."""
    places = []
    with atomic_write(sent, binary=True) as file:
        for number in (-1, *todo):
            content = pickle.dumps((function, os.getcwd()) if number < 0 else parts[number])
            places.append((number, file.tell(), len(content), hashlib.sha256(content).hexdigest()))
            file.write(content)
    return places


def _read_part(parts_file: str, place: _Place) -> Any:
    _, start, size, digest = place
    with open(parts_file, "rb") as file:
        file.seek(start)
        content = file.read(size)
    if hashlib.sha256(content).hexdigest() != digest:
        raise DataError(f"{parts_file}: was changed by another program; keep the work folder to yourself")
    return pickle.loads(content)


def _read_object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{path}: damaged; delete it, and run the same command again")
    return found


def _wait_for(folder: Path, number: int, worker: threading.Thread, failure: list[BaseException]) -> Any:
    path = result_file(folder, number)
    while not path.exists():
        if not worker.is_alive() and not path.exists():
            if failure:
                raise failure[0]
            raise DataError(f"{path}: no worker wrote it; do the workers see {folder} under this path?")
        worker.join(_LOOK_EVERY_S)
    found = _read_object(path)
    if "error" in found:
        path.unlink()  # it is tried again
        raise (DataError if found["exit_status"] == 1 else UserError)(found["error"])
    return found["value"]

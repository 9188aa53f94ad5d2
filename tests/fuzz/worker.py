"""A process that reads hostile files, one after the other, with little memory and time for each.

A request is a line of JSON on stdin, [kind, path]; so is the answer on stdout: the outcome ("read", "refused" or
"failed"), what it says, and what was printed meanwhile, by libraries too.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

MORE_BYTES = 3 * 2**30
"""Address space that an example may take beyond what the process has."""

LONGEST_MESSAGE = 1010

MOST_CPU_S = 30
"""Processor time of an example, on all threads together."""


def read_manifest(path: Path) -> None:
    from jasper_tf.data.manifest.columns import read_manifest
    from jasper_tf.data.manifest.line import parse_line
    from jasper_tf.errors import UserError

    for line in path.read_bytes().split(b"\n"):
        try:
            found = parse_line(line, str(path.parent), "m.json:1")
        except UserError as error:
            check_message(str(error), path)
            continue
        if found is not None:
            found.text.encode()
            assert found.duration_s > 0 and found.offset_s >= 0
            assert "://" in found.path or os.path.isfile(found.path)
    list(read_manifest(str(path)))


def read_config(path: Path) -> None:
    from jasper_tf.config import load_config

    load_config(path).to_dict()


def read_model(path: Path) -> None:
    from jasper_tf.inference.load_model import load_model

    load_model(path)


def read_sound(path: Path) -> None:
    import numpy as np

    from jasper_tf.audio.load import audio_duration_s, load_audio

    audio_duration_s(path)
    audio = load_audio(path)
    assert len(audio) and np.isfinite(audio).all()


_in_graph: list[Callable] = []


def read_wav_in_graph(path: Path) -> None:
    import numpy as np
    import tensorflow as tf

    from jasper_tf.errors import UserError
    from jasper_tf.export.saved_model.wav_decoding import decode_wav_files
    from jasper_tf.serving.client.server_error import said_by_server

    if not _in_graph:
        signature = [tf.TensorSpec([None], tf.string)]
        _in_graph.append(tf.function(lambda files: decode_wav_files(files, 16000), input_signature=signature))
    try:
        audio, audio_len = _in_graph[0]([path.read_bytes()])
    except tf.errors.InvalidArgumentError as error:
        said = said_by_server(error.message)
        assert said.startswith("audio[0]: "), error.message
        raise UserError(said) from None
    assert audio.shape == (1, int(audio_len[0])) and np.isfinite(audio).all()


def read_run(path: Path) -> None:
    """What the next start of train.py reads of a run's folder, and `average-checkpoints`."""
    from jasper_tf.config import load_config
    from jasper_tf.errors import UserError
    from jasper_tf.training.run.checkpoint_manager import CheckpointManager
    from jasper_tf.training.run.folder import RunFolder
    from jasper_tf.training.run.log import RunLog
    from jasper_tf.training.run.training_state import TrainingState

    cfg = load_config(path.with_suffix(".yaml"), [f"exp_manager.exp_dir={path.parent}"])
    before = tree(path)
    try:
        folder = RunFolder(cfg)
    except UserError:
        assert tree(path) == before, "refused, and changed all the same"
        raise
    with folder:
        checkpoints = CheckpointManager(folder.checkpoints)
        checkpoints.ranked()
        state = TrainingState()
        for checkpoint in checkpoints.paths():
            try:
                state, _ = checkpoints.read(checkpoint)
            except UserError as error:
                check_message(str(error), path)
        RunLog(folder.metrics_file, None, state, tensorboard=folder.tensorboard)  # type: ignore[arg-type]  # it reads no batches


READERS = {
    "manifest": read_manifest,
    "config": read_config,
    "nemo": read_model,
    "keras": read_model,
    "sound": read_sound,
    "wav_in_graph": read_wav_in_graph,
    "run": read_run,
}


def check_message(message: str, path: Path) -> None:
    """One line of bounded length that steers no terminal."""
    import unicodedata

    assert message.strip(), "an empty message"
    # Controls, surrogates, separators of lines, and what turns the direction of writing.
    odd = [
        c
        for c in message
        if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")
        or unicodedata.bidirectional(c) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    ]
    assert not odd, f"a message with {odd[:3]}: {message[:300]!r}"
    assert len(message) <= LONGEST_MESSAGE, f"a message of {len(message)} characters: {message[:700]!r}"


def tree(folder: Path) -> dict[str, tuple]:
    """Everything below `folder`: its kind, size and time of change."""
    found = {}
    for at, folders, files in os.walk(folder):
        for name in folders + files:
            status = os.lstat(os.path.join(at, name))
            is_file = not name == "run.lock" and not os.path.isdir(os.path.join(at, name))
            if name != "run.lock":
                found[os.path.join(at, name)] = (
                    status.st_mode,
                    *((status.st_size, status.st_mtime_ns) if is_file else ()),
                )
    return found


def answer(kind: str, path: Path) -> tuple[str, str]:
    from jasper_tf.errors import UserError

    try:
        READERS[kind](path)
        return "read", ""
    except UserError as error:
        message = str(error)
    except BaseException:
        return "failed", traceback.format_exc()
    try:
        check_message(message, path)
    except AssertionError as error:
        return "failed", str(error)
    return "refused", message


def limit_memory(more: int = MORE_BYTES) -> None:
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + more, resource.RLIM_INFINITY))


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    printed = os.open("../printed", os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    faulthandler.enable()
    faulthandler.register(signal.SIGPROF, chain=True)  # then the signal ends the process
    for request in sys.stdin:
        kind, path = json.loads(request)
        os.ftruncate(printed, 0)
        limit_memory()
        signal.setitimer(signal.ITIMER_PROF, MOST_CPU_S)
        outcome, said = answer(kind, Path(path))
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.flush()
        shown = os.pread(printed, 4000, 0).decode(errors="replace")
        json.dump([outcome, said, shown], answers)
        print(file=answers, flush=True)


if __name__ == "__main__":
    main()

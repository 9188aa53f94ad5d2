"""TensorBoard's event files of a run that goes on: what was written past its checkpoint is taken out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event

from jasper_tf.errors import UserError

# Before the data of a record its length and the length's checksum, behind it one of the data.
_FRAME_BYTES = 16


def drop_events(folder: str | Path, keep: Callable[[int, str], bool]) -> None:
    """Leaves in the event files of `folder` only what `keep(step, tag)` says.

    A file that loses something is written anew beside and renamed; one that keeps nothing is removed. A last record
    that was being written when the process died goes too.
    """
    for file in sorted(Path(folder).glob("events.out.tfevents.*")):
        if not file.is_file():
            continue
        records = [(len(data) + _FRAME_BYTES, _kept(data, keep)) for data in RawEventFileLoader(str(file)).Load()]
        if not any(kept for _, kept in records):
            file.unlink()
        elif any(kept is False for _, kept in records) or sum(size for size, _ in records) < file.stat().st_size:
            # TensorBoard reads everything with "tfevents" in its name.
            beside = file.with_name(".rewriting")
            with open(file, "rb") as old, open(beside, "wb") as new:
                for size, kept in records:
                    record = old.read(size)
                    if kept is not False:
                        new.write(record)
            beside.replace(file)


def event_file_error(folder: Path, error: tf.errors.OpError) -> UserError | None:
    """The full disk behind an error of a training that writes event files to `folder`; None if it is something else."""
    # TensorFlow has no other sign of it: memory that runs out on a device is a ResourceExhaustedError too.
    if f"{folder}/events.out." not in error.message:
        return None
    return UserError(f"{folder}: the curves cannot be written; make room, then the same command goes on")


def _kept(data: bytes, keep: Callable[[int, str], bool]) -> bool | None:
    """Of a record; None when it is no summary, such as the version that a file begins with."""
    try:
        event = Event.FromString(data)
    except DecodeError:
        return None
    if not event.HasField("summary"):
        return None
    return any(keep(event.step, value.tag) for value in event.summary.value)

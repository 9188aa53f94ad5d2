"""Removes from TensorBoard's event files what was written after the checkpoint that a run resumes from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event

from jasper_tf.errors import UserError

# Each record: length, checksum of the length, data, checksum of the data.
_FRAME_BYTES = 16


def drop_events(folder: str | Path, keep: Callable[[int, str], bool]) -> None:
    """Removes the summaries with `keep(step, tag)` false from the event files of `folder`.

    A changed file is written under another name and renamed, a file without summaries is deleted. An incomplete last
    record, left by a killed process, is removed too.
    """
    for file in sorted(Path(folder).glob("events.out.tfevents.*")):
        if not file.is_file():
            continue
        records = [(len(data) + _FRAME_BYTES, _kept(data, keep)) for data in RawEventFileLoader(str(file)).Load()]
        if not any(kept for _, kept in records):
            file.unlink()
        elif any(kept is False for _, kept in records) or sum(size for size, _ in records) < file.stat().st_size:
            # TensorBoard reads everything with "tfevents" in its name.
            temporary = file.with_name(".rewriting")
            with open(file, "rb") as old, open(temporary, "wb") as new:
                for size, kept in records:
                    record = old.read(size)
                    if kept is not False:
                        new.write(record)
            temporary.replace(file)


def event_file_error(folder: Path, error: tf.errors.OpError) -> UserError | None:
    """Returns a UserError if `error` comes from writing the event files in `folder`, else None."""
    # The class does not tell: a device out of memory is a ResourceExhaustedError too.
    if f"{folder}/events.out." not in error.message:
        return None
    return UserError(f"{folder}: the curves cannot be written; make room, then the same command resumes")


def _kept(data: bytes, keep: Callable[[int, str], bool]) -> bool | None:
    """Returns whether to keep a record; None for one without a summary, such as the version of the file."""
    try:
        event = Event.FromString(data)
    except DecodeError:
        return None
    if not event.HasField("summary"):
        return None
    return any(keep(event.step, value.tag) for value in event.summary.value)

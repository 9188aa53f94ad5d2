"""TensorBoard's event files of a run that goes on: what was written past its checkpoint is taken out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import tensorflow as tf
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event

# Around each record: its length, and a checksum of the length and one of the data.
_FRAME_BYTES = 16


def drop_events(folder: str | Path, keep: Callable[[int, str], bool]) -> None:
    """Leaves in the event files of `folder` only what `keep(step, tag)` says.

    A file that loses something is written anew beside and renamed; one that keeps nothing is removed. A last record
    that was being written when the process died goes too.
    """
    for file in sorted(Path(folder).glob("events.out.tfevents.*")):
        # TensorBoard reads everything with "tfevents" in its name.
        beside = file.with_name(".rewriting")
        read = summaries = dropped = 0
        with tf.io.TFRecordWriter(str(beside)) as writer:
            for record in RawEventFileLoader(str(file)).Load():
                read += len(record) + _FRAME_BYTES
                event = Event.FromString(record)
                if event.HasField("summary"):
                    kept = [value for value in event.summary.value if keep(event.step, value.tag)]
                    dropped += len(event.summary.value) - len(kept)
                    if not kept:
                        continue
                    summaries += len(kept)
                    if len(kept) < len(event.summary.value):
                        del event.summary.value[:]
                        event.summary.value.extend(kept)
                        record = event.SerializeToString()
                writer.write(record)
        if not summaries:
            file.unlink()
        elif dropped or read < file.stat().st_size:
            beside.replace(file)
        beside.unlink(missing_ok=True)

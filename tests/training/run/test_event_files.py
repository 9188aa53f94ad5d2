"""Removal of later events from event files."""

import os

import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jasper_tf.training.run.event_files import drop_events


def write(folder, steps, tags=("train/loss", "validation/wer"), suffix=None) -> None:
    writer = tf.summary.create_file_writer(str(folder), filename_suffix=suffix)
    with writer.as_default():
        for step in steps:
            for tag in tags:
                tf.summary.scalar(tag, step / 10, step=step)
    writer.close()


def points(folder) -> dict[str, list[int]]:
    page = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    return {tag: [event.step for event in page.Tensors(tag)] for tag in page.Tags()["tensors"]}


def test_one_curve_is_left(tmp_path):
    write(tmp_path, range(1, 6))
    write(tmp_path, range(6, 9), suffix=".second")
    (kept,) = tmp_path.glob("*.v2")
    untouched = kept.read_bytes()
    drop_events(tmp_path, lambda step, tag: step < 7 and (step, tag) != (6, "validation/wer"))
    assert points(tmp_path) == {"train/loss": [1, 2, 3, 4, 5, 6], "validation/wer": [1, 2, 3, 4, 5]}
    assert kept.read_bytes() == untouched
    drop_events(tmp_path, lambda step, tag: step < 3)
    assert points(tmp_path) == {"train/loss": [1, 2], "validation/wer": [1, 2]}
    assert len(list(tmp_path.iterdir())) == 1
    drop_events(tmp_path, lambda step, tag: False)
    assert not list(tmp_path.iterdir())


def test_a_torn_end(tmp_path):
    write(tmp_path, range(1, 6))
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-5])
    drop_events(tmp_path, lambda step, tag: True)
    assert points(tmp_path) == {"train/loss": [1, 2, 3, 4, 5], "validation/wer": [1, 2, 3, 4]}
    # The next record is read: nothing torn is left before it.
    with open(file, "ab") as stream, open(next(_other(tmp_path)), "rb") as more:
        stream.write(more.read())
    assert points(tmp_path)["train/loss"][-1] == 9


def _other(folder):
    elsewhere = folder / "other"
    write(elsewhere, [9])
    return elsewhere.iterdir()


def test_a_missing_folder_is_left_missing(tmp_path):
    drop_events(tmp_path / "tensorboard", lambda step, tag: False)
    assert not list(tmp_path.iterdir())


def test_what_is_no_event_file_is_left(tmp_path):
    write(tmp_path, range(1, 4))
    (tmp_path / "events.out.tfevents.folder").mkdir()
    os.mkfifo(tmp_path / "events.out.tfevents.pipe")
    # A whole record of something else.
    with tf.io.TFRecordWriter(str(tmp_path / "events.out.tfevents.1.other")) as other:
        other.write(b"\xff no event")
    drop_events(tmp_path, lambda step, tag: step < 2)
    names = {p.name for p in tmp_path.iterdir()}
    assert {"events.out.tfevents.folder", "events.out.tfevents.pipe"} < names
    (tmp_path / "events.out.tfevents.pipe").unlink()
    assert points(tmp_path)["train/loss"] == [1]

"""Pictures, sounds and texts of a run's TensorBoard page."""

import dataclasses
import io

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jasper_tf.inference.load_model import load_model
from jasper_tf.training.callbacks.validation_samples import ValidationSamples
from jasper_tf.training.datasets import build_batches
from jasper_tf.training.run.log import RunLog
from jasper_tf.training.run.training_state import TrainingState


@pytest.fixture(scope="module")
def page(tiny_run) -> EventAccumulator:
    return EventAccumulator(str(tiny_run[1] / "tensorboard"), size_guidance={"tensors": 0}).Reload()


def values(page: EventAccumulator, tag: str) -> list[np.ndarray]:
    return [tf.make_ndarray(event.tensor_proto) for event in page.Tensors(tag)]


@pytest.mark.medium
def test_transcripts(page, tiny_run):
    said = [utterance.text for utterance in build_batches(tiny_run[0], "validation_ds")[0].utterances]
    for text in values(page, "validation/transcripts"):
        rows = [line.split(" | ") for line in text.item().decode().splitlines() if "% | " in line]
        assert sorted(row[1].replace("*", "").replace("\u0336", "") for row in rows) == sorted(said)
        rates = [int(row[0].strip("| %")) for row in rows]
        assert rates == sorted(rates, reverse=True)
        # Early on nearly every word is wrong, and marked.
        assert sum("**" in row[1] for row in rows) >= 4


def test_the_first_and_the_last_validation_have_samples(page):
    """Those between only where there is time."""
    for tag in ("validation/transcripts", "validation/alignment", "train/audio_augmented"):
        steps = [event.step for event in page.Tensors(tag)]
        assert steps[0] == 6 and steps[-1] == 18 and len(set(steps)) == len(steps)


def test_pictures(page):
    for name, count in (("spec_augment", 1), ("alignment", 3)):
        width, height, *pngs = values(page, f"validation/{name}")[-1]
        assert len(pngs) == len(set(pngs)) == count
        for png in pngs:
            picture = tf.io.decode_png(png).numpy()
            assert picture.shape[:2] == (int(height), int(width)) and picture.std() > 10, name


def test_sounds(page, tiny_run):
    cfg, _, _ = tiny_run
    for tag, section in (("validation/audio", "validation_ds"), ("train/audio_augmented", "train_ds")):
        [[wav, _]] = values(page, tag)[0]
        audio, rate = soundfile.read(io.BytesIO(wav), dtype="float32")
        assert rate == 16000
        batches, _ = build_batches(cfg, section)
        found = [i for i, samples in enumerate(batches.audio_len) if abs(samples - len(audio)) < 3]
        assert any(np.abs(batches.read(i)[: len(audio)] - audio).max() < 1e-3 for i in found), tag


@pytest.mark.medium
def test_the_worst_are_shown(tiny_run, tmp_path):
    """Three of five references are what the model hears, so the other two are the worst."""
    cfg, folder, _ = tiny_run
    batches, _ = build_batches(cfg, "validation_ds")
    log = RunLog(None, batches, TrainingState(step=6), tensorboard=tmp_path)
    samples = ValidationSamples(batches, batches, log, TrainingState(step=6), samples=2)
    model = load_model(folder)
    for callback in (log, samples):
        callback.set_model(model)
    for k in (0, 1, 3):
        heard = str(model.transcribe([samples.utterances[k].path])[0])
        samples.utterances[k] = dataclasses.replace(samples.utterances[k], text=heard)
    samples.on_epoch_end(0, {"val_wer": 1.0})
    log.on_train_end()
    page = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0}).Reload()
    [text] = [value.item().decode() for value in values(page, "validation/transcripts")]
    rates = [line.split(" | ")[0].strip("| ") for line in text.splitlines() if "% | " in line]
    assert len(rates) == 2 and "0%" not in rates
    assert text.startswith("2 worst of 5 utterances") and " 3 of them without an error" in text


def test_the_training_sound_is_augmented(tiny_config):
    cfg = tiny_config("model.train_ds.augmentor={speed: {prob: 1.0, min_speed_rate: 0.8, max_speed_rate: 0.9}}")
    batches, _ = build_batches(cfg, "train_ds")
    plain = batches.read(3)
    heard = batches.read(3, epoch=1)
    assert len(heard) > 1.1 * len(plain) and not np.array_equal(heard, batches.read(3, epoch=2))
    # What the model gets in that epoch.
    batches.epoch = 1
    [(step, row)] = [(s, int(np.flatnonzero(b.index == 3)[0])) for s, b in enumerate(batches.plan(1)) if 3 in b.index]
    x, _ = next(iter(batches.dataset().skip(step)))
    np.testing.assert_array_equal(x["audio"][row, : x["audio_len"][row]], heard)

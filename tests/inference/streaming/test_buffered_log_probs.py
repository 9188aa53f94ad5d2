"""Log-probabilities of a stream, from overlapping windows."""

import dataclasses
import gc
import tracemalloc

import numpy as np
import pytest

from jasper_tf.config import PreprocessorConfig
from jasper_tf.errors import UserError
from jasper_tf.inference.streaming.buffered_log_probs import BufferedLogProbs
from jasper_tf.model.frames import context_frames
from jasper_tf.model.jasper_ctc import JasperCTC

RNG = np.random.default_rng(0)
# Louder and quieter, so that statistics of parts are not those of the whole.
AUDIO = (RNG.normal(size=160_000) * np.repeat(RNG.uniform(0.01, 0.3, 40), 4000)).astype(np.float32)
EDGES = ([], [0, 0, 1, 2, 3, 700, 701, 90_000], [*range(0, 3000, 17), *range(3000, 160_000, 1601)])
FIXED = {"fixed_mean": [-8.0] * 16, "fixed_std": [2.0] * 16}


def make(**preprocessor):
    block = {"repeat": 1, "dilation": [1], "residual": False}
    wide = {"kernel": [5], "stride": [1], "dilation": [2], "separable": True, "residual": True}
    spliced = preprocessor.get("frame_splicing", 1)
    encoder = {
        "feat_in": 16,
        "frame_splicing": spliced,
        "jasper": [
            {**block, "filters": 24, "kernel": [11], "stride": [2]},
            {**block, **wide, "filters": 16},
        ],
    }
    front = dataclasses.asdict(PreprocessorConfig(features=16)) | preprocessor
    return JasperCTC(list(" abc"), front, encoder, seed=3)


MODEL = make()


class AudioModel:
    """What a SavedModel is to the stream: a model that takes audio."""

    def __init__(self, model):
        self.tokenizer, self.sample_rate, self.frame_s = model.tokenizer, model.sample_rate, model.frame_s
        self.log_probs = model.log_probs


def offline(model, audio):
    log_probs, size = model.log_probs(audio[None], np.array([len(audio)], np.int32))
    return log_probs[0, : size[0]]


def run(stream, audio=AUDIO, edges=()):
    final = [stream.push(part)[0] for part in np.split(audio, edges)]
    return np.concatenate([*final, stream.finish()])


@pytest.mark.parametrize("wrap", [lambda model: model, AudioModel], ids=["features", "audio"])
def test_the_division_of_the_audio_changes_nothing(wrap):
    one, *others = (run(BufferedLogProbs(wrap(MODEL), 0.7, 0.3, 0.2), edges=edges) for edges in EDGES)
    assert len(one) == len(offline(MODEL, AUDIO))
    for other in others:
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "preprocessor",
    [
        {"normalize": "per_feature"},
        {"normalize": "all_features"},
        {"normalize": None},
        {"normalize": FIXED},
        {"exact_pad": True},
        {"generation": "legacy"},
        {"frame_splicing": 3},
        {"pad_to": 0, "preemph": None, "window_size": 0.03},
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [500, 30_000])
def test_a_window_with_all_of_the_recording_gives_the_frames_of_the_offline_model(preprocessor, size):
    model = make(**preprocessor)
    found = run(BufferedLogProbs(model, 2.0, 1.0, 2.0), AUDIO[:size], [700] if size > 700 else [])
    expected = offline(model, AUDIO[:size])
    np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize(
    "preprocessor", [{}, {"exact_pad": True}, {"generation": "legacy"}, {"frame_splicing": 3}], ids=str
)
def test_a_window_as_wide_as_the_model_reads_gives_the_frames_of_the_offline_model(preprocessor):
    model = make(normalize=FIXED if "frame_splicing" not in preprocessor else None, **preprocessor)
    before, after = context_frames(model.encoder.blocks)
    assert (before, after) == (5 + 2 * 4, 5 + 2 * 4)
    seconds = (before + 3) * 0.01
    for chunk_s in (0.02, 0.3):
        found = run(BufferedLogProbs(model, seconds, chunk_s, seconds))
        np.testing.assert_allclose(found, offline(model, AUDIO), atol=1e-4)
    narrow = run(BufferedLogProbs(model, 0.04, 0.3, seconds))
    assert np.abs(narrow - offline(model, AUDIO)).max() > 1e-3


def test_frames_of_a_model_that_takes_audio():
    model = AudioModel(make(normalize=FIXED))
    found = run(BufferedLogProbs(model, 0.5, 0.3, 0.5))
    np.testing.assert_allclose(found, offline(model, AUDIO), atol=1e-4)


def test_a_short_window_is_normalized_by_all_that_was_heard():
    model = make()
    stream = BufferedLogProbs(model, 0.5, 1.0, 0.2)
    heard, at = 0, 0
    for _ in range(7):
        begin, heard = heard, heard + stream.samples_to_next
        final, _ = stream.push(AUDIO[begin:heard])
        complete = (heard - 256) // 160 + 1
        features = model.stages.features(AUDIO[:heard]).numpy()[:complete].astype(np.float64)
        statistics = (features.mean(0), features.std(0, ddof=1))
        start = max(0, at - 25)
        expected = model.stages.log_probs(*(np.float32(x) for x in (features[2 * start :], *statistics))).numpy()
        np.testing.assert_allclose(final, expected[at - start :][:50], atol=1e-4)
        at += len(final)
    assert at == 7 * 50


def test_provisional_frames_follow_the_final_ones():
    stream = BufferedLogProbs(make(normalize=FIXED), 1.0, 0.4, 1.0)
    expected = offline(make(normalize=FIXED), AUDIO)
    final, provisional = stream.push(AUDIO[: stream.samples_to_next])
    assert len(final) == 20 and len(provisional) in (48, 49, 50)
    np.testing.assert_allclose(final, expected[:20], atol=1e-4)
    np.testing.assert_allclose(provisional[:40], expected[20:60], atol=1e-4)
    nothing, none = stream.push(AUDIO[:1])
    assert nothing.shape == none.shape == (0, 5)


@pytest.mark.parametrize("wrap", [lambda model: model, AudioModel], ids=["features", "audio"])
def test_memory_does_not_grow(wrap):
    stream, held = BufferedLogProbs(wrap(MODEL), 1.0, 0.4, 0.4), []
    tracemalloc.start()
    for _ in range(8):
        for part in np.split(AUDIO[:48_000], range(480, 48_000, 480)):
            stream.push(part)
        gc.collect()
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    # A second of samples is 64 kB: it would show.
    assert held[0] > 50_000 and max(held[4:]) < max(held[:4]) + 64_000


def test_a_buffer_that_is_used_again():
    stream, buffer, found = BufferedLogProbs(MODEL, 0.7, 0.3, 0.2), np.zeros(1600, np.float32), []
    for part in np.split(AUDIO, 100):
        buffer[:] = part
        found.append(stream.push(buffer)[0])
    np.testing.assert_array_equal(
        np.concatenate([*found, stream.finish()]), run(BufferedLogProbs(MODEL, 0.7, 0.3, 0.2))
    )


@pytest.mark.parametrize("size", [0, 1, 100, 320])
def test_very_short_streams(size):
    for model in (MODEL, AudioModel(MODEL)):
        stream = BufferedLogProbs(model)
        assert stream.push(AUDIO[:size])[0].shape == (0, 5)
        found = stream.finish()
        assert len(found) <= 1 and found.shape[1] == 5 and np.isfinite(found).all()


def test_the_delay_and_the_rounding_to_frames():
    assert BufferedLogProbs(MODEL).delay_s == pytest.approx(3.2)
    stream = BufferedLogProbs(MODEL, 0.0, 0.001, 0.0)
    # A frame reads 256 samples ahead: the next one's beginning is not enough.
    assert stream.delay_s == pytest.approx(0.02 + 0.02)
    assert len(run(stream, AUDIO[:8000])) == len(offline(MODEL, AUDIO[:8000]))


def test_a_note_says_that_the_model_was_trained_to_read_more():
    assert "0.1 s before and 0.1 s after" in BufferedLogProbs(MODEL, 0.05, 0.3, 1.0).note
    assert BufferedLogProbs(MODEL, 1.0, 0.3, 1.0).note == ""


@pytest.mark.parametrize(
    "seconds, name",
    [((-1, 1, 1), "left_s"), ((1, 0, 1), "chunk_s"), ((1, 1, float("nan")), "right_s"), ((200, 1, 100), "together")],
)
def test_impossible_windows(seconds, name):
    with pytest.raises(UserError, match=name):
        BufferedLogProbs(MODEL, *seconds)

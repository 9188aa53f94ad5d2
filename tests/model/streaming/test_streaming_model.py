"""A model that steps through live audio gives the log-probabilities of the whole recording."""

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jasper_tf.config import PreprocessorConfig
from jasper_tf.errors import UserError
from jasper_tf.model.jasper_ctc import JasperCTC
from jasper_tf.model.streaming.requirements import is_streamable

RATE = 2000
LABELS = list("abc")


def make_model(jasper, encoder=None, seed=0, **preprocessor):
    """A small model at 2 kHz whose batch norms have statistics of their own."""
    defaults = {"window_size": 0.02, "window_stride": 0.01, "n_fft": 64, "features": 4, "normalize": None}
    p = dataclasses.asdict(PreprocessorConfig(**{**defaults, **preprocessor}))
    features = p["features"]
    blocks = [{"filters": 4, "repeat": 1, "kernel": 3, "residual": False, **block} for block in jasper]
    arguments = {"feat_in": features, "frame_splicing": p["frame_splicing"], "jasper": blocks, **(encoder or {})}
    model = JasperCTC(LABELS, p, arguments, sample_rate=RATE, seed=seed)
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        if "moving_" in variable.path or "beta" in variable.path:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return model


def noise(rng, samples):
    return rng.normal(scale=0.1, size=samples).astype(np.float32)


def offline(model, audio):
    """[T',V+1] of one recording."""
    log_probs, frames = model.log_probs(audio[None], np.array([len(audio)], np.int32))
    return log_probs[0, : frames[0]]


def stream(streaming, recordings, sizes):
    """Recordings in the rows of one batch, in chunks of `sizes` frames, until the longest has ended."""
    found = [[] for _ in recordings]
    state = streaming.initial_state(len(recordings))
    position, longest = 0, max(map(len, recordings))
    step = 0

    def take(log_probs, frames, state):
        for row, (values, count) in enumerate(zip(np.asarray(log_probs), np.asarray(frames), strict=True)):
            found[row].append(values[:count])
        return state

    while position <= longest:
        samples = sizes[step % len(sizes)] * streaming.frame_samples
        audio = np.full((len(recordings), samples), np.nan, np.float32)  # what is beyond the end must not matter
        lengths = np.zeros(len(recordings), np.int32)
        for row, recording in enumerate(recordings):
            part = recording[position : position + samples]
            audio[row, : len(part)], lengths[row] = part, len(part)
        state = take(*streaming.step(audio, state, lengths))
        position, step = position + samples, step + 1
    state = take(*streaming.finish(state))
    _, frames, _ = streaming.step(np.ones((len(recordings), streaming.frame_samples)), state)
    assert not np.any(frames), "nothing comes after the end"
    return [np.concatenate(rows) for rows in found]


def assert_exact(model, recordings, sizes):
    streaming = model.streaming
    for found, recording in zip(stream(streaming, recordings, sizes), recordings, strict=True):
        wanted = offline(model, recording)
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, atol=1e-5)


@st.composite
def blocks(draw):
    """An entry of encoder.jasper."""
    stride, separable = draw(st.sampled_from([1, 1, 2, 3])), draw(st.booleans())
    dilation = draw(st.sampled_from([1, 1, 2])) if stride == 1 else 1
    kernel = draw(st.sampled_from([1, 3, 5, 7]))
    future = draw(st.integers(-1, kernel - 1))
    block = {"kernel": kernel, "stride": stride, "dilation": dilation, "future_context": future}
    block |= {"separable": separable, "repeat": draw(st.integers(1, 2)), "groups": draw(st.sampled_from([1, 2]))}
    if separable and draw(st.booleans()):
        block["heads"] = 2
    # NeMo's padding of dilated convolutions adds frames, which leaves no room for a residual.
    if draw(st.booleans()) and (dilation == 1 or future < 0):
        block |= {"residual": True, "residual_mode": draw(st.sampled_from(["add", "max"]))}
        if stride > 1:
            block |= {"residual_mode": "stride_add", "stride_last": True}
        else:
            block["residual_dense"] = draw(st.booleans())
    return block


@pytest.mark.medium
@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    jasper=st.lists(blocks(), min_size=1, max_size=3),
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    samples=st.lists(st.integers(1, 1500), min_size=1, max_size=3),
    preprocessor=st.fixed_dictionaries(
        {
            "window_stride": st.sampled_from([0.005, 0.01, 0.03]),
            "n_fft": st.sampled_from([40, 64, 100]),
            "preemph": st.sampled_from([None, 0.97]),
            "frame_splicing": st.integers(1, 3),
            "pad_to": st.sampled_from([0, 16]),
            "generation": st.just("modern"),
        }
    ),
)
def test_any_network_in_any_chunks(jasper, sizes, samples, preprocessor):
    rng = np.random.default_rng(len(samples))
    assert_exact(make_model(jasper, **preprocessor), [noise(rng, n) for n in samples], sizes)


def test_long_look_ahead_and_back():
    """More frames in the delay lines than in a chunk; a residual and a dense one wait for the network."""
    jasper = [
        {"kernel": 11, "future_context": 9, "residual": True, "repeat": 2, "residual_dense": True},
        {"kernel": 9, "stride": 2, "dilation": 1},
        {"kernel": 7, "dilation": 3, "future_context": 5, "repeat": 2},
    ]
    rng = np.random.default_rng(0)
    assert_exact(make_model(jasper), [noise(rng, n) for n in (1500, 19, 1)], [1])


def test_what_a_frame_waits_for():
    """The look-ahead is no longer than what the network sees ahead."""
    model = make_model([{"kernel": 5, "stride": 2, "future_context": 3}, {"kernel": 3, "future_context": 2}])
    streaming = model.streaming
    assert (streaming.frame_samples, streaming.sample_rate) == (40, RATE)
    # Half a window of 20 ms, 3 frames of 10 ms and 2 of 20 ms.
    assert streaming.delay_frames == 3 and streaming.lookahead_s == pytest.approx(0.08)
    audio = noise(np.random.default_rng(0), 40 * 12)
    state = streaming.initial_state()
    assert state.shape == (1, streaming.state_size) and not np.any(state)
    counts = []
    for first in range(0, len(audio), 40):
        _, frames, state = streaming.step(audio[None, first : first + 40], state)
        counts.append(int(frames[0]))
    assert counts == [0] * 3 + [1] * 9


def test_an_endless_stream():
    """The state of a stream that has warmed up depends on what was heard, not on for how long."""
    model = make_model([{"kernel": 3, "stride": 2, "future_context": 1}])
    streaming = model.streaming
    chunk = noise(np.random.default_rng(0), 4 * streaming.frame_samples)[None]
    state, states = streaming.initial_state(), []
    for _ in range(4):
        _, _, state = streaming.step(chunk, state)
        states.append(np.asarray(state))
    np.testing.assert_array_equal(states[-1], states[-2])


def test_half_precision_streams_too():
    with_policy = {"dtype": "mixed_bfloat16"}
    model = make_model([{"kernel": 5, "future_context": 1, "separable": True}], encoder=with_policy)
    audio = noise(np.random.default_rng(0), 900)
    [found] = stream(model.streaming, [audio], [2])
    np.testing.assert_allclose(found, offline(model, audio), atol=0.05)


@pytest.mark.parametrize(
    ("block", "encoder", "preprocessor", "key"),
    [
        ({}, {}, {"normalize": "per_feature"}, "preprocessor.normalize: per_feature"),
        ({}, {}, {"normalize": "all_features"}, "preprocessor.normalize: all_features"),
        ({}, {}, {"generation": "legacy"}, "preprocessor.generation: legacy"),
        ({}, {}, {"exact_pad": True}, "preprocessor.exact_pad: true"),
        ({}, {"conv_mask": False}, {}, "encoder.conv_mask: false"),
        ({}, {"normalization_mode": "layer"}, {}, "encoder.normalization_mode: layer"),
        ({"se": True, "se_reduction_ratio": 2}, {}, {}, r"encoder.jasper\[1\].se: true"),
    ],
)
def test_what_needs_the_whole_recording(block, encoder, preprocessor, key):
    model = make_model([{}, block], encoder, **preprocessor)
    assert not is_streamable(model)
    with pytest.raises(UserError, match=f"cannot stream: {key} "):
        _ = model.streaming


def test_fixed_statistics():
    normalize = {"fixed_mean": [-2.0, -3.0, -1.0, 0.0], "fixed_std": [2.0, 1.0, 0.5, 3.0]}
    rng = np.random.default_rng(1)
    assert_exact(make_model([{"kernel": 5, "future_context": 2}], normalize=normalize), [noise(rng, 777)], [3])

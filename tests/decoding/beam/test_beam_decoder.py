"""Beam search without a language model against exact searches in float64."""

import functools
import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from jasper_tf.decoding.beam.beam_decoder import BeamDecoder
from jasper_tf.decoding.greedy.greedy_decoder import GreedyDecoder
from jasper_tf.text.tokenizer import CharacterTokenizer

EXACT = {"top_tokens": 99, "token_min_logp": -1e6, "blank_skip": 1.0, "beam_threshold": 80.0}


def add(a, b):
    return float(np.logaddexp(a, b))


def twin(log_probs, beam_size, space=None):
    """[(text, ln p)] by prefix beam search in float64, the best first; spaces in front and behind spaces are nothing.

    Follows Hannun et al. 2014, arXiv 1408.2873: a prefix has paths that end in a blank and paths that end in a label.
    """
    blank = log_probs.shape[1] - 1
    beam = {(): (0.0, -math.inf)}
    for row in log_probs.astype(np.float64):
        new = {}

        def put(prefix, on_blank, on_label, new=new):
            before = new.get(prefix, (-math.inf, -math.inf))
            new[prefix] = add(before[0], on_blank), add(before[1], on_label)

        for prefix, (on_blank, on_label) in beam.items():
            both = add(on_blank, on_label)
            put(prefix, both + row[blank], -math.inf)
            for c in range(blank):
                if c == space and (not prefix or prefix[-1] == space):
                    put(prefix, -math.inf, both + row[c])
                    continue
                if prefix and prefix[-1] == c:
                    put(prefix, -math.inf, on_label + row[c])
                put((*prefix, c), -math.inf, (on_blank if prefix and prefix[-1] == c else both) + row[c])
        beam = dict(sorted(new.items(), key=lambda item: -add(*item[1]))[:beam_size])
    ended = {}
    for prefix, parts in beam.items():
        text = prefix[:-1] if prefix and prefix[-1] == space else prefix
        ended[text] = add(ended.get(text, -math.inf), add(*parts))
    return sorted(ended.items(), key=lambda item: -item[1])


def random_log_probs(seed, frames, classes, scale=2.0):
    return np.asarray(tf.nn.log_softmax(np.random.default_rng(seed).normal(size=(frames, classes)) * scale), np.float32)


def decoder(labels, beam_size, **settings):
    return BeamDecoder(CharacterTokenizer(labels), {"beam_size": beam_size, "n_best": beam_size, **EXACT, **settings})


def hypotheses(found, row=0):
    """[(labels, score)] of one utterance; what stands for no text is left out."""
    columns = (np.asarray(column[row]) for column in (found.labels, found.label_len, found.score))
    return [(tuple(ids[:n].tolist()), float(score)) for ids, n, score in zip(*columns, strict=True) if score > -1e29]


def assert_same(got, expected, tolerance):
    assert [text for text, _ in got] == [text for text, _ in expected]
    np.testing.assert_allclose([s for _, s in got], [s for _, s in expected], rtol=0, atol=tolerance)


@pytest.mark.slow
def test_every_beam_is_the_exact_one(shared):
    arrays, of_size = np.load(shared / "decoding/golden/beam_exact.npz"), functools.cache(decoder)
    for name, case in json.loads((shared / "decoding/golden/beam_exact.json").read_text()).items():
        log_probs = arrays[name].astype(np.float32)[None]
        for beam_size, expected in case["beam"].items():
            decode = of_size("abcdefgh"[: log_probs.shape[2] - 1], int(beam_size))
            found = decode(log_probs, np.array([log_probs.shape[1]]))
            assert_same(hypotheses(found), [(tuple(text), score) for text, score in expected], 1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_twin_with_spaces(seed):
    log_probs = random_log_probs(seed, 12, 4)
    for beam_size in (3, 8):
        found = decoder(" ab", beam_size)(log_probs[None], np.array([12]))
        assert_same(hypotheses(found), twin(log_probs, beam_size, space=0), 1e-4)


@pytest.mark.medium
def test_padding_and_batch_change_nothing():
    decode = decoder(" abc", 4, token_min_logp=-5.0, blank_skip=0.6, top_tokens=3, beam_threshold=10.0)
    lengths = np.array([30, 17, 0, 1, 24])
    batch = np.stack([random_log_probs(seed, 30, 5, 4.0) for seed in range(5)])
    together = decode(batch, lengths)
    for row, length in enumerate(lengths):
        alone = decode(batch[row : row + 1, :length], lengths[row : row + 1])
        noise = np.concatenate([batch[row : row + 1, :length], random_log_probs(9, 40, 5)[None]], axis=1)
        padded = decode(noise, lengths[row : row + 1])
        for other in (alone, padded):
            assert_same(hypotheses(together, row), hypotheses(other), 1e-5)
    assert hypotheses(together, 2) == [((), 0.0)]


def test_sure_blanks_are_packed_away_and_separate_equal_letters():
    probs = np.full((7, 3), 1e-6)
    for frame, label in enumerate([0, 0, 2, 2, 0, 1, 1]):
        probs[frame, label] = 1 - 2e-6
    log_probs = np.log(probs)[None].astype(np.float32)
    whole, packed = (decoder("ab", 4, blank_skip=skip)(log_probs, np.array([7])) for skip in (1.0, 0.9))
    assert hypotheses(packed)[0][0] == (0, 0, 1) == hypotheses(whole)[0][0]
    assert hypotheses(packed)[0][1] == pytest.approx(hypotheses(whole)[0][1], abs=1e-4)


@pytest.mark.parametrize("skip", [1.0, 0.7])
def test_parts_of_a_recording_are_the_whole(skip):
    log_probs = random_log_probs(3, 40, 5, 4.0)[None]
    search = decoder(" abc", 6, blank_skip=skip).search
    whole, trace = search.advance(search.start(1), log_probs, np.array([40]))
    labels = np.asarray(trace.follow(np.arange(6))[1])
    state, history = search.start(1), np.zeros((6, 0), np.int32)
    for begin in range(0, 40, 7):
        part = log_probs[:, begin : begin + 7]
        state, trace = search.advance(state, part, np.array([part.shape[1]]))
        before, found = map(np.asarray, trace.follow(np.arange(6)))
        history = np.concatenate([history[before], found], axis=1)
    np.testing.assert_allclose(state.paths, whole.paths, rtol=1e-4)
    np.testing.assert_allclose(state.offset, whole.offset, rtol=1e-5)
    assert (history == labels).all()


def test_wide_beam_sums_all_paths_of_the_text():
    """The most probable text is not that of the most probable path, which greedy decoding finds."""
    log_probs = np.log(np.array([[[0.4, 0.6], [0.4, 0.6]]], np.float32))
    assert hypotheses(GreedyDecoder()(log_probs, np.array([2])))[0][0] == ()
    (best, score), *_ = hypotheses(decoder("a", 2)(log_probs, np.array([2])))
    assert best == (0,) and score == pytest.approx(math.log(0.64), abs=1e-6)


def test_times_and_confidence_are_those_of_the_text():
    log_probs = np.log(np.array([[[0.1, 0.1, 0.8], [0.7, 0.2, 0.1], [0.6, 0.2, 0.2], [0.1, 0.8, 0.1]]], np.float32))
    best = decoder("ab", 2)(log_probs, np.array([4])).best()
    assert best.start_frame.numpy().tolist() == [[1, 3]] and best.end_frame.numpy().tolist() == [[3, 4]]
    np.testing.assert_allclose(best.confidence, [[0.65, 0.8]], rtol=1e-5)


@pytest.mark.medium
def test_functional_model_saves(tmp_path):
    inputs = keras.Input((None, 5), dtype="float32"), keras.Input((), dtype="int32")
    model = keras.Model(inputs, decoder(" abc", 3)(*inputs).best().labels)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    log_probs = random_log_probs(1, 20, 5)[None]
    expected = hypotheses(decoder(" abc", 3)(log_probs, np.array([20])))[0][0]
    for m in (model, loaded):
        assert [label for label in m([log_probs, np.array([20])]).numpy()[0] if label >= 0] == list(expected)


@pytest.mark.medium
def test_compiled_by_xla_it_gives_the_same():
    batch = np.stack([random_log_probs(seed, 30, 5, 4.0) for seed in range(3)])
    settings = {"token_min_logp": -5.0, "blank_skip": 0.6, "hot_words": {"abc": 2.0}}
    plain, compiled = (decoder(" abc", 4, jit_compile=jit, **settings) for jit in (False, True))
    expected, found = (decode(batch, np.array([30, 17, 0])) for decode in (plain, compiled))
    for row in range(3):
        assert_same(hypotheses(found, row), hypotheses(expected, row), 1e-4)

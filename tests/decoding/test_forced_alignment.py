"""Forced alignment in the graph against a float64 twin, every path there is, and torchaudio's frames."""

import json
from itertools import groupby, product

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from jasper_tf.decoding.alignment import join_words, time_labels
from jasper_tf.decoding.forced_alignment import align
from jasper_tf.decoding.words import group_words
from jasper_tf.text.tokenizer import CharacterTokenizer

IN_GRAPH = tf.function(
    align,
    input_signature=[
        tf.TensorSpec((None, None, None)),
        tf.TensorSpec((None,), tf.int32),
        tf.TensorSpec((None, None), tf.int32),
        tf.TensorSpec((None,), tf.int32),
    ],
)


def twin(log_probs, ids):
    """(score, start frames, end frames) in float64; None where no path exists."""
    states = [log_probs.shape[1] - 1]
    for i in ids:
        states += [i, states[0]]
    states = np.array(states)
    skips = np.zeros(len(states), bool)
    skips[3::2] = states[3::2] != states[1:-2:2]
    score = np.full(len(states), -np.inf)
    score[0], path = 0.0, []
    back = np.zeros((len(log_probs), len(states)), int)
    for t, frame in enumerate(log_probs):
        step, skip = np.r_[-np.inf, score][:-1], np.r_[-np.inf, -np.inf, score][:-2]
        candidates = np.stack([score, step, np.where(skips, skip, -np.inf)])
        back[t] = candidates.argmax(0)
        score = candidates.max(0) + frame[states]
    k = len(states) - (2 if len(ids) and score[-2] >= score[-1] else 1)
    if score[k] == -np.inf:
        return None
    total = score[k]
    for t in reversed(range(len(log_probs))):
        path.append(k)
        k -= back[t, k]
    at = [np.flatnonzero(np.array(path[::-1]) == 2 * i + 1) for i in range(len(ids))]
    return total, [a[0] for a in at], [a[-1] + 1 for a in at]


def padded(rows, ids, seed=0):
    """Log-probabilities [T'_i,V+1] and labels [U_i] as the arguments of `align`; noise beyond the frames."""
    frames, size = max(map(len, rows)), max(map(len, ids))
    log_probs = np.random.default_rng(seed).normal(size=(len(rows), frames, rows[0].shape[1])).astype(np.float32)
    labels = np.full((len(rows), size), -1, np.int32)
    for b, (row, label) in enumerate(zip(rows, ids, strict=True)):
        log_probs[b, : len(row)] = row
        labels[b, : len(label)] = label
    frames_of, size_of = (np.array([*map(len, x)], np.int32) for x in (rows, ids))
    return log_probs, frames_of, labels, size_of


def test_every_frame_of_torchaudio(shared):
    folder = shared / "decoding" / "golden"
    expected = json.loads((folder / "forced_alignment.json").read_text())
    with np.load(folder / "log_probs_mini_dev.npz") as arrays:
        index = {label: i for i, label in enumerate(arrays["labels"].tolist())}
        rows = [arrays[entry["key"]] for entry in expected]
    ids = [[index[c] for c in entry["text"]] for entry in expected]
    found = IN_GRAPH(*padded(rows, ids))
    for b, entry in enumerate(expected):
        n = len(ids[b])
        assert found.start_frame[b, :n].numpy().tolist() == entry["token_start"]
        assert found.end_frame[b, :n].numpy().tolist() == entry["token_end"]
        assert not found.start_frame[b, n:].numpy().any() and not found.end_frame[b, n:].numpy().any()
        assert float(found.score[b]) == pytest.approx(entry["score"], abs=1e-5)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["ties", "no ties", "zeros"]), st.data())
def test_twin(seed, kind, data):
    rng = np.random.default_rng(seed)
    sizes = data.draw(st.lists(st.tuples(st.integers(0, 14), st.integers(0, 6)), min_size=1, max_size=4))
    rows = [np.log(rng.dirichlet(np.ones(4), frames)) for frames, _ in sizes]
    if kind == "ties":  # multiples of 1/2: sums are exact in float32 too
        rows = [np.round(2 * row) / 2 for row in rows]
    if kind == "zeros":
        rows = [np.where(rng.random(row.shape) < 0.3, -np.inf, row) for row in rows]
    rows = [row.astype(np.float32) for row in rows]
    ids = [rng.integers(0, 3, size) for _, size in sizes]
    found = IN_GRAPH(*padded(rows, ids, seed))
    for b, (row, label) in enumerate(zip(rows, ids, strict=True)):
        n, expected = len(label), twin(row.astype(np.float64), label)
        start, end = found.start_frame[b].numpy(), found.end_frame[b].numpy()
        if expected is None:
            assert found.score[b] == -np.inf and not start.any() and not end.any()
            continue
        score, starts, ends = expected
        assert float(found.score[b]) == pytest.approx(score, abs=1e-4)
        assert start[:n].tolist() == starts and end[:n].tolist() == ends
        assert not start[n:].any() and not end[n:].any()
        for k, (i, s, e) in enumerate(zip(label, starts, ends, strict=True)):
            assert float(found.label_score[b, k]) == pytest.approx(row[s:e, i].mean(), abs=1e-5)
            assert float(found.confidence[b, k]) == pytest.approx(np.exp(row[s:e, i]).mean(), abs=1e-5)


@pytest.mark.parametrize("ids", [(0,), (0, 1), (1, 1), (1, 0, 2), (2, 1, 2)])
def test_the_best_of_all_paths(ids):
    frames = 6
    for seed in range(5):
        log_probs = np.log(np.random.default_rng(seed).dirichlet(np.ones(4), frames))
        paths = [p for p in product(range(4), repeat=frames) if tuple(c for c, _ in groupby(p) if c != 3) == ids]
        found = align(log_probs[None], [frames], [ids], [len(ids)])
        best = max(log_probs[range(frames), path].sum() for path in paths)
        assert float(found.score[0]) == pytest.approx(best, abs=1e-5)


def test_too_few_frames_are_flagged_and_spoil_no_other_row():
    log_probs = np.log(np.full((3, 3, 4), 0.25, np.float32))
    found = align(log_probs, [3, 2, 0], [[1, 1], [1, 1], [0, -1]], [2, 2, 1])
    assert np.isfinite(found.score.numpy()).tolist() == [True, False, False]
    assert found.start_frame.numpy().tolist() == [[0, 2], [0, 0], [0, 0]]
    assert found.end_frame.numpy().tolist() == [[1, 3], [0, 0], [0, 0]]
    assert found.confidence.numpy().tolist() == [[0.25, 0.25], [0, 0], [0, 0]]


def test_float32_decides_rightly_in_long_recordings():
    """Paths here differ by 1e-3, and sums reach -9000, where float32 has steps of 1e-3."""
    rng = np.random.default_rng(0)
    log_probs = np.log(rng.normal(0.2, 2e-4, (6000, 5))).astype(np.float32)
    ids = rng.integers(0, 4, 50)
    score, starts, ends = twin(log_probs.astype(np.float64), ids)
    found = IN_GRAPH(*padded([log_probs], [ids]))
    assert float(found.score[0]) == pytest.approx(score, rel=1e-6)
    assert found.start_frame[0].numpy().tolist() == starts and found.end_frame[0].numpy().tolist() == ends


def test_words_of_an_alignment():
    tokenizer = CharacterTokenizer(" ab")
    path = [3, 1, 1, 2, 3, 0, 3, 2, 3, 2, 0]
    log_probs = np.log(np.where(np.eye(4)[path] > 0, 0.7, 0.1))[None]
    labels, label_len = np.array([[1, 2, 0, 2, 2, 0, -1]]), np.array([6])
    best = align(log_probs, [11], labels, label_len).hypotheses(labels, label_len)
    words = group_words(best, tokenizer)
    assert words.start_frame.numpy()[0, :2].tolist() == [1, 7] and words.end_frame.numpy()[0, :2].tolist() == [4, 10]
    assert words.confidence.numpy()[0, :2].tolist() == pytest.approx([0.7, 0.7])
    assert [word.text for word in join_words(time_labels(best, tokenizer, 1.0)[0])] == ["ab", "bb"]

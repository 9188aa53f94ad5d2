"""Long recordings: cut, recognized in pieces, joined."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jasper_tf.audio.load import load_audio
from jasper_tf.decoding.alignment import WordTiming, join_words, time_labels
from jasper_tf.errors import UserError
from jasper_tf.inference.long_audio import Chunking, join_overlapping, pieces
from jasper_tf.inference.long_audio import recognize_long as recognize_recording
from jasper_tf.inference.recording import open_recording
from jasper_tf.inference.transcript import Transcript
from jasper_tf.metrics.error_rate import wer


@given(st.integers(1, 10_000), st.integers(3, 500), st.data())
def test_pieces_cover_all_and_overlap(samples, longest, data):
    overlap = data.draw(st.integers(0, (longest - 1) // 2))
    found = pieces(samples, longest, overlap)
    assert found[0][0] == 0 and found[-1][1] == samples
    assert all(end - start <= longest for start, end in found)
    assert max(end - start for start, end in found) - min(end - start for start, end in found) == 0
    for (_, end), (start, _) in zip(found, found[1:], strict=False):
        assert end - start >= overlap
    assert len(found) == 1 if samples <= longest else (len(found) - 1) * (longest - overlap) + overlap < samples


def recognize_long(recognize, audio, rate, chunk_s, overlap_s):
    return recognize_recording(recognize, open_recording(audio, rate), rate, Chunking(chunk_s, overlap_s))


def said(*words):
    return [WordTiming(text, start_s, start_s + 0.3, 0.9) for text, start_s in words]


def texts(words):
    return [word.text for word in words]


def test_the_seam_is_a_word_that_both_heard():
    # Overlap from 8 to 12 s: each piece is wrong near its own edge.
    left = said(("a", 7.0), ("b", 8.5), ("two", 9.7), ("c", 10.5), ("cut", 11.8))
    right = said(("off", 8.0), ("bee", 8.6), ("two", 9.8), ("c", 10.4), ("d", 11.6), ("e", 13.0))
    assert texts(join_overlapping(left, right, 10.0)) == ["a", "b", "two", "c", "d", "e"]


def test_a_word_on_the_middle_is_there_once():
    # Its times differ, by them alone it would be there twice (centers 9.95 and 10.05) or not at all.
    for one, other in ((9.8, 9.9), (9.9, 9.8)):
        found = join_overlapping(said(("x", 9.0), ("two", one)), said(("two", other), ("y", 11.0)), 10.0)
        assert texts(found) == ["x", "two", "y"]


def test_a_word_said_twice_stays_twice():
    left = said(("no", 8.6), ("no", 9.4), ("no", 10.2))
    right = said(("no", 9.45), ("no", 10.25), ("no", 11.0))
    assert texts(join_overlapping(left, right, 10.0)) == ["no"] * 4
    # Faster than SAME_WORD_S: each still finds itself.
    left = said(("two", 9.4), ("two", 9.65), ("two", 9.9), ("x", 10.8))
    right = said(("wo", 9.0), ("two", 9.66), ("two", 9.91), ("x", 10.8))
    assert texts(join_overlapping(left, right, 10.0)) == ["two", "two", "two", "x"]


def test_nothing_in_common():
    assert texts(join_overlapping(said(("a", 9.0), ("b", 10.3)), said(("c", 9.1), ("d", 10.4)), 10.0)) == ["a", "d"]
    assert join_overlapping([], [], 10.0) == []


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.floats(0.45, 3.0)), max_size=60), st.integers(0, 99), st.data())
def test_what_pieces_hear_right_joins_to_the_whole(words, seed, data):
    """Words at least 0.45 s apart, heard with times that are up to 0.1 s off and lost where a piece cuts them."""
    rate = 100
    starts = np.cumsum([0.0, *(gap for _, gap in words)])
    whole = [WordTiming(text, float(s), float(s) + 0.3, 1.0) for (text, _), s in zip(words, starts, strict=False)]
    audio = np.arange(round((starts[-1] + 1.0) * rate), dtype=np.float32)
    rng = np.random.default_rng(seed)

    def recognize(piece, _words):
        start_s, end_s = piece[0] / rate, (piece[-1] + 1) / rate
        inside = [w for w in whole if w.start_s >= start_s and w.end_s <= end_s]
        off = rng.uniform(-0.1, 0.1, len(inside))
        heard = [
            replace(w, start_s=w.start_s - start_s + d, end_s=w.end_s - start_s + d)
            for w, d in zip(inside, off, strict=True)
        ]
        return Transcript(" ".join(texts(heard)), 1.0, tuple(heard))

    chunk_s = data.draw(st.sampled_from([5.0, 8.0, 30.0]))
    found = recognize_long(recognize, audio, rate, chunk_s, 2.0)
    assert texts(found.words) == texts(whole) and found.text == " ".join(texts(whole))
    for heard, true in zip(found.words, whole, strict=True):
        assert abs(heard.start_s - true.start_s) < 0.1 + 1 / rate


def test_without_times_it_cannot_be_joined():
    sound = np.zeros(3000, np.float32)
    assert recognize_long(lambda *_: Transcript("yes"), sound, 100, 30.0, 2.0) == Transcript("yes", duration_s=30.0)
    assert recognize_long(lambda *_: Transcript("yes"), sound, 100, 0, 0) == Transcript("yes", duration_s=30.0)
    with pytest.raises(UserError, match="longer than --chunk-s, and the model gives no word times"):
        recognize_long(lambda *_: Transcript("yes"), sound, 100, 10.0, 2.0)


@pytest.fixture(scope="module")
def anchor(shared):
    """AN4's model with NVIDIA NeMo's trained weights."""
    from jasper_tf.inference.load_model import load_model

    return load_model(shared / "pretrained" / "an4_anchor.nemo")


@pytest.fixture(scope="module")
def speakers(shared):
    """Three speakers of AN4's test, each: all recordings one after the other, and their text."""
    an4 = shared / "data" / "an4"
    lines = [json.loads(line) for line in (an4 / "test_manifest.json").read_text().splitlines()]
    of = {name: [line for line in lines if line["speaker"] == name] for name in ("flmm2", "mjda", "msmn")}
    return [
        (np.concatenate([load_audio(an4 / s["audio_filepath"]) for s in said]), " ".join(s["text"] for s in said))
        for said in of.values()
    ]


def heard(model, logits, logit_len):
    [letters] = time_labels(model.decoding(logits, logit_len).best(), model.tokenizer, model.frame_s)
    words = join_words(letters)
    return Transcript(" ".join(texts(words)), 1.0, tuple(words))


@pytest.mark.parametrize(("chunk_s", "overlap_s"), [(5.0, 2.0), (10.0, 4.0), (30.0, 4.0)])
def test_real_recordings_are_joined_to_the_whole(anchor, speakers, chunk_s, overlap_s):
    """Pieces of the whole's logits, words cut apart at their ends: the seams alone, without the pieces' own context."""
    for audio, _ in speakers:
        out = anchor({"audio": audio[None], "audio_len": np.array([len(audio)], np.int32)}, training=False)
        whole = heard(anchor, out["logits"], out["logit_len"])
        step = anchor.frame_s * 16000

        def recognize(index, _words, logits=out["logits"], step=step):
            piece = logits[:, round(index[0] / step) : round((index[-1] + 1) / step)]
            return heard(anchor, piece, np.array([piece.shape[1]], np.int32))

        found = recognize_long(recognize, np.arange(len(audio), dtype=np.float32), 16000, chunk_s, overlap_s)
        assert found.text == whole.text and len(found.words) > 60
        for one, other in zip(found.words, whole.words, strict=True):
            assert abs(one.start_s - other.start_s) <= 2 * anchor.frame_s


def test_real_recordings_are_heard_as_well_in_pieces(anchor, speakers):
    """As a server hears them: normalization and squeeze-and-excite see a piece only. Other errors, not more of them."""

    def recognize(audio, _words):
        out = anchor({"audio": audio[None], "audio_len": np.array([len(audio)], np.int32)}, training=False)
        return heard(anchor, out["logits"], out["logit_len"])

    references = [text for _, text in speakers]
    whole = [recognize(audio, True).text for audio, _ in speakers]
    found = [recognize_long(recognize, audio, 16000, 12.0, 4.0).text for audio, _ in speakers]
    assert wer(references, found) < wer(references, whole) + 0.02 < 0.35
    assert wer(whole, found) < 0.2

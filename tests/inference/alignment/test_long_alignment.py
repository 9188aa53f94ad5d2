"""A long recording against a text that differs from what is said. Sound is written as log-probabilities here."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile

from jasper_tf.data.manifest.line import Utterance
from jasper_tf.decoding.alignment import WordTiming, join_words, time_labels
from jasper_tf.decoding.greedy.greedy_decoder import GreedyDecoder
from jasper_tf.errors import UserError
from jasper_tf.inference.alignment.long_alignment import LOWEST_SCORE, align_long
from jasper_tf.inference.alignment.recording_aligner import RecordingAligner
from jasper_tf.inference.alignment.recording_frames import RecordingFrames, read_recording_frames
from jasper_tf.inference.alignment.text_aligner import TextAligner
from jasper_tf.inference.long_audio import Chunking
from jasper_tf.inference.recording import hold_samples
from jasper_tf.inference.transcript import Transcript
from jasper_tf.text.tokenizer import CharacterTokenizer

LABELS = list(" abcdefghijklmnopqrstuvwxyz")
TOKENIZER = CharacterTokenizer(LABELS)
FRAME_S = 0.02
BLANK = len(LABELS)


@pytest.fixture(scope="module")
def aligner():
    return TextAligner(TOKENIZER, FRAME_S)


class Speaker:
    """Writes frames, and notes when each word is said."""

    def __init__(self, seed=0):
        self.rng = np.random.default_rng(seed)
        self.path: list[int] = []
        self.said: list[tuple[str, float, float]] = []

    def say(self, text, in_text=True):
        """A frame or two for each letter, blanks between them; words in `said` if they are in the text."""
        for word in text.split():
            self.path += [0, BLANK]
            start = len(self.path)
            for letter in word:
                self.path += [LABELS.index(letter)] * int(self.rng.integers(1, 3))
                end = len(self.path)
                self.path += [BLANK] * int(self.rng.integers(1, 4))
            if in_text:
                self.said.append((word, start, end))
            self.path += [BLANK] * int(self.rng.integers(0, 5))
        self.path += [0]
        return self

    def pause(self, seconds):
        self.path += [BLANK] * round(seconds / FRAME_S)
        return self

    def noise(self, seconds):
        """Sound in which the model hears letters that form no word."""
        for _ in range(round(seconds / FRAME_S)):
            self.path.append(int(self.rng.choice([BLANK, BLANK, BLANK, 24, 26])))
        return self

    def frames(self):
        logits = 8.0 * np.eye(BLANK + 1)[self.path] + self.rng.normal(size=(len(self.path), BLANK + 1))
        log_probs = (logits - np.log(np.exp(logits).sum(-1, keepdims=True))).astype(np.float32)
        best = GreedyDecoder()(log_probs[None], np.array([len(log_probs)])).best()
        words = tuple(join_words(time_labels(best, TOKENIZER, FRAME_S)[0]))
        return RecordingFrames(log_probs, Transcript("", words=words))

    def times(self):
        return [(word, pytest.approx(start * FRAME_S), pytest.approx(end * FRAME_S)) for word, start, end in self.said]


def random_text(rng, words):
    return " ".join("".join(rng.choice(LABELS[1:], int(rng.integers(1, 9)))) for _ in range(words))


def found(alignment):
    return [(word.text, word.start_s, word.end_s) for word in alignment.words]


def test_all_of_a_text_that_is_said(aligner):
    text = random_text(np.random.default_rng(1), 300)  # three minutes: cut several times
    speaker = Speaker().say(text)
    alignment = align_long(aligner, speaker.frames(), text)
    assert found(alignment) == speaker.times() and len(alignment.words) == 300
    assert not alignment.unmatched_text and not alignment.unmatched_audio
    assert min(word.score for word in alignment.words) > -1


class Folding(CharacterTokenizer):
    """Takes capitals and writes small letters, as SentencePiece does after nmt_nfkc_cf."""

    def encode(self, text):
        return super().encode(text.lower())

    def out_of_vocabulary(self, text):
        return super().out_of_vocabulary(text.lower())


def test_a_text_that_the_tokenizer_folds():
    text = random_text(np.random.default_rng(1), 60)
    speaker = Speaker().say(text)
    alignment = align_long(TextAligner(Folding(LABELS), FRAME_S), speaker.frames(), text.upper())
    assert found(alignment) == speaker.times()


def test_what_does_not_match_is_named_and_the_rest_aligned(aligner):
    """Text that is not said, music, speech that is not in the text, a long pause, at both ends and in the middle."""
    rng = np.random.default_rng(2)
    first, second, third, fourth = (random_text(rng, 40) for _ in range(4))
    never, license_text, spoken_only = random_text(rng, 25), random_text(rng, 12), random_text(rng, 15)
    few = "qqq vvv"
    speaker = Speaker().noise(10).say(first).say(second)
    extra_from = len(speaker.path)
    speaker.say(spoken_only, in_text=False)
    extra_to = len(speaker.path)
    speaker.say(third)
    music_from = len(speaker.path)
    speaker.noise(20)
    music_to = len(speaker.path)
    speaker.say(fourth).pause(6)
    text = " ".join([license_text, first, never, second, third, few, fourth, license_text])
    alignment = align_long(aligner, speaker.frames(), text)
    assert found(alignment) == speaker.times()
    assert [one.text for one in alignment.unmatched_text] == [license_text, never, few, license_text]
    silent = [(0, 10), (extra_from * FRAME_S, extra_to * FRAME_S), (music_from * FRAME_S, music_to * FRAME_S)]
    silent.append((len(speaker.path) * FRAME_S - 6, len(speaker.path) * FRAME_S))
    assert len(alignment.unmatched_audio) == len(silent)
    for (start_s, end_s), (start, end) in zip(alignment.unmatched_audio, silent, strict=True):
        assert start_s == pytest.approx(start, abs=0.3) and end_s == pytest.approx(end, abs=0.3)


@pytest.mark.parametrize("misheard", [slice(None, None, 5), slice(40, 60), slice(100, None), slice(0, 15)])
def test_recognition_errors_are_aligned_too(aligner, misheard):
    """Words are heard wrongly: their letters are there, but another is more probable than the first of them."""
    rng = np.random.default_rng(3)
    text = random_text(rng, 120)
    speaker = Speaker().say(text)
    frames = speaker.frames()
    log_probs = frames.log_probs.copy()
    for _, start, end in speaker.said[misheard]:
        right = speaker.path[start]
        at = start + np.flatnonzero(np.array(speaker.path[start:end]) == right)
        log_probs[at, 26], log_probs[at, right] = -0.3, -1.4
    best = GreedyDecoder()(log_probs[None], np.array([len(log_probs)])).best()
    words = tuple(join_words(time_labels(best, TOKENIZER, FRAME_S)[0]))
    heard = {word.text for word in words}
    assert sum(word not in heard for word in text.split()) > 10
    alignment = align_long(aligner, RecordingFrames(log_probs, Transcript("", words=words)), text)
    assert found(alignment) == speaker.times()
    assert all(word.score > LOWEST_SCORE for word in alignment.words)


def test_a_few_words_said_instead_of_others_are_named(aligner):
    rng = np.random.default_rng(4)
    before, said, written, after = random_text(rng, 30), random_text(rng, 6), random_text(rng, 6), random_text(rng, 30)
    speaker = Speaker().say(before).say(said, in_text=False).say(after)
    alignment = align_long(aligner, speaker.frames(), f"{before} {written} {after}")
    assert found(alignment) == speaker.times()
    assert [one.text for one in alignment.unmatched_text] == [written]


def test_short_words_found_by_chance_do_not_save_a_paragraph(aligner):
    rng = np.random.default_rng(7)
    before, after = random_text(rng, 30), random_text(rng, 30)
    said, written = (" a ".join(random_text(rng, 4) for _ in range(8)) for _ in range(2))
    written += " " + random_text(rng, 6)
    speaker = Speaker().say(before).say(said, in_text=False).say(after)
    alignment = align_long(aligner, speaker.frames(), f"{before} {written} {after}")
    assert [one.text for one in alignment.unmatched_text] == [written]
    assert found(alignment) == speaker.times()


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_word_that_the_extra_speech_has_too_stays_where_it_is_said(aligner, place):
    """Both places of the word cost as many edits."""
    rng = np.random.default_rng(6)
    before, extra, after = random_text(rng, 30), random_text(rng, 20), random_text(rng, 30)
    speaker = Speaker().say(extra, in_text=False).say(before)  # rapidfuzz takes equal beginnings and ends off first
    if place == "before":
        speaker.say("zz").say(f"{extra} zz {extra}", in_text=False)
    else:
        speaker.say(f"{extra} zz {extra}", in_text=False).say("zz")
    speaker.say(after).say(extra, in_text=False)
    alignment = align_long(aligner, speaker.frames(), f"{before} zz {after}")
    assert found(alignment) == speaker.times() and not alignment.unmatched_text


def test_another_text_is_refused(aligner):
    rng = np.random.default_rng(5)
    frames = Speaker().say(random_text(rng, 30)).frames()
    with pytest.raises(UserError, match="do not match"):
        align_long(aligner, frames, random_text(rng, 30))
    with pytest.raises(UserError, match="'!'"):
        align_long(aligner, frames, "what!")
    with pytest.raises(UserError, match="do not match"):
        align_long(aligner, RecordingFrames(frames.log_probs[:0], Transcript("", words=())), "some words here")


class Local:
    """An acoustic model whose frames depend on their own samples only: pieces give the frames of the whole."""

    tokenizer = TOKENIZER
    sample_rate = 1000
    frame_s = FRAME_S

    def log_probs(self, audio, audio_len):
        step = round(self.frame_s * self.sample_rate)
        padded = np.pad(audio, [(0, 0), (0, -audio.shape[1] % step)])
        means = padded.reshape(len(audio), -1, step).mean(-1, keepdims=True)
        return -np.abs(means - np.linspace(-1, 1, BLANK + 1)), -(-audio_len // step)


@pytest.mark.parametrize("samples", [1, 19, 3999, 40_000, 61_237])
def test_pieces_give_the_frames_of_the_whole(samples):
    audio = np.random.default_rng(0).normal(size=samples).astype(np.float32)
    model, seconds = Local(), []
    frames = read_recording_frames(model, hold_samples(audio), Chunking(4.0, 0.5), seconds.append)
    [whole], [size] = model.log_probs(audio[None], np.array([samples]))
    assert frames.log_probs.shape == (size, BLANK + 1)
    np.testing.assert_allclose(frames.log_probs, whole, atol=1e-3)
    assert sum(seconds) == pytest.approx(samples / 1000)
    assert all(isinstance(word, WordTiming) for word in frames.words.words)


def test_recordings_in_pieces_are_aligned_as_whole_ones(tmp_path):
    rng = np.random.default_rng(0)
    utterances = []
    for k, samples in enumerate((9000, 2500, 4100)):
        soundfile.write(tmp_path / f"{k}.wav", rng.normal(scale=0.2, size=samples), 1000, "FLOAT")
        utterances.append(Utterance(str(tmp_path / f"{k}.wav"), 0.0, samples / 1000, "some words here", f"m:{k}"))
    missing = replace(utterances[0], path=str(tmp_path / "none.wav"))
    unknown = replace(utterances[0], text="Some words")
    seconds: list[float] = []
    found = [
        RecordingAligner(Local(), 2, chunking=Chunking(chunk_s, 0.5)).align(utterances, seconds.append)
        for chunk_s in (4.0, 100.0)
    ]
    assert sum(seconds) == pytest.approx(2 * 15.6)
    for piecewise, whole in zip(*found, strict=True):
        assert len(piecewise.words) == 3
        for a, b in zip(piecewise.words, whole.words, strict=True):
            assert (a.text, a.start_s, a.end_s) == (b.text, b.start_s, b.end_s)
            assert a.score == pytest.approx(b.score, abs=1e-3)
    good, absent, wrong = RecordingAligner(Local()).align([utterances[1], missing, unknown])
    assert good.words and "none.wav" in str(absent) and "'S'" in str(wrong)
    [refused] = RecordingAligner(Local(), long_s=0).align(utterances[:1])
    assert isinstance(refused, UserError) and "do not match" in str(refused)

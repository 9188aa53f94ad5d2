"""Words of a stream: when they are final, that they stay, and what ends a text."""

import gc
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jasper_tf.decoding.alignment import join_words, time_labels
from jasper_tf.decoding.beam.beam_decoder import BeamDecoder
from jasper_tf.decoding.greedy.greedy_decoder import GreedyDecoder
from jasper_tf.errors import UserError
from jasper_tf.inference.streaming.beam_live_decoder import BeamLiveDecoder
from jasper_tf.inference.streaming.endpoint import EndpointDetector
from jasper_tf.inference.streaming.greedy_live_decoder import GreedyLiveDecoder
from jasper_tf.inference.streaming.live_transcription import LiveTranscription
from jasper_tf.inference.streaming.log_prob_stream import LogProbStream
from jasper_tf.inference.transcriber import Transcriber
from jasper_tf.text.tokenizer import CharacterTokenizer
from jasper_tf.text.word_piece_tokenizer import WordPieceTokenizer

TOKENIZER = CharacterTokenizer(" abc")
FRAME_S = 0.02
RATE, STEP = 1000, 20


class GivenFrames(LogProbStream):
    """The model's side with known frames: chunks of `chunk` frames, of which `ahead` more are provisional."""

    sample_rate, frame_s = RATE, FRAME_S

    def __init__(self, log_probs, chunk=10, ahead=5):
        self.log_probs, self.chunk, self.ahead = log_probs, chunk, ahead
        self.delay_s = (chunk + ahead) * FRAME_S
        self.heard = self.done = 0

    @property
    def samples_to_next(self):
        return (self.done + self.chunk + self.ahead) * STEP - self.heard

    def push(self, audio):
        assert len(audio) <= self.samples_to_next
        self.heard += len(audio)
        first = self.done
        if self.heard == (first + self.chunk + self.ahead) * STEP:
            self.done += self.chunk
        return self.log_probs[first : self.done], self.log_probs[
            self.done : self.done + self.ahead * (self.done > first)
        ]

    def finish(self):
        return self.log_probs[self.done :]


def frames_of(text, sure=0.9):
    """One frame for each character of `text`, "_" is the blank."""
    probs = np.full((len(text), 5), (1 - sure) / 4)
    probs[np.arange(len(text)), [" abc_".index(one) for one in text]] = sure
    return np.log(probs).astype(np.float32)


def random_text(seed, frames):
    rng = np.random.default_rng(seed)
    return "".join(rng.choice(list(" abc_"), size=frames, p=[0.2, 0.15, 0.15, 0.1, 0.4]))


def greedy():
    return GreedyLiveDecoder(GreedyDecoder(), TOKENIZER, FRAME_S)


BEAM = BeamDecoder(TOKENIZER, {"beam_size": 6})
HOT_WORDS = BEAM.encode_hot_words({"ab": 4.0})


def transcribe(text, edges=(), decoder=greedy, endpoint_s=0.4, **stream):
    log_probs = frames_of(text) if isinstance(text, str) else text
    live = LiveTranscription(GivenFrames(log_probs, **stream), decoder(), endpoint_s)
    parts = np.split(np.zeros(len(log_probs) * STEP, np.float32), edges)
    return [*(update for part in parts for update in live.push(part)), *live.finish()]


def finals(updates):
    return [one for one in updates if one.kind == "final"]


def words_of(updates):
    return [word for one in finals(updates) for word in one.words]


@pytest.mark.medium
@settings(deadline=None, max_examples=5)
@given(st.lists(st.integers(0, 60 * STEP), max_size=8), st.integers(0, 3))
@pytest.mark.parametrize("decoder", [greedy, lambda: BeamLiveDecoder(BEAM, FRAME_S, HOT_WORDS)], ids=["greedy", "beam"])
def test_the_division_of_the_audio_changes_nothing(decoder, edges, seed):
    text = random_text(seed, 60)
    assert transcribe(text, sorted(edges), decoder) == transcribe(text, (), decoder)


@pytest.mark.parametrize("endpoint_s", [0, 0.2, 5.0])
@pytest.mark.parametrize("seed", range(4))
def test_greedy_words_and_times_are_those_of_the_whole(seed, endpoint_s):
    log_probs = frames_of(random_text(seed, 400)) + np.random.default_rng(seed).normal(scale=0.2, size=(400, 5))
    log_probs = log_probs.astype(np.float32)
    best = GreedyDecoder()(log_probs[None], np.array([400])).best()
    expected = join_words(time_labels(best, TOKENIZER, FRAME_S)[0])
    if endpoint_s == 0.2:  # an endpoint may end a word where the whole has a word of two parts
        expected = "".join(word.text for word in expected)
        assert "".join(word.text for word in words_of(transcribe(log_probs, endpoint_s=endpoint_s))) == expected
        return
    found = words_of(transcribe(log_probs, endpoint_s=endpoint_s))
    assert [(one.text, one.start_s, one.end_s) for one in found] == [(w.text, w.start_s, w.end_s) for w in expected]
    np.testing.assert_allclose([w.confidence for w in found], [w.confidence for w in expected], rtol=1e-5)


@pytest.mark.parametrize("aggregation", ["mean", "min", "max", "prod"])
def test_confidences_are_the_decoders(aggregation):
    decoder = GreedyDecoder({"preserve_word_confidence": True, "aggregation": aggregation})
    log_probs = frames_of("_a_bb_c a_b  c__", 0.8)
    log_probs[1] = frames_of("a", 0.5)

    class Model:
        tokenizer, sample_rate, frame_s, decoding = TOKENIZER, RATE, FRAME_S, decoder

        def log_probs(self, audio, audio_len):
            return np.repeat(log_probs[None], len(audio), 0), np.full(len(audio), len(log_probs))

        def recognize_batch(self, audio, audio_len, words, own, hot_words):
            from jasper_tf.decoding.outputs import text_outputs

            found = text_outputs(
                decoder(*self.log_probs(audio, audio_len)), TOKENIZER, FRAME_S, decoder.word_aggregation
            )
            return {name: value.numpy() for name, value in found.items()}

    whole = Transcriber(Model()).transcribe(np.zeros(RATE, np.float32)).words
    found = words_of(
        transcribe(log_probs, decoder=lambda: GreedyLiveDecoder(decoder, TOKENIZER, FRAME_S), endpoint_s=0)
    )
    assert [word.text for word in found] == [word.text for word in whole] == ["abc", "ab", "c"]
    np.testing.assert_allclose([w.confidence for w in found], [w.confidence for w in whole], rtol=1e-5)


def test_partial_words_become_final_ones_and_final_ones_stay():
    updates = transcribe("__ab__c ab_cc__ c_ab c__________________________")
    shown = [(one.kind, one.text, one.endpoint, round(one.heard_s, 2)) for one in updates]
    assert shown == [
        ("final", "abc", False, 0.3),
        ("partial", "abc", False, 0.3),
        ("final", "abc", False, 0.5),
        ("partial", "cab c", False, 0.5),
        ("final", "cab", False, 0.7),
        ("partial", "c", False, 0.7),
        ("final", "c", True, 0.96),
        ("final", "", True, 0.96),
    ]
    assert [(round(w.start_s, 2), round(w.end_s, 2)) for w in words_of(updates)][:2] == [(0.04, 0.14), (0.16, 0.26)]


@pytest.mark.parametrize("chunk", [1, 3, 50])
def test_a_pause_has_one_endpoint_wherever_the_chunks_end(chunk):
    text = "a" + "_" * 30 + "b" + "_" * 5 + "c" + "_" * 200 + " " * 9 + "a"
    found = finals(transcribe(text, endpoint_s=0.4, chunk=chunk))
    lines, line = [], []
    for one in found:
        line += [one.text] if one.text else []
        if one.endpoint:
            lines, line = [*lines, " ".join(line)], []
    assert lines == ["a", "bc", "a"]


def test_a_stream_of_silence_has_no_text_and_no_endpoint():
    found = transcribe("_" * 500)
    assert [one.text for one in found] == [""] and found[0].endpoint and found[0].heard_s == pytest.approx(10)
    assert found[0].confidence == 0 and found[0].words == ()


def test_without_endpoints_a_text_that_never_ends_is_ended():
    text = "a_" * 2500  # 100 s without a space
    found = words_of(transcribe(text, endpoint_s=0, chunk=100))
    assert "".join(word.text for word in found) == "a" * 2500
    assert len(found) == 4 and all(word.end_s - word.start_s < 33 for word in found)


@pytest.mark.medium
@pytest.mark.parametrize(
    "decoder, text",
    [
        *((greedy, text) for text in ("ab_ c_" * 50, "_" * 300, " " * 300, "a_" * 150)),
        *((lambda: BeamLiveDecoder(BEAM, FRAME_S), text) for text in ("ab_ c_" * 50, "_" * 300)),
    ],
    ids=["words", "silence", "spaces", "word", "words, beam", "silence, beam"],
)
def test_memory_does_not_grow(decoder, text):
    one, frames = decoder(), frames_of(text)

    def go_on(times):
        for _ in range(times):
            one.push(frames)
            one.look_ahead(frames[:2])
            if one.open_s > 30:
                one.finish()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    go_on(6)  # what is traced once stays
    tracemalloc.start()
    held = [go_on(6) for _ in range(2)]
    tracemalloc.stop()
    # Frames of 6 s are 6 kB; those of a word without an end are kept for 30 s.
    assert one.open_s <= 36 and held[1] < held[0] + 20_000


@pytest.mark.medium
def test_hot_words_and_a_language_model_change_what_is_heard(tmp_path):
    text = frames_of("_a_b_ _c_a_b_ _a_b_")
    unsure = text.copy()
    unsure[9] = np.log([0.02, 0.40, 0.02, 0.54, 0.02])  # "ccb" or "cab"
    lm = tmp_path / "lm.arpa"
    words = "".join(f"-1.0\t{word}\n" for word in ("ab", "cab"))
    lm.write_text(f"\\data\\\nngram 1=5\n\n\\1-grams:\n-4\t<unk>\n0\t<s>\n-1\t</s>\n{words}\n\\end\\\n")

    def heard(hot_words=None, **beam):
        decoder = BeamDecoder(TOKENIZER, {"beam_size": 8, **beam})
        encoded = None if hot_words is None else decoder.encode_hot_words(hot_words)
        found = transcribe(unsure, decoder=lambda: BeamLiveDecoder(decoder, FRAME_S, encoded))
        return [word.text for word in words_of(found)]

    assert heard() == ["ab", "ccb", "ab"]
    assert heard({"cab": 2.0}) == heard(ngram_lm_model=str(lm), ngram_lm_alpha=0.5) == ["ab", "cab", "ab"]


@pytest.mark.medium
def test_n_best_texts_are_those_of_each_line():
    lines, pause = ("_a_bb_ c_a", "_c_ _ab"), "_" * 30
    log_probs = frames_of(f"{lines[0]}{pause}{lines[1]}{pause}", 0.6)
    decoder = BeamDecoder(TOKENIZER, {"beam_size": 8, "n_best": 3})
    updates = transcribe(log_probs, decoder=lambda: BeamLiveDecoder(decoder, FRAME_S), endpoint_s=0.4)
    first = len(lines[0]) + 20  # frames: up to the endpoint
    ends = [one for one in updates if one.endpoint]
    assert len(ends) == 3 and all(one.n_best is None for one in updates if not one.endpoint)
    for part, end in ((log_probs[:first], ends[0]), (log_probs[first : first + 10 + len(lines[1]) + 20], ends[1])):
        best = decoder(part[None], np.array([len(part)]))
        texts = [TOKENIZER.decode([k for k in labels if k >= 0]) for labels in best.labels[0].numpy()]
        assert [one.text for one in end.n_best] == texts and len({*texts}) == 3
        np.testing.assert_allclose([one.score for one in end.n_best], best.score[0], rtol=1e-4)
    assert ends[2].n_best[0].text == ends[2].text and len(ends[2].n_best) <= 3
    begin = updates.index(ends[0]) + 1
    for line, end in ((updates[:begin], ends[0]), (updates[begin : updates.index(ends[1]) + 1], ends[1])):
        assert " ".join(word.text for word in words_of(line)) == end.n_best[0].text
    rows = ends[0].as_json()["n_best"]
    assert rows[0] == {"text": ends[0].n_best[0].text, "score": round(ends[0].n_best[0].score, 4)}
    assert "n_best" not in transcribe("_a_")[-1].as_json()


def test_beam_words_have_the_times_of_the_whole():
    text = "__ab__c ab_cc__ c_ab c_____________a__"
    found = words_of(transcribe(text, decoder=lambda: BeamLiveDecoder(BEAM, FRAME_S), endpoint_s=0))
    best = BEAM(frames_of(text)[None], np.array([len(text)])).best()
    expected = join_words(time_labels(best, TOKENIZER, FRAME_S)[0])
    assert [(w.text, w.start_s, w.end_s) for w in found] == [(w.text, w.start_s, w.end_s) for w in expected]


@pytest.mark.parametrize(
    "audio, message",
    [
        (np.array([0.1, np.nan]), "not finite"),
        (np.array([np.inf], np.float32), "not finite"),
        (np.zeros((2, 2)), "shape"),
        (np.zeros(3, np.int64), "type int64"),
        (np.array(["a"]), "type"),
    ],
)
def test_wrong_audio_is_refused_and_the_stream_goes_on(audio, message):
    text = frames_of("ab_c " * 20)
    live = LiveTranscription(GivenFrames(text), greedy())
    updates = live.push(np.zeros(700, np.float32))
    with pytest.raises(UserError, match=message):
        live.push(audio)
    updates += [*live.push(np.zeros(1300, np.int16)), *live.finish()]
    assert words_of(updates) == words_of(transcribe(text)) and live.heard_s == 2.0
    for call in (live.finish, lambda: live.push(np.zeros(1))):
        with pytest.raises(UserError, match="finished"):
            call()


@pytest.mark.parametrize("pause_s", [-1, float("nan"), float("inf")])
def test_impossible_pauses(pause_s):
    with pytest.raises(UserError, match="endpoint_s"):
        EndpointDetector(pause_s, FRAME_S, np.array([True]))


def test_a_rate_of_zero_is_not_the_rate_of_the_model():
    with pytest.raises(UserError, match="sample_rate 0"):
        LiveTranscription(GivenFrames(frames_of("ab")), greedy(), sample_rate=0)


@pytest.mark.medium
def test_transcriber_streams_any_model_at_any_rate(untrained_model):
    transcriber = Transcriber(untrained_model(list(" abcdefghijklmnopqrstuvwxyz'")))
    audio = np.random.default_rng(0).normal(scale=0.1, size=48_000 * 3).astype(np.float32)
    live = transcriber.stream(9.0, 1.0, 9.0, sample_rate=48_000)
    updates = [update for part in np.split(audio, range(1000, len(audio), 4410)) for update in live.push(part)]
    updates += live.finish()
    whole = transcriber.transcribe(audio, 48_000)
    assert " ".join(one.text for one in finals(updates) if one.text) == whole.text
    assert live.heard_s == 3 and live.sample_rate == 48_000 and live.delay_s == pytest.approx(10)
    with pytest.raises(UserError, match="strategy=beam"):
        transcriber.stream(hot_words=["ab"])
    transcriber.stream(hot_words=None).warm_up()


def test_word_pieces_are_final_when_the_next_word_starts_and_pause_where_nothing_is_written():
    pieces = ["[UNK]", "[PAD]", "on", "##es", "six"]
    tokenizer = WordPieceTokenizer(pieces)
    path = [2, 5, 3, 5, 4, *[5, 1] * 15, 2, 5, 5]  # [PAD] writes nothing
    log_probs = np.full((len(path), 6), -9, np.float32)
    log_probs[np.arange(len(path)), path] = -0.01
    updates = transcribe(log_probs, decoder=lambda: GreedyLiveDecoder(GreedyDecoder(), tokenizer, FRAME_S), chunk=5)
    final = [(update.text, update.endpoint) for update in updates if update.kind == "final"]
    assert final == [("ones", False), ("six", True), ("on", True)]

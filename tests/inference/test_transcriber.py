"""Recordings of any kind, number and length to transcripts, in bounded batches."""

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import soundfile
import soxr
import tensorflow as tf
from keras import ops

from jasper_tf.audio.load import load_audio
from jasper_tf.audio.pad_audio import pad_audio
from jasper_tf.audio.silence import trim_silence
from jasper_tf.config.sections.decoding_schema import DecodingConfig
from jasper_tf.data.manifest.line import Utterance
from jasper_tf.decoding.greedy.greedy_decoder import GreedyDecoder
from jasper_tf.errors import AudioError, UserError
from jasper_tf.export.saved_model.writer import export
from jasper_tf.inference.long_audio import Chunking
from jasper_tf.inference.saved_model import SavedModelTranscriber
from jasper_tf.inference.segments import Segmentation
from jasper_tf.inference.transcriber import Transcriber
from jasper_tf.inference.transcript import Transcript

ROOT = Path(__file__).parents[2]
LABELS = list(" abcdefghijklmnopqrstuvwxyz'")
SECONDS = (0.9, 2.1, 0.4, 1.3, 0.7)


@pytest.fixture(scope="module")
def model(untrained_model):
    return untrained_model(LABELS)


@pytest.fixture(scope="module")
def sounds():
    rng = np.random.default_rng(5)
    return [rng.normal(scale=0.1, size=int(16000 * seconds)).astype(np.float32) for seconds in SECONDS]


@pytest.fixture(scope="module")
def files(sounds, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    for k, sound in enumerate(sounds):
        soundfile.write(folder / f"{k}.wav", sound, 16000, subtype="FLOAT")
    return [folder / f"{k}.wav" for k in range(len(sounds))]


@pytest.fixture(scope="module")
def texts(model, sounds):
    """What the model recognizes in each sound alone."""
    found = [model.recognize_batch(sound[None], np.array([len(sound)], np.int32), False) for sound in sounds]
    found = [outputs["text"][0].decode() for outputs in found]
    assert len(set(found)) == len(found)
    return found


class Recorder:
    """The model, with a note of the shape of every batch."""

    def __init__(self, model):
        self.model, self.tokenizer, self.sample_rate, self.batches = model, model.tokenizer, model.sample_rate, []

    def recognize_batch(self, audio, audio_len, words, decoder, hot_words):
        self.batches.append((audio.shape[0], audio.shape[1] / self.sample_rate))
        return self.model.recognize_batch(audio, audio_len, words, decoder, hot_words)


def test_every_kind_of_recording_in_order(model, sounds, files, texts):
    utterance = Utterance(str(files[3]), 0.0, SECONDS[3], "", "m.json:1")
    mixed = [files[0], sounds[1], open(files[2], "rb"), utterance, io.BytesIO(files[4].read_bytes())]
    found = Transcriber(model, batch_size=2).transcribe(mixed)
    assert [str(one) for one in found] == texts
    for one, sound in zip(found, sounds, strict=True):
        assert isinstance(one, Transcript) and one.duration_s == len(sound) / 16000
        assert " ".join(segment.text for segment in one.segments) == one.text
        assert [word.text for word in one.words] == one.text.split() and 0 < one.confidence <= 1
        assert all(0 <= word.start_s < word.end_s <= one.duration_s + 0.1 for word in one.words)
    assert model.transcribe([]) == []
    generator = model.transcribe(sound for sound in sounds)
    assert [one.text for one in generator] == texts
    for one in (
        files[0],
        str(files[0]),
        files[0].read_bytes(),
        open(files[0], "rb"),
        sounds[0],
        utterance_of(files[0]),
    ):
        alone = model.transcribe(one)
        assert alone.confidence == pytest.approx(generator[0].confidence, abs=1e-6)
        for a, b in zip((*alone.words, *alone.segments), (*generator[0].words, *generator[0].segments), strict=True):
            assert (a.text, a.start_s, a.end_s) == (b.text, b.start_s, b.end_s)
            assert a.confidence == pytest.approx(b.confidence, abs=1e-6)  # a batch computes it in another order
    assert generator[0].words and generator[0].segments and generator[0].confidence and generator[0].duration_s == 0.9
    assert str(generator[0]) == texts[0]


def utterance_of(file):
    return Utterance(str(file), 0.0, SECONDS[0], "", "m.json:1")


def test_arrays_of_every_kind(model, sounds, texts):
    int16 = (sounds[0] * 32768).round().astype(np.int16)
    right = model.transcribe(int16.astype(np.float32) / 32768)
    stereo = np.stack([int16, int16], axis=1)
    floats = int16.astype(np.float64) / 32768
    tensors = (tf.constant(int16), tf.Variable(floats), keras.ops.convert_to_tensor(stereo), keras.Variable(floats))
    for array in (int16, stereo, int16.astype(np.int32) * 65536, floats, floats.astype(">f4"), *tensors):
        assert model.transcribe(array) == right
    assert model.transcribe(tf.data.Dataset.from_tensors(int16)) == [right]
    assert right.text == texts[0]
    uint8 = (np.arange(16000) % 251).astype(np.uint8)
    assert model.transcribe(uint8) == model.transcribe((uint8.astype(np.float32) - 128) / 128)
    slow = soxr.resample(int16, 16000, 8000)
    again = soxr.resample(slow.astype(np.float32) / 32768, 8000, 16000, quality="HQ")
    assert model.transcribe(slow, sample_rate=np.int64(8000)) == model.transcribe(again)
    assert model.transcribe([slow, int16], sample_rate=8000.0)[0].text == model.transcribe(again).text


def closed_file():
    file = io.BytesIO(b"RIFF")
    file.close()
    return file


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.array([0.1, np.nan], np.float32), "NaN"),
        (np.array([], np.float32), "no samples"),
        (np.zeros((2, 16000)), "transpose"),
        (np.zeros((1, 2, 3)), "give \\[S\\]"),
        (np.zeros(()), "give \\[S\\]"),
        (np.array([0.1, -np.inf], np.float32), "NaN or inf"),
        (np.array([0.1, 1e300]), "NaN or inf"),
        *((np.zeros(9, kind), "is not audio") for kind in ("complex64", "bool", "object", "int64", "uint16", "S4")),
        (np.array(["a"]), "is not audio"),
        (tf.constant(["a.wav"]), "is not audio"),
        (keras.Input((100,)), "holds no numbers"),
        (7, "int is not a recording"),
        (None, "NoneType is not a recording"),
        ({"array": np.zeros(9)}, "dict is not a recording"),
        ([7], "int is not a recording"),
        ([[0.1, 0.2]], "list is not a recording"),
        ((16000, np.zeros(9)), "int is not a recording"),
        (Path(__file__).parent, "is a directory"),
        ("", "no such file"),
        (io.StringIO("RIFF"), "binary mode"),
        (io.BytesIO(), "is empty"),
        (closed_file(), "closed"),
        (io.BytesIO(b"this is text"), "the open file: cannot be decoded"),
    ],
)
def test_what_is_no_recording(model, wrong, message):
    with pytest.raises(UserError, match=message):
        model.transcribe(wrong)


@pytest.mark.parametrize("rate", [0, -8000, 7, 10**9, float("nan"), float("inf"), True, "16000", [16000]])
def test_what_is_no_rate(model, sounds, rate):
    for recordings in (sounds[0], [sounds[0]]):
        with pytest.raises(UserError, match="sample_rate .*: must be"):
            model.transcribe(recordings, sample_rate=rate)


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"batch_s": float("nan")}])
def test_batches_of_nothing(model, wrong):
    with pytest.raises(UserError, match="above 0"):
        Transcriber(model, **wrong)


def test_batches_are_bounded_in_seconds_and_of_like_length(model, sounds, texts):
    recorder = Recorder(model)
    found = Transcriber(recorder, batch_s=3.0, batch_size=3, words=False).transcribe(sounds * 3)
    assert [one.text for one in found] == texts * 3 and found[0].words is None
    for rows, longest_s in recorder.batches:
        assert rows <= 3 and rows * longest_s <= 3.0 + 1e-6
    assert sum(rows for rows, _ in recorder.batches) == 15
    # In batches of three as they come, 2.1 s would be padded to thrice each time.
    assert sum(rows * longest_s for rows, longest_s in recorder.batches) < 1.15 * 3 * sum(SECONDS)


def test_long_recordings_go_through_in_pieces(model, sounds, files):
    """A file and the same samples in memory are cut alike, and what the pieces give is joined by time."""
    recorder = Recorder(model)
    transcriber = Transcriber(recorder, Chunking(1.0, 0.3), batch_s=2.0)
    long, short, same = transcriber.transcribe([files[1], files[2], sounds[1]])
    assert max(rows * longest_s for rows, longest_s in recorder.batches) <= 2.0
    assert max(longest_s for _, longest_s in recorder.batches) <= 1.0
    assert long == same and long.duration_s == 2.1
    assert [word.start_s for word in long.words] == sorted(word.start_s for word in long.words)
    assert long.words[-1].end_s > 1.8 and long.text == " ".join(word.text for word in long.words)
    assert short == Transcriber(model).transcribe(files[2])
    whole = Transcriber(model, Chunking(chunk_s=0)).transcribe(files[1])
    assert whole == model.transcribe(files[1])


def test_a_model_without_spaces_is_not_cut(untrained_model, sounds):
    model = untrained_model(list("abc"))
    recorder = Recorder(model)
    assert Transcriber(recorder, Chunking(1.0, 0.3)).transcribe(sounds[1]) == model.transcribe(sounds[1])
    assert recorder.batches == [(1, 2.1)]


def test_what_cannot_be_read_does_not_hold_up_the_others(model, files, texts, tmp_path):
    content = files[1].read_bytes()
    (tmp_path / "cut.wav").write_bytes(content[: len(content) * 3 // 4])
    recordings = [files[0], tmp_path / "absent.wav", files[2], tmp_path / "cut.wav", files[3]]
    # The cut is in the third piece of four: the others were read already, or need not be.
    found = list(Transcriber(model, Chunking(0.8, 0.1), batch_size=1).transcribe_each(recordings))
    assert [one.text for one in found if isinstance(one, Transcript)][1] == texts[2]
    assert "absent.wav: no such file" in str(found[1]) and "cut.wav: the file is cut off" in str(found[3])
    assert isinstance(found[4], Transcript) and len(found) == 5
    everything_wrong = Transcriber(model).transcribe_each([tmp_path / "absent.wav"] * 300)
    assert sum(isinstance(one, UserError) for one in everything_wrong) == 300


def test_a_manifest_that_claims_any_length(model, files):
    utterance = Utterance(str(files[0]), 0.0, 1e9, "", "m.json:1")
    with pytest.raises(UserError, match="asked for"):
        Transcriber(model).transcribe([utterance])
    part = replace(utterance, offset_s=0.2, duration_s=0.5)
    assert model.transcribe([part]) == [model.transcribe(load_audio(files[0], 16000, 0.2, 0.5))]


def test_arrays_of_a_generator_are_not_all_in_memory(model, sounds):
    taken = []
    generator = (taken.append(k) or np.tile(sounds[0], 40) for k in range(12))  # 36 s each
    stream = Transcriber(model, batch_s=72.0, words=False).transcribe_each(generator)
    next(stream)
    assert len(taken) <= 6
    assert len(list(stream)) == 11


def test_progress_reaches_the_whole(model, files):
    calls = []
    list(
        Transcriber(model, Chunking(1.0, 0.2), batch_size=1).transcribe_each(
            files, on_progress=lambda *call: calls.append(call)
        )
    )
    done = [call[0] for call in calls]
    assert done == sorted(done) and len(calls) > len(files)
    assert calls[-1] == (pytest.approx(sum(SECONDS)), pytest.approx(sum(SECONDS)), len(files))


class Shifted(GreedyDecoder):
    """Greedy decoding that gives the next label in place of each one."""

    def call(self, log_probs, logit_len):
        found = super().call(log_probs, logit_len)
        return found._replace(labels=ops.where(found.labels < 0, -1, (found.labels + 1) % len(LABELS)))


@pytest.mark.parametrize("words", [False, True])
def test_another_decoder_in_place_of_the_models(model, sounds, words):
    batch = pad_audio(sounds[:2])
    right = model.recognize_batch(*batch, words=False)["text"]
    found = model.recognize_batch(*batch, words, Shifted())
    shifted = str.maketrans("".join(LABELS), "".join(LABELS[1:] + LABELS[:1]))
    assert [text.decode() for text in found["text"]] == [text.decode().translate(shifted) for text in right]
    assert ("words" in found) == words
    if words:
        assert [w.decode() for w in found["words"]] == " ".join(text.decode() for text in found["text"]).split()


def test_decoding_of_a_configuration(model, sounds):
    given, own = (Transcriber(model, decoding=config).transcribe(sounds) for config in (DecodingConfig(), None))
    # In NumPy and in the graph: the same to the last digits of a confidence.
    assert [one.as_json() for one in given] == [one.as_json() for one in own] and given[0].words


BEAM = {
    "strategy": "beam",
    "beam": {"beam_size": 8, "n_best": 3, "top_tokens": 28, "token_min_logp": -20.0, "beam_threshold": 60.0},
}


def test_a_beam_with_n_best_and_hot_words(model, sounds):
    transcriber = Transcriber(model, decoding=BEAM)
    plain, hot = (transcriber.transcribe(sounds[:2], hot_words=hot_words) for hot_words in (None, {"B c": 50.0}))
    for one in (*plain, *hot):
        scores = [each.score for each in one.n_best]
        assert one.n_best[0].text == one.text and len({each.text for each in one.n_best}) == 3
        assert scores == sorted(scores, reverse=True)
    assert all("b c" in one.text for one in hot) and not any("b c" in one.text for one in plain)
    assert [one.text for one in transcriber.transcribe_each(sounds[:2], hot_words={"B c": 50.0})] == [
        one.text for one in hot
    ]
    with pytest.raises(UserError, match="hot_words: 'B c'"):
        transcriber.transcribe(sounds[0], hot_words="B c")
    one = model.transcribe(sounds[0], decoding=BEAM, hot_words={"B c": 50.0})
    assert (one.text, one.words[0].text) == (hot[0].text, hot[0].words[0].text)
    # Of a recording that is cut only the best.
    whole, cut = (
        Transcriber(model, chunking, decoding=BEAM).transcribe(sounds[1]) for chunking in (None, Chunking(1.0, 0.3))
    )
    assert len(whole.n_best) == 3 and cut.n_best is None and cut.words


def test_hot_words_for_a_greedy_decoder(model, sounds):
    for transcribe in (Transcriber(model).transcribe, model.transcribe):
        with pytest.raises(UserError, match="hot words: .*decoding.strategy=beam"):
            transcribe(sounds[0], hot_words={"jasper": 8})


def test_a_wrong_decoding_is_named_before_any_recording(model, tmp_path):
    absent = {"strategy": "beam", "beam": {"ngram_lm_model": str(tmp_path / "lm.arpa")}}
    for decoding, said in (({"strategy": "bem"}, "decoding.strategy"), (absent, "decoding.beam.ngram_lm_model")):
        with pytest.raises(UserError, match=said):
            Transcriber(model, decoding=decoding)


def test_channel_and_silence(model, sounds, tmp_path):
    """The same of a path, an array and an open file, whole and in pieces."""
    loud = sounds[1].copy()
    loud[:4000] = loud[-8000:] = 0
    trimmed = trim_silence(loud)
    assert len(trimmed) < len(loud) - 10_000
    stereo = np.stack([sounds[1][::-1], loud], axis=1)
    soundfile.write(tmp_path / "stereo.wav", stereo, 16000, subtype="FLOAT")
    for chunking in (Chunking(), Chunking(0.6, 0.1)):
        sources = [tmp_path / "stereo.wav", stereo, io.BytesIO((tmp_path / "stereo.wav").read_bytes())]
        wanted = Transcriber(model, chunking).transcribe(trimmed)
        transcriber = Transcriber(model, chunking, channel_selector=1, trim_silence=True)
        assert transcriber.transcribe(sources) == [wanted] * 3
        assert wanted != Transcriber(model, chunking, channel_selector=1).transcribe(stereo)
        for wrong in sources[:2]:
            with pytest.raises(AudioError, match="no channel 2"):
                Transcriber(model, chunking, channel_selector=2).transcribe(wrong)


@pytest.mark.parametrize("chunking", [Chunking(), Chunking(1.0, 0.3)])
def test_segments_as_they_are_asked_for(model, sounds, chunking):
    found = []
    for rules in (Segmentation(pause_s=99.0), Segmentation(longest_s=0.3)):
        transcriber = Transcriber(model, chunking, segmentation=rules)
        transcriber.decoder = Shifted()  # of several words
        found.append(transcriber.transcribe(sounds[1]))
    whole, cut = found
    assert whole.words == cut.words and len(whole.segments) == 1 < len(cut.segments)
    assert Transcriber(model, chunking, words=False).transcribe(sounds[1]).segments is None


@pytest.mark.slow
@pytest.mark.parametrize("batchable", [False, True])
def test_a_saved_model_says_the_same(model, sounds, files, tmp_path, batchable):
    served = SavedModelTranscriber(export(model, tmp_path / "serving", batchable=batchable))
    chunking = Chunking(1.0, 0.3)
    for ours, theirs in zip(*(Transcriber(m, chunking).transcribe(files) for m in (model, served)), strict=True):
        assert ours.text == theirs.text and [w.text for w in ours.words] == [w.text for w in theirs.words]
        np.testing.assert_allclose([w.start_s for w in ours.words], [w.start_s for w in theirs.words], atol=1e-5)
    batch = pad_audio(sounds)
    for words in (False, True):
        ours, theirs = (m.recognize_batch(*batch, words, Shifted()) for m in (model, served))
        assert ours["text"].tolist() == theirs["text"].tolist()
        assert not words or ours["words"].tolist() == theirs["words"].tolist()


# Not ru_maxrss: a process that is started begins with its parent's.
PEAK = """
import re, sys
from jasper_tf.__main__ import main
status = main(sys.argv[1:])
print(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1], file=sys.stderr)
sys.exit(status)
"""


@pytest.mark.slow
def test_two_hours_of_silence_fit_into_memory(model, tmp_path):
    model.save(tmp_path / "model.keras")
    soundfile.write(tmp_path / "silence.flac", np.zeros(2 * 3600 * 8000, np.int16), 8000)
    soundfile.write(tmp_path / "short.wav", np.zeros(8000, np.int16), 8000)
    paths = [str(tmp_path / name) for name in ("short.wav", "silence.flac")]
    command = [sys.executable, "-c", PEAK, "transcribe", "--model", str(tmp_path / "model.keras"), *paths]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [line.partition("\t")[0] for line in done.stdout.splitlines()] == paths
    assert int(done.stderr.split()[-1]) < 1_500_000  # KiB, TensorFlow included

"""Language model, hot words and n best of a server, of recordings and of live audio."""

import json

import numpy as np
import pytest

from jasper_tf import Transcriber
from jasper_tf.__main__ import main
from jasper_tf.config.decoding_overrides import read_decoding
from jasper_tf.serving.http.decoder_cache import DecoderCache
from tests.serving.http.live.test_live_socket import CHUNKS, pcm, said, talk
from tests.serving.http.live_server import LiveServer

pytestmark = pytest.mark.medium

HOT = {"qa": 30.0}


@pytest.fixture(scope="module")
def lm(expected_words, tmp_path_factory):
    """A language model of half of the words that the model says."""
    file = tmp_path_factory.mktemp("lm") / "lm.arpa"
    words = "".join(f"-1.0\t{word}\n" for word in expected_words[::2])
    count = len(expected_words[::2]) + 3
    file.write_text(f"\\data\\\nngram 1={count}\n\n\\1-grams:\n-5\t<unk>\n0\t<s>\n-1\t</s>\n{words}\n\\end\\\n")
    return file


@pytest.fixture(scope="module")
def expected_words(http_model, recordings):
    found = http_model.transcribe(list(recordings.values()), batch_size=1)
    return sorted({word.text for one in found for word in one.words if len(word.text) > 1})


@pytest.fixture(scope="module")
def with_lm(model_folder, lm):
    """A running server with the language model."""
    with LiveServer(model_folder, "--lm", str(lm)) as server:
        yield server


@pytest.fixture(scope="module")
def transcriber(http_model, lm):
    """With the language model, as `transcribe --lm` has it."""
    return Transcriber(http_model, decoding=of_beam(lm), batch_size=1)


def of_beam(lm, **more):
    return {"strategy": "beam", "beam": {"ngram_lm_model": str(lm), **more}}


def test_decoders_of_requests_share_the_language_model(transcriber, lm):
    decoders = DecoderCache(transcriber, read_decoding(of_beam(lm)), 64)
    assert decoders.get([], True) is None
    other = decoders.get(["decoding.beam.beam_size=4"], False)
    assert other.language_model is transcriber.decoder.language_model is not None
    assert decoders.get(["decoding.beam.beam_size=4"], True) is other


def test_recordings(with_lm, transcriber, recordings, http_model):
    plain = [one.text for one in http_model.transcribe(list(recordings.values()), batch_size=1)]
    texts = {}
    for fields, hot_words in (({}, None), ({"hot_words": json.dumps(HOT)}, HOT)):
        texts[bool(fields)] = [one.text for one in transcriber.transcribe(list(recordings.values()), None, hot_words)]
        found = [with_lm.transcribe(content, name, **fields).json()["text"] for name, content in recordings.items()]
        assert found == texts[bool(fields)]
    assert plain != texts[False] != texts[True]


def test_live_audio(with_lm, transcriber, http_model, lm):
    recording = pcm(5, 3.1)

    async def work(open_talk, settings):
        live = await open_talk()
        await live.start(**settings)
        await live.send(recording)
        return await live.end()

    def wanted(transcriber, hot_words=None):
        live = transcriber.stream(**CHUNKS, hot_words=hot_words)
        updates = [*live.push(np.frombuffer(recording, "<i2")), *live.finish()]
        return [update.as_json() for update in updates]

    several = Transcriber(http_model, decoding=of_beam(lm, n_best=3))
    for settings, updates in (
        ({}, wanted(transcriber)),
        ({"hot_words": HOT}, wanted(transcriber, HOT)),
        ({"n_best": 3}, wanted(several)),
    ):
        messages = talk(with_lm, lambda open_talk, settings=settings: work(open_talk, settings))
        assert said(messages) == said(updates) != []
        ends = [[one["n_best"] for one in given if "n_best" in one] for given in (messages, updates)]
        assert ends[0] == ends[1] and bool(ends[0]) == ("n_best" in settings)


@pytest.mark.parametrize(("value", "param"), [(0, "n_best"), ("many", "n_best"), (1.5, "n_best"), (99, "decoding")])
def test_impossible_n_best(with_lm, value, param):
    async def work(open_talk):
        live = await open_talk()
        await live.start(n_best=value)
        return await live.rest()

    assert talk(with_lm, work)[-1]["error"]["param"] == param


def test_the_command_transcribe_says_the_same(with_lm, model_folder, recordings, lm, tmp_path, capfd):
    for name, content in recordings.items():
        (tmp_path / name).write_bytes(content)
    files = [str(tmp_path / name) for name in recordings]
    command = ["transcribe", "--model", str(model_folder), "--lm", str(lm), "--format", "json", "--words"]
    assert main([*command, *files]) == 0
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert len(lines) == len(files)
    fields = {"response_format": "verbose_json", "timestamp_granularities[]": "word"}
    for line, (name, content) in zip(lines, recordings.items(), strict=True):
        answer = with_lm.transcribe(content, name, **fields).json()
        assert answer["text"] == line["text"]
        times = [[word["start_s"], word["end_s"]] for word in line["words"]]
        np.testing.assert_allclose([[word["start"], word["end"]] for word in answer["words"]], times, atol=1e-3)

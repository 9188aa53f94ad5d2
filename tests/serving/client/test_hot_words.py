"""Hot words in a client's requests, to models with and without a beam search."""

import json

import numpy as np
import pytest
import soundfile

pytest.importorskip("tensorflow_serving", reason="needs tensorflow-serving-api")

from jasper_tf.__main__ import main
from jasper_tf.config.decoding_overrides import read_decoding
from jasper_tf.export.saved_model.writer import export
from jasper_tf.inference.transcriber import Transcriber
from jasper_tf.serving.client.grpc_client import GrpcClient
from jasper_tf.serving.client.rest_client import RestClient
from jasper_tf.serving.client.server_error import ServerError
from tests.serving.client.loopback_serving import LoopbackServing

pytestmark = pytest.mark.medium

HOT_WORDS = {"B é": 25.0}
SOUND = np.random.default_rng(1).normal(scale=0.1, size=16000).astype(np.float32)


@pytest.fixture(scope="module")
def decoding():
    beam = {"beam_size": 16, "n_best": 2, "top_tokens": 28, "token_min_logp": -20.0, "beam_threshold": 60.0}
    return read_decoding({"strategy": "beam", "beam": beam})


@pytest.fixture(scope="module")
def beam_serving(served_model, decoding, tmp_path_factory):
    folder = export(served_model, tmp_path_factory.mktemp("serving") / "beam", decoding=decoding).parent
    with LoopbackServing(folder) as serving:
        yield serving


@pytest.fixture(scope="module")
def texts(served_model, decoding):
    """Without and with hot words."""
    transcriber = Transcriber(served_model, decoding=decoding)
    return [transcriber.transcribe(SOUND, hot_words=hot_words).text for hot_words in (None, HOT_WORDS)]


@pytest.fixture(params=["grpc", "rest"])
def connect(request):
    def connect(serving, hot_words=None):
        if request.param == "grpc":
            return GrpcClient(serving.address, hot_words=hot_words)
        return RestClient(serving.rest_address, hot_words=hot_words)

    return connect


@pytest.mark.parametrize("words", [True, False])
def test_they_are_in_the_request(connect, beam_serving, texts, words):
    plain, hot = texts
    assert "b é" in hot and "b é" not in plain
    with connect(beam_serving, HOT_WORDS) as client:
        found = client.recognize(SOUND, words)
    assert found.text == hot and [one.text for one in found.n_best][0] == hot and len(found.n_best) == 2
    assert (found.words is not None) == words


def test_a_beam_without_hot_words(connect, beam_serving, texts):
    """The server wants the inputs: only the first request is refused for that."""
    with connect(beam_serving) as client:
        assert client.recognize(SOUND).text == texts[0]
        before = beam_serving.requests
        assert client.recognize(SOUND).text == texts[0]
        assert beam_serving.requests == before + 1


def test_a_model_that_takes_none(connect, serving):
    with connect(serving, HOT_WORDS) as client:
        with pytest.raises(ServerError, match="model 'jasper' takes no hot words; export it with --lm") as caught:
            client.recognize(SOUND)
    assert caught.value.concerns_all


def test_a_wrong_one_is_named_by_the_server(connect, beam_serving):
    with connect(beam_serving, {"b0b": 3.0}) as client:
        with pytest.raises(ServerError, match="hot_words.0.: .*b0b.* has a letter") as caught:
            client.recognize(SOUND)
    assert "takes no hot words" not in str(caught.value)


@pytest.mark.parametrize("protocol", [[], ["--rest"]])
def test_command(beam_serving, serving, texts, tmp_path, capfd, protocol):
    soundfile.write(tmp_path / "a.wav", SOUND, 16000, subtype="FLOAT")
    (tmp_path / "words.txt").write_text("# expected\nB é 25\n", encoding="utf-8")
    (tmp_path / "wrong.txt").write_text("bob 77\n")

    def call(server, words):
        address = server.rest_address if protocol else server.address
        options = ["--json", "--hot-words", str(tmp_path / words)]
        return main(["client", "--server", address, *protocol, *options, str(tmp_path / "a.wav")])

    assert call(beam_serving, "words.txt") == 0
    found = json.loads(capfd.readouterr().out)
    assert found["text"] == found["n_best"][0]["text"] == texts[1]
    assert found["n_best"][0]["score"] >= found["n_best"][1]["score"]
    assert call(serving, "words.txt") == 1
    assert "takes no hot words" in capfd.readouterr().err
    for file, said in (("wrong.txt", "wrong.txt:1: the number behind"), ("absent.txt", "absent.txt")):
        assert call(beam_serving, file) == 2
        out, err = capfd.readouterr()
        assert out == "" and said in err and len(err.splitlines()) == 1

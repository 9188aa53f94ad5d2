"""Live audio through a server: the text of the parts is the text of the whole recording."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("tensorflow_serving", reason="needs tensorflow-serving-api")

from jasper_tf.__main__ import main
from jasper_tf.export.saved_model.writer import export
from jasper_tf.serving.client.grpc_client import GrpcClient
from jasper_tf.serving.client.live_stream import stream_text
from jasper_tf.serving.client.rest_client import RestClient
from jasper_tf.serving.client.server_error import BackOff, ServerError
from tests.serving.client.loopback_serving import LoopbackServing

pytestmark = pytest.mark.medium
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def servers(streaming_model, tmp_path_factory):
    """Two replicas of a model that can stream."""
    folder = export(streaming_model, tmp_path_factory.mktemp("live") / "model").parent
    with LoopbackServing(folder) as one, LoopbackServing(folder) as two:
        yield one, two


@pytest.fixture(scope="module")
def sound():
    rng = np.random.default_rng(5)
    return np.round(rng.normal(scale=3000, size=30_011)).astype(np.int16)


@pytest.fixture(scope="module")
def text(streaming_model, sound):
    text = str(streaming_model.transcribe(sound))
    assert len(text) > 8
    return text


class Replicas:
    """A client whose requests go to one server after the other."""

    server, model = "replicas", "jasper"

    def __init__(self, clients):
        self.clients, self.calls = clients, 0

    def predict(self, signature, inputs):
        self.calls += 1
        return self.clients[self.calls % len(self.clients)].predict(signature, inputs)


@pytest.mark.parametrize("chunk_s", [0.04, 0.32, 5.0])
@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_any_replica_serves_any_step(servers, sound, text, protocol, chunk_s):
    clients = [GrpcClient(s.address) if protocol == "grpc" else RestClient(s.rest_address) for s in servers]
    replicas = Replicas(clients)
    parts = [*stream_text(replicas, np.array_split(sound / np.float32(2**15), 9), 16000, chunk_s)]
    assert "".join(parts) == text
    assert replicas.calls == len(parts) + 1
    for client in clients:
        client.close()


def test_a_request_that_failed_is_sent_again(servers, sound, text):
    with GrpcClient(servers[0].address, back_off=BackOff(4, first_s=0.01)) as client:
        found = ""
        for part in stream_text(client, [sound / np.float32(2**15)], 16000):
            servers[0].failures = ["UNAVAILABLE"]
            found += part
    servers[0].failures = []
    assert found == text


def test_what_the_server_refuses(servers, serving):
    for client in (GrpcClient(servers[0].address), RestClient(servers[0].rest_address)):
        with pytest.raises(ServerError, match="the model hears 16000 Hz; resample"):
            next(stream_text(client, [], 8000))
    for client in (GrpcClient(serving.address), RestClient(serving.rest_address)):
        with pytest.raises(ServerError, match="needs whole recordings; export one that can stream"):
            next(stream_text(client, [], 16000))


@pytest.mark.parametrize(
    ("start", "answer"),
    [
        ({}, {}),
        ({"state": np.zeros(3)}, {}),
        ({"state": np.zeros((1, 3)), "frame_samples": [0], "flush_samples": [640]}, {}),
        ({"state": np.zeros((1, 3)), "frame_samples": [10**12], "flush_samples": [640]}, {}),
        ({"state": np.zeros((1, 3)), "frame_samples": [640], "flush_samples": [640]}, {"state": np.zeros((1, 3))}),
        ({"state": np.zeros((1, 3)), "frame_samples": [640], "flush_samples": [640]}, {"text": np.array([b"a"])}),
        (
            {"state": np.zeros((1, 3)), "frame_samples": [640], "flush_samples": [640]},
            {"text": np.array([b"\xff"]), "state": np.zeros((1, 3))},
        ),
    ],
)
def test_a_server_of_another_kind(start, answer):
    class Foreign:
        server, model = "host:1", "other"

        def predict(self, signature, inputs):
            return start if signature == "stream_start" else answer

    start = {name: np.asarray(value) for name, value in start.items()}
    with pytest.raises(ServerError, match="host:1: model 'other' is not an export of this package"):
        list(stream_text(Foreign(), [np.zeros(9000, np.float32)], 16000))


@pytest.mark.parametrize("rest", [False, True])
def test_the_command(servers, sound, text, tmp_path, capfd, rest):
    soundfile.write(tmp_path / "a.wav", sound, 16000)
    server = [servers[0].rest_address, "--rest"] if rest else [servers[0].address]
    assert main(["client", "--server", *server, "--live", str(tmp_path / "a.wav")]) == 0
    assert capfd.readouterr() == (text + "\n", "")


def test_standard_input(servers, sound, text):
    command = [sys.executable, "-m", "jasper_tf", "client", "--server", servers[0].address, "--live", "--json", "-"]
    done = subprocess.run(command, input=sound.tobytes() + b"\0", capture_output=True, cwd=ROOT, env=os.environ)
    assert done.returncode == 0 and b"half a sample" in done.stderr and done.stderr.count(b"\n") == 1
    lines = done.stdout.decode().splitlines()
    assert len(lines) > 2 and "".join(line.split('"')[3] for line in lines) == text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["a.wav", "b.wav"], "--live: takes one recording, not 2"),
        (["--chunk-s", "0", "a.wav"], "--chunk-s 0: must be above 0 with --live"),
        (["--chunk-s", "inf", "a.wav"], "--chunk-s inf: must be above 0 with --live"),
        (["--hot-words", "words.txt", "a.wav"], "--live: the server decodes a stream greedily"),
    ],
)
def test_wrong_use(options, said, capfd):
    assert main(["client", "--server", "127.0.0.1:9", "--live", *options]) == 2
    out, err = capfd.readouterr()
    assert out == "" and err.startswith(f"error: {said}") and len(err.splitlines()) == 1


def test_no_such_file(servers, capfd):
    assert main(["client", "--server", servers[0].address, "--live", "absent.wav"]) == 1
    out, err = capfd.readouterr()
    assert out == "" and err.startswith("error: absent.wav: ") and len(err.splitlines()) == 1

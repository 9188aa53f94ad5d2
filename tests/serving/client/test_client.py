"""The client against a server on the loopback: under load, slow, failing, restarting, cut off."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("tensorflow_serving", reason="needs tensorflow-serving-api")

from jasper_tf.serving.client.grpc_client import GrpcClient
from jasper_tf.serving.client.rest_client import RestClient
from jasper_tf.serving.client.server_error import BackOff, ServerError
from tests.serving.client.loopback_serving import CuttingProxy, LoopbackServing

SOON = BackOff(retries=3, first_s=0.02)


def noise(seed, seconds):
    return np.random.default_rng(seed).normal(scale=0.1, size=int(16000 * seconds)).astype(np.float32)


@pytest.fixture(params=["grpc", "rest"])
def connect(request, serving):
    """`connect(server=None, **options)`: a client of either protocol."""
    clients = []

    def connect(server=None, **options):
        kind, address = {"grpc": (GrpcClient, serving.address), "rest": (RestClient, serving.rest_address)}[
            request.param
        ]
        clients.append(kind(server or address, **{"back_off": SOON, "timeout_s": 60.0, **options}))
        return clients[-1]

    connect.port = serving.port if request.param == "grpc" else serving.rest_port
    yield connect
    for client in clients:
        client.close()


def test_every_answer_under_load_is_the_right_one(connect, serving, served_model):
    sounds = [noise(k, seconds) for k, seconds in enumerate((0.4, 1.1, 0.7, 1.9, 0.9, 1.4))]
    texts = [*map(str, served_model.transcribe(sounds))]
    assert len(set(texts)) == len(texts) and all(texts)
    client = connect()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(client.recognize, sounds * 3))
    assert [one.text for one in found] == texts * 3
    assert serving.requests == 18
    for one in found:
        assert 0 < one.confidence <= 1
        assert " ".join(word.text for word in one.words) == " ".join(one.text.split())


def test_only_the_text(connect, served_model):
    sound = noise(0, 0.5)
    found = connect().recognize(sound, words=False)
    assert (found.text, found.words) == (served_model.transcribe(sound).text, None)
    assert 0 < found.confidence <= 1


def test_a_name_that_stands_for_several_servers(serving, served_model):
    sound = noise(0, 0.5)
    right = served_model.transcribe(sound).text
    with LoopbackServing(serving.folder) as second:
        both = f"ipv4:{serving.address},{second.address}"
        with GrpcClient(both, back_off=BackOff(retries=40, first_s=0.1, longest_s=0.1)) as client:
            # The second connection may be a moment later.
            for _ in range(50):
                assert client.recognize(sound).text == right
                if serving.requests and second.requests:
                    break
            assert serving.requests and second.requests
            second.stop()
            assert all(client.recognize(sound).text == right for _ in range(4))
            second.start()


def test_a_slow_server_meets_the_deadline_and_is_asked_once(connect, serving):
    serving.delay_s = 1.0
    began = time.monotonic()
    with pytest.raises(ServerError, match="no answer within 0.3 s; raise --timeout") as caught:
        connect(timeout_s=0.3).recognize(noise(0, 0.5))
    assert time.monotonic() - began < 0.9 and not caught.value.concerns_all
    assert serving.requests == 1


@pytest.mark.parametrize(("failures", "requests"), [(1, 2), (3, 4), (4, 4)])
def test_unavailable_is_tried_again(connect, serving, served_model, failures, requests):
    sound = noise(1, 0.5)
    serving.failures = ["UNAVAILABLE"] * failures
    if failures < 4:
        assert connect().recognize(sound).text == served_model.transcribe(sound).text
    else:
        with pytest.raises(ServerError, match=r"no server answers .*as it was told to.*; tried 4 times"):
            connect().recognize(sound)
    assert serving.requests == requests


def test_internal_is_not_tried_again(connect, serving):
    serving.failures = ["INTERNAL"]
    with pytest.raises(ServerError, match=r"(INTERNAL|HTTP 500): failing as it was told to"):
        connect().recognize(noise(0, 0.5))
    assert serving.requests == 1


def test_a_server_that_restarts_on_its_port(connect, serving, served_model):
    sound = noise(2, 0.6)
    client = connect(back_off=BackOff(retries=40, first_s=0.2, longest_s=0.2))
    right = served_model.transcribe(sound).text
    assert client.recognize(sound).text == right
    serving.stop()
    back = threading.Timer(0.7, serving.start)
    back.start()
    try:
        assert client.recognize(sound).text == right
    finally:
        back.join()


def test_cut_connections(connect, served_model):
    sound = noise(3, 0.8)
    with CuttingProxy(connect.port, cuts=2) as proxy:
        assert connect(proxy.address).recognize(sound).text == served_model.transcribe(sound).text
        assert proxy.cuts < 0
    with CuttingProxy(connect.port, cuts=99) as proxy:
        with pytest.raises(ServerError, match="no server answers .*; tried 4 times"):
            connect(proxy.address).recognize(sound)


def test_nobody_there(connect):
    with pytest.raises(ServerError, match=r"^127.0.0.1:9: no server answers .*refused.*; tried 4 times$") as caught:
        connect("127.0.0.1:9").recognize(noise(0, 0.5))
    assert caught.value.unavailable


def test_messages_too_large(connect, serving):
    sound = noise(4, 2.0)
    client = connect(max_message_mb=0.1)
    assert client.max_samples() < len(sound)
    with pytest.raises(ServerError, match="the message is too large .*lower --chunk-s"):
        client.recognize(sound)
    assert serving.requests == 0
    # The longest that fits by its own count does fit.
    assert client.recognize(noise(4, client.max_samples() / 16000)).text
    before, serving.max_message_bytes = serving.max_message_bytes, 50_000
    serving.stop()
    serving.start()
    try:
        with pytest.raises(ServerError, match="the message is too large"):
            connect().recognize(sound)
        # So large that the server hangs up while it is still being sent.
        with pytest.raises(ServerError, match="the message is too large"):
            connect(max_message_mb=64).recognize(noise(4, 150))
    finally:
        serving.max_message_bytes = before
        serving.stop()
        serving.start()


@pytest.mark.parametrize(
    ("options", "named"), [({"model": "other"}, "'other' "), ({"version": 7}, "'jasper' version 7 ")]
)
def test_a_model_that_is_not_served(connect, serving, options, named):
    with pytest.raises(ServerError, match=f"serves no model {named}.*Servable not found") as caught:
        connect(**options).recognize(noise(0, 0.5))
    assert caught.value.concerns_all and serving.requests == 1
    assert connect(version=serving.version).recognize(noise(0, 0.5)).text


def test_what_the_server_refuses(connect, serving):
    client = connect()
    with pytest.raises(ServerError) as caught:
        if isinstance(client, RestClient):
            client.recognize_file(b"this is text")
        else:
            client.recognize(np.full(1600, np.nan, np.float32))
    why = {
        RestClient: "is no WAV file (RIFF ... WAVE at its start); convert it to WAV",
        GrpcClient: "holds samples that are not finite numbers (NaN or infinity) or beyond 8.6e+09",
    }[type(client)]
    assert str(caught.value).startswith(f"{client.server}: the server refuses the request: audio[0]: {why}")
    assert serving.requests == 1


def test_the_other_protocols_port(serving):
    with GrpcClient(serving.rest_address, back_off=BackOff(0)) as client:
        with pytest.raises(ServerError, match="no server answers"):
            client.recognize(noise(0, 0.5))
    with pytest.raises(ServerError, match="REST port|no server answers"):
        RestClient(serving.address, timeout_s=2.0, back_off=BackOff(0)).recognize(noise(0, 0.5))


def test_waits_grow_and_differ():
    back_off = BackOff(retries=9, first_s=0.5, longest_s=3.0, seed=1)
    for tried, bound in ((1, 0.5), (2, 1.0), (3, 2.0), (4, 3.0), (9, 3.0)):
        waits = [back_off.wait_s(tried) for _ in range(300)]
        assert 0 <= min(waits) < 0.05 * bound and 0.95 * bound < max(waits) <= bound

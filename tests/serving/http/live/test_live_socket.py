"""The WebSocket `/v1/stream` of a running server, with the client of the package websockets."""

import asyncio
import base64
import json
import random

import numpy as np
import pytest
import soxr
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.serving.http.conftest import noise
from tests.serving.http.live_server import LiveServer

pytestmark = pytest.mark.medium

KEY = "a key/with+signs"
CHUNKS = {"left_s": 0.8, "chunk_s": 0.4, "right_s": 0.4, "endpoint_s": 0.3}
RATE = 16000


def pcm(seed: int, seconds: float) -> bytes:
    return np.round(noise(seed, seconds) * 32767).astype("<i2").tobytes()


class Talk:
    """One connection: sends, and keeps what comes."""

    def __init__(self, socket):
        self.socket = socket
        self.messages: list[dict] = []

    async def start(self, **settings) -> dict:
        await self.send(type="start", **({"sample_rate": RATE, **CHUNKS} | settings))
        return await self.next()

    async def send(self, content: bytes | None = None, **message) -> None:
        await self.socket.send(json.dumps(message) if content is None else content)

    async def next(self) -> dict:
        message = json.loads(await asyncio.wait_for(self.socket.recv(), 30))
        self.messages.append(message)
        return message

    async def rest(self) -> list[dict]:
        """All that comes until the connection is closed."""
        try:
            while True:
                await self.next()
        except ConnectionClosed:
            return self.messages

    async def end(self) -> list[dict]:
        await self.send(type="end")
        return await self.rest()

    def finals(self) -> list[dict]:
        return [message for message in self.messages if message["type"] == "final"]


def talk(server, work, **options):
    """Runs `work(open)`; `open()` connects another Talk."""

    async def run():
        sockets = []

        async def open_talk(query: str = "", **more) -> Talk:
            address = server.url.replace("http", "ws") + f"/v1/stream{query}"
            sockets.append(await connect(address, proxy=None, max_size=None, **options, **more))
            return Talk(sockets[-1])

        try:
            return await asyncio.wait_for(work(open_talk), 60)
        finally:
            for socket in sockets:
                await socket.close()

    return asyncio.run(run())


def said(messages: list[dict]) -> list[tuple]:
    """The words of the final messages."""
    words = [word for message in messages if message["type"] == "final" for word in message["words"]]
    return [tuple(word.values()) for word in words]


@pytest.fixture(scope="module")
def recording() -> bytes:
    return pcm(5, 3.1)


@pytest.fixture(scope="module")
def expected(http_model, recording):
    """The words of the recording, by `Transcriber.stream`."""
    from jasper_tf import Transcriber

    live = Transcriber(http_model).stream(**CHUNKS)
    updates = [*live.push(np.frombuffer(recording, "<i2")), *live.finish()]
    words = said([update.as_json() for update in updates])
    assert len(words) > 3
    return words


def test_words_come_while_the_audio_does_however_it_is_divided(server, recording, expected):
    rng = random.Random(1)

    async def one(open_talk, sizes):
        live = await open_talk()
        session = await live.start()
        at = 0
        while at < len(recording):
            size = sizes()
            await live.send(recording[at : at + size])
            at += size
        return session, await live.end(), live.socket.close_code

    for sizes in (lambda: len(recording), lambda: 3200, lambda: rng.choice([1, 3, 777, 6401])):
        session, messages, code = talk(server, lambda open_talk, sizes=sizes: one(open_talk, sizes))
        assert session["type"] == "session" and session["delay_s"] == pytest.approx(0.8, abs=0.05)
        assert said(messages) == expected
        assert {message["type"] for message in messages[1:-1]} == {"partial", "final"}
        assert messages[-1]["type"] == "done" and messages[-1]["duration_s"] == pytest.approx(3.1)
        numbers = [message["seq"] for message in messages if message["type"] == "final"]
        assert numbers == list(range(1, len(numbers) + 1))
        assert code == 1000


@pytest.mark.parametrize("more", ["", "&api_key=none", "&hot_words="])
def test_the_settings_may_stand_in_the_address(server, recording, expected, more):
    async def work(open_talk):
        chunks = "&".join(f"{name}={value}" for name, value in CHUNKS.items())
        live = await open_talk(f"?sample_rate={RATE}&{chunks}{more}")
        assert (await live.next())["type"] == "session"
        await live.send(recording)
        return await live.end()

    assert said(talk(server, work)) == expected


def test_another_rate_is_resampled(server, recording, http_model):
    from jasper_tf import Transcriber

    other = soxr.resample(np.frombuffer(recording, "<i2"), RATE, 44100).astype("<i2")
    live = Transcriber(http_model).stream(**CHUNKS, sample_rate=44100)
    wanted = said([update.as_json() for update in [*live.push(other), *live.finish()]])

    async def work(open_talk):
        live = await open_talk()
        await live.start(sample_rate=44100)
        await live.send(other.tobytes())
        return await live.end()

    assert said(talk(server, work)) == wanted


def test_two_streams_at_once_do_not_mix(server):
    recordings = [pcm(seed, 2.5) for seed in (11, 12)]

    async def one(open_talk, content):
        live = await open_talk()
        await live.start()
        for at in range(0, len(content), 3200):
            await live.send(content[at : at + 3200])
            await asyncio.sleep(0)
        return said(await live.end())

    async def both(open_talk):
        return await asyncio.gather(*(one(open_talk, content) for content in recordings))

    together = talk(server, both)
    alone = [talk(server, lambda open_talk, content=content: one(open_talk, content)) for content in recordings]
    assert together == alone and together[0] != together[1]


def test_a_silent_client_stays_connected_and_a_vanished_one_goes_on_where_it_was(server, recording, expected):
    half = 49_999  # in the middle of a sample

    async def work(open_talk):
        first = await open_talk()
        session = await first.start()
        await first.send(recording[:half])
        await first.next()
        await asyncio.sleep(0.5)
        await (await first.socket.ping())  # the connection lives
        seen = first.finals()
        first.socket.transport.abort()  # neither the end nor a farewell
        again = await open_talk()
        resumed = await again.start(session_id=session["session_id"], last_seq=len(seen), sample_rate=None)
        at = resumed["received_samples"]
        assert at <= half // 2
        await again.send(recording[2 * at :])
        messages = seen + await again.end()
        return messages, at

    messages, at = talk(server, work)
    assert at == 49_999 // 2
    assert said(messages) == expected
    numbers = [message["seq"] for message in messages if message["type"] == "final"]
    assert numbers == list(range(1, len(numbers) + 1))


def test_what_a_client_missed_is_sent_again_until_it_is_acknowledged(server, recording, expected):
    async def work(open_talk):
        first = await open_talk()
        session = await first.start()
        await first.send(recording)
        while not first.finals():
            await first.next()
        await first.socket.close()
        again = await open_talk()
        resumed = await again.start(session_id=session["session_id"])
        assert (await again.next())["seq"] == 1
        await again.send(type="ack", seq=1)
        await again.send(recording[2 * resumed["received_samples"] :])
        await again.send(type="end")
        while again.messages[-1]["type"] != "done":
            await again.next()
        return again.messages

    assert said(talk(server, work)) == expected


def test_a_second_connection_takes_the_stream_over(server, recording, expected):
    async def work(open_talk):
        first = await open_talk()
        session = await first.start()
        await first.send(recording[:32_000])
        await first.next()
        second = await open_talk()
        resumed = await second.start(session_id=session["session_id"])
        await second.send(recording[2 * resumed["received_samples"] :])
        return await second.end(), await first.rest(), first.socket.close_code

    messages, of_first, code = talk(server, work)
    assert said(messages) == expected
    assert of_first[-1]["error"]["code"] == "taken_over" and code == 1008


@pytest.mark.parametrize(
    ("first", "code", "param"),
    [
        ("{", 1007, None),
        ("[]", 1007, None),
        (b"\0\0", 1003, None),
        ({"type": "hello"}, 1007, None),
        ({"type": "start"}, 1008, "sample_rate"),
        ({"type": "start", "sample_rate": 16000.5}, 1008, "sample_rate"),
        ({"type": "start", "sample_rate": 5}, 1008, "sample_rate"),
        ({"type": "start", "sample_rate": 16000, "smaple": 1}, 1008, "smaple"),
        ({"type": "start", "sample_rate": 16000, "chunk_s": -1}, 1008, "chunk_s"),
        ({"type": "start", "sample_rate": 16000, "left_s": 1000}, 1008, "left_s"),
        ({"type": "start", "sample_rate": 16000, "right_s": "long"}, 1008, "right_s"),
        ({"type": "start", "sample_rate": 16000, "endpoint_s": -3}, 1008, None),
        ({"type": "start", "sample_rate": 16000, "hot_words": 3}, 1008, "hot_words"),
        ({"type": "start", "sample_rate": 16000, "hot_words": ["日本"]}, 1008, "hot_words"),
        ({"type": "start", "sample_rate": 16000, "decoding": {"beam.ngram_lm_model": "/etc/hosts"}}, 1008, "decoding"),
        ({"type": "start", "sample_rate": 16000, "decoding": {"a": "b" * 3000}}, 1008, "decoding"),
        ({"type": "start", "session_id": "nobody's"}, 1008, "session_id"),
    ],
)
def test_a_wrong_start_is_answered_with_one_sentence(server, first, code, param):
    async def work(open_talk):
        live = await open_talk()
        await live.socket.send(json.dumps(first) if isinstance(first, dict) else first)
        return await live.rest(), live.socket.close_code

    [message], found = talk(server, work)
    assert message["type"] == "error" and message["error"]["param"] == param and found == code
    assert message["error"]["message"] and "\n" not in message["error"]["message"]


def test_garbage_in_the_middle_ends_the_connection_and_not_the_session(server, recording, expected):
    async def work(open_talk):
        first = await open_talk()
        session = await first.start()
        await first.send(recording[:32_000])
        await first.socket.send("}garbage{")
        await first.rest()
        assert first.messages[-1]["type"] == "error" and first.socket.close_code == 1007
        again = await open_talk()
        resumed = await again.start(session_id=session["session_id"])
        await again.send(recording[2 * resumed["received_samples"] :])
        return await again.end()

    assert said(talk(server, work)) == expected


def test_hot_words_and_decoding_options_change_the_text(server, recording, http_model, expected):
    word = next(word[0] for word in expected if len(word[0]) > 2)[:2] + "qq"

    async def work(open_talk):
        live = await open_talk()
        await live.start(hot_words={word: 50}, decoding={"strategy": "beam", "beam": {"beam_size": 4}})
        await live.send(recording)
        return said(await live.end())

    assert talk(server, work) != expected


def test_a_client_that_sends_an_hour_at_once_is_read_no_faster_than_it_is_heard(server):
    block = pcm(3, 4.0) * 8
    sent = 0

    async def work(open_talk):
        nonlocal sent
        live = await open_talk()
        await live.start(chunk_s=1.6)

        async def flood():
            nonlocal sent
            for _ in range(112):
                await live.send(block)
                sent += len(block)

        flooding = asyncio.ensure_future(flood())
        heard = 0.0
        while heard < 20:
            heard = max(heard, (await live.next()).get("heard_s", 0.0))
        ahead = sent / 2 / RATE - heard
        flooding.cancel()
        return ahead

    # Buffers of the two sockets and libraries hold minutes, not the hour.
    assert talk(server, work) < 1200


def test_a_server_with_a_key_and_room_for_two_streams_until_it_is_stopped(model_folder):
    with LiveServer(model_folder, "--max-live-streams", "2", environment={"JASPER_API_KEY": KEY}) as server:
        headers = {"Authorization": f"Bearer {KEY}"}

        async def with_key(open_talk):
            first, second, third = [await open_talk() for _ in range(3)]
            sessions = [(await live.start())["session_id"] for live in (first, second)]
            refused = await third.start()
            assert refused["error"]["code"] == "too_many_streams"
            await third.rest()
            assert third.socket.close_code == 1013
            await first.socket.close()
            await second.socket.close()
            fourth = await open_talk()
            assert (await fourth.start())["type"] == "session"
            lost, kept = [await open_talk() for _ in range(2)]
            answers = [await live.start(session_id=one) for live, one in zip((lost, kept), sessions, strict=True)]
            assert answers[0]["error"]["code"] == "session_not_found" and answers[1]["type"] == "session"

        talk(server, with_key, additional_headers=headers)

        async def by_subprotocol(open_talk):
            encoded = base64.urlsafe_b64encode(KEY.encode()).decode().rstrip("=")
            live = await open_talk(subprotocols=["jasper-tf", f"jasper-tf.key.{encoded}"])
            assert live.socket.subprotocol == "jasper-tf"
            answer = await live.start()
            assert answer.get("error", {}).get("code") != "invalid_api_key"

        talk(server, by_subprotocol)

        async def in_the_address(open_talk):
            live = await open_talk("?api_key=a%20key/with%2Bsigns")
            assert (await live.start()).get("error", {}).get("code") != "invalid_api_key"

        talk(server, in_the_address)

        async def without(open_talk):
            live = await open_talk()
            await live.rest()
            assert live.messages[-1]["error"]["code"] == "invalid_api_key" and live.socket.close_code == 1008

        talk(server, without)

        async def until_it_stops(open_talk):
            live = await open_talk()
            await live.start(session_id=None)
            status = await asyncio.to_thread(server.terminate)
            await live.rest()
            return status, live.socket.close_code

        assert talk(server, until_it_stops, additional_headers=headers) in [(0, 1012), (0, 1013)]
    assert "Traceback" not in server.log


def test_another_path_is_not_found(server):
    async def work():
        async with connect(f"ws://127.0.0.1:{server.port}/v1/streams", proxy=None):
            pass

    with pytest.raises(InvalidStatus) as error:
        asyncio.run(work())
    answer = error.value.response
    assert answer.status_code == 404 and json.loads(answer.body)["error"]["code"] == "unknown_url"


def test_a_page_of_another_site_is_refused(server):
    async def work(open_talk):
        live = await open_talk(origin="https://elsewhere.example")
        await live.rest()
        return live.messages[-1]["error"]["code"]

    assert talk(server, work) == "origin_not_allowed"

"""The inference worker in this process, with a model that can be held, watched and made to fail."""

import asyncio
import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor

import numpy as np
import pytest

from jasper_tf.errors import AudioError, UserError
from jasper_tf.inference.long_audio import Chunking
from jasper_tf.inference.transcriber import Transcriber
from jasper_tf.serving.http.api_error import ApiError
from jasper_tf.serving.http.inference_worker import InferenceWorker
from jasper_tf.serving.http.recognition import RecognitionOptions
from jasper_tf.serving.http.server_metrics import ServerMetrics
from jasper_tf.serving.http.server_settings import ServerSettings
from tests.serving.http.conftest import as_wav, noise

PLAIN = RecognitionOptions()
CHUNKING = Chunking(4, 1)


class WatchedModel:
    """A recognizer that notes its batches, waits where it is told to, and fails where it is told to."""

    def __init__(self, model):
        self._model = model
        self.batches: list[tuple[list[int], object, object]] = []
        self.go = threading.Event()
        self.go.set()
        self.fail = lambda lengths: None

    def __getattr__(self, name):
        return getattr(self._model, name)

    def recognize_batch(self, audio, audio_len, words, decoder, hot_words):
        lengths = sorted(audio_len.tolist())
        self.batches.append((lengths, decoder, hot_words))
        assert self.go.wait(60)
        self.fail(lengths)
        return self._model.recognize_batch(audio, audio_len, words, decoder, hot_words)


@pytest.fixture
def start(http_model):
    """`start(queue=..., ...)`: a worker that is ready, its model and its metrics."""
    workers = []

    def start(**settings):
        model, metrics, ready = WatchedModel(http_model), ServerMetrics(), threading.Event()

        def load():
            return Transcriber(model, CHUNKING), http_model.decoding_config

        worker = InferenceWorker(load, ServerSettings(**settings), metrics, ready.set)
        worker.start()
        workers.append((worker, model))
        assert ready.wait(60)
        model.batches.clear()
        return worker, model, metrics

    yield start
    for worker, model in workers:
        model.go.set()
        worker.stop()


@pytest.fixture(scope="module")
def paths(recordings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("worker")
    for name, content in recordings.items():
        (folder / name).write_bytes(content)
    return {name: str(folder / name) for name in recordings}


@pytest.fixture(scope="module")
def long_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("long") / "long.wav"
    path.write_bytes(as_wav(noise(70, 60.0)))
    return str(path)


def wait_for(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def keep_busy(worker, model, path):
    """Lets the model begin a recording and wait for `model.go`: what is accepted meanwhile may share batches."""
    model.batches.clear()
    model.go.clear()
    worker.submit(path, PLAIN)
    wait_for(lambda: model.batches)
    model.batches.clear()


@pytest.mark.parametrize("parallel_batches", [1, 3])
def test_each_gets_its_own_whatever_it_is_batched_with(start, paths, expected, parallel_batches):
    worker, model, _ = start(queue=500, batch_size=8, parallel_batches=parallel_batches)
    rng = np.random.default_rng(1)
    names = list(rng.choice(list(paths), 150))
    decoder = worker.decoders.get(["decoding.strategy=beam", "decoding.beam.beam_size=4"], False)
    hot = RecognitionOptions(decoder, {"zebra": 4.0})
    want = Transcriber(model, CHUNKING, {"strategy": "beam", "beam": {"beam_size": 4}}).transcribe(
        paths["0.wav"], hot_words={"zebra": 4.0}
    )
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda name: worker.submit(paths[name], PLAIN), names))
        beams = [worker.submit(paths["0.wav"], hot) for _ in range(5)]
        assert [one.future.result(60).text for one in found] == [expected[name].text for name in names]
        assert {one.future.result(60).text for one in beams} == {want.text}
    assert max(len(lengths) for lengths, _, _ in model.batches) > 1
    assert all(max(lengths) <= max(2 * min(lengths), 16000) for lengths, _, _ in model.batches)


def test_the_same_words_and_times_as_the_transcriber(start, long_path, http_model):
    worker, _, _ = start()
    found = worker.submit(long_path, PLAIN).future.result(60)
    want = Transcriber(http_model, CHUNKING).transcribe(long_path)
    assert found.text == want.text and found.duration_s == want.duration_s
    times = [[(word.text, word.start_s) for word in one.words] for one in (found, want)]
    assert times[0] == times[1]


@pytest.mark.parametrize("failure", [MemoryError("no room"), UserError("/srv/model: the SavedModel failed")])
def test_one_that_fails_fails_alone(start, paths, expected, failure):
    worker, model, _ = start(batch_wait_ms=300)

    def fail(lengths):
        if round(1.7 * 16000) in lengths:
            raise failure

    model.fail = fail
    keep_busy(worker, model, paths["0.wav"])
    found = {name: worker.submit(paths[name], PLAIN) for name in ("1.wav", "2.wav", "3.wav")}
    model.go.set()
    with pytest.raises(ApiError) as error:
        found.pop("2.wav").future.result(60)
    assert any(len(lengths) > 1 and round(1.7 * 16000) in lengths for lengths, _, _ in model.batches)
    assert error.value.status == 500 and type(failure).__name__ in str(error.value)
    assert str(failure) not in str(error.value)  # it may name files of the server
    for name, one in found.items():
        assert one.future.result(60).text == expected[name].text
    assert worker.submit(paths["2.wav"], PLAIN).future.exception(60) is not None
    assert worker.submit(paths["4.wav"], PLAIN).future.result(60).text == expected["4.wav"].text


def test_outputs_that_are_not_those_of_a_recognizer(start, paths):
    worker, model, _ = start()
    model.recognize_batch = lambda *batch: {}
    found = [worker.submit(paths[name], PLAIN) for name in ("0.wav", "1.wav")]
    assert [one.future.exception(60).status for one in found] == [500, 500]


def test_too_little_memory_for_a_batch(start, paths, expected):
    worker, model, _ = start(batch_wait_ms=300)

    def fail(lengths):
        if len(lengths) > 1:
            raise MemoryError("no room")

    model.fail = fail
    keep_busy(worker, model, paths["0.wav"])
    found = {name: worker.submit(paths[name], PLAIN) for name in ("1.wav", "2.wav", "6.wav")}
    model.go.set()
    assert {name: one.future.result(60).text for name, one in found.items()} == {
        name: expected[name].text for name in found
    }


def test_a_recording_that_cannot_be_read(start, tmp_path, paths, expected):
    worker, _, _ = start()
    (tmp_path / "a.wav").write_text("no sound")
    found = worker.submit(str(tmp_path / "a.wav"), PLAIN), worker.submit(paths["0.wav"], PLAIN)
    assert isinstance(found[0].future.exception(60), AudioError)
    assert found[1].future.result(60).text == expected["0.wav"].text


def test_a_short_one_does_not_wait_for_a_long_one(start, paths, long_path):
    worker, model, _ = start(batch_size=4)
    model.go.clear()
    long = worker.submit(long_path, PLAIN)  # 20 pieces
    wait_for(lambda: model.batches)
    short = worker.submit(paths["0.wav"], PLAIN)
    model.go.set()
    short.future.result(60)
    of_long = sum(len(lengths) for lengths, _, _ in model.batches if 9600 not in lengths)
    assert of_long <= 8 and not long.future.done()
    long.future.result(60)


def test_what_is_canceled_is_not_recognized(start, paths):
    worker, model, metrics = start()
    model.go.clear()
    first = worker.submit(paths["0.wav"], PLAIN)
    wait_for(lambda: model.batches)
    second = worker.submit(paths["3.wav"], PLAIN)
    wait_for(lambda: "jasper_audio_held_seconds 2.9" in metrics.text().decode())
    second.cancel()
    model.go.set()
    first.future.result(60)
    with pytest.raises(CancelledError):
        second.future.result(60)
    wait_for(lambda: "jasper_audio_held_seconds 0.0" in metrics.text().decode())
    assert len(model.batches) == 1
    assert "jasper_canceled_total 1.0" in metrics.text().decode()


def test_the_queue_is_bounded(start, paths):
    worker, model, metrics = start(queue=2)
    model.go.clear()
    accepted = [worker.submit(paths["0.wav"], PLAIN) for _ in range(2)]
    with pytest.raises(ApiError) as error:
        worker.submit(paths["1.wav"], PLAIN)
    assert error.value.status == 429 and error.value.headers["Retry-After"]
    accepted.pop().cancel()
    accepted.append(worker.submit(paths["1.wav"], PLAIN))  # there is room again
    model.go.set()
    assert all(one.future.result(60) for one in accepted)
    assert 'jasper_rejected_total{reason="queue_full"} 1.0' in metrics.text().decode()


def test_audio_in_memory_is_bounded(start, paths, long_path):
    """Of 40 recordings of 4 s and one of 60 s, three batches of 8 s are decoded, and one piece more."""
    worker, model, metrics = start(batch_s=8)
    model.go.clear()
    found = [worker.submit(paths["5.wav"], PLAIN) for _ in range(40)] + [worker.submit(long_path, PLAIN)]

    def held():
        return float(metrics.text().decode().partition("\njasper_audio_held_seconds ")[2].split("\n")[0])

    wait_for(lambda: held() >= 24)
    time.sleep(0.2)
    assert held() <= 28
    model.go.set()
    assert all(one.future.result(60) for one in found)
    wait_for(lambda: held() == 0)


def test_options_are_not_mixed(start, paths):
    worker, model, _ = start(batch_wait_ms=300)
    beam = worker.decoders.get(["decoding.strategy=beam", "decoding.beam.beam_size=4"], False)
    options = [PLAIN, *(RecognitionOptions(beam, hot_words) for hot_words in (None, {"a": 1.0}, {"b": 1.0}))]
    keep_busy(worker, model, paths["1.wav"])
    found = [worker.submit(paths["0.wav"], one) for one in options for _ in range(2)]
    model.go.set()
    assert all(one.future.result(60) for one in found)
    given = [(len(lengths), decoder, hot_words) for lengths, decoder, hot_words in model.batches]
    assert sorted(size for size, _, _ in given) == [2, 2, 2, 2]
    assert {(id(decoder), str(hot_words)) for _, decoder, hot_words in given} == {
        (id(one.decoder), str(one.hot_words)) for one in options
    }


def test_batches_side_by_side(start, paths, expected):
    worker, model, _ = start(parallel_batches=2, batch_size=1)
    model.go.clear()
    found = {name: worker.submit(paths[name], PLAIN) for name in ("0.wav", "1.wav", "2.wav")}
    wait_for(lambda: len(model.batches) == 2)
    time.sleep(0.05)
    assert len(model.batches) == 2
    model.go.set()
    assert all(one.future.result(60).text == expected[name].text for name, one in found.items())


def test_alone_it_does_not_wait(start, paths):
    worker, _, _ = start(batch_wait_ms=10_000)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: worker.submit(paths["0.wav"], PLAIN).future.result(60)).result(5)


def test_words_for_those_who_want_them(start, paths, expected):
    worker, model, _ = start(batch_wait_ms=300)
    text_only = RecognitionOptions(words=False)
    alone = worker.submit(paths["1.wav"], text_only).future.result(60)
    assert (alone.text, alone.words) == (expected["1.wav"].text, None)
    keep_busy(worker, model, paths["0.wav"])
    both = [worker.submit(paths["1.wav"], one) for one in (text_only, PLAIN)]
    model.go.set()
    assert [one.future.result(60).text for one in both] == [expected["1.wav"].text] * 2
    assert both[1].future.result().words is not None and len(model.batches) == 1


def test_calls_of_others(start, paths):
    worker, model, _ = start()

    async def call():
        names = await asyncio.gather(*(worker.run(lambda k=k: (k, threading.current_thread().name)) for k in range(3)))
        with pytest.raises(ZeroDivisionError):
            await worker.run(lambda: 1 // 0)
        return names

    assert asyncio.run(call()) == [(k, "inference") for k in range(3)]
    model.go.clear()
    blocked = worker.submit(paths["0.wav"], PLAIN)
    wait_for(lambda: model.batches)
    later = [worker.submit(paths["1.wav"], PLAIN) for _ in range(2)]

    async def between():
        asked = asyncio.ensure_future(worker.run(lambda: len(model.batches)))
        await asyncio.sleep(0.05)
        model.go.set()
        return await asked

    assert asyncio.run(between()) == 1  # before the recordings that wait
    assert all(one.future.result(60) for one in [blocked, *later])


def test_stopping_finishes_what_was_accepted(start, paths, expected):
    worker, _, _ = start(batch_wait_ms=10_000)
    found = {name: worker.submit(path, PLAIN) for name, path in paths.items()}
    worker.stop()
    assert {name: one.future.result(0).text for name, one in found.items()} == {
        name: expected[name].text for name in found
    }
    with pytest.raises(ApiError) as error:
        worker.submit(paths["0.wav"], PLAIN)
    assert error.value.status == 503 and not worker.is_ready


def test_a_thread_that_ends_leaves_nobody_waiting(start, paths):
    worker, model, _ = start()

    def fail(lengths):
        raise SystemExit(3)

    model.fail = fail
    found = [worker.submit(paths[name], PLAIN) for name in ("0.wav", "3.wav")]
    assert all(isinstance(one.future.exception(60), ApiError) for one in found)
    assert isinstance(worker.failure, SystemExit)


@pytest.mark.medium
def test_an_exported_model(http_model, paths, expected, tmp_path):
    from jasper_tf.export.saved_model.writer import export
    from jasper_tf.inference.load_model import load_recognizer

    export(http_model, tmp_path / "exported")
    ready = threading.Event()

    def load():
        model = load_recognizer(tmp_path / "exported")
        return Transcriber(model, CHUNKING), model.decoding_config

    worker = InferenceWorker(load, ServerSettings(), ServerMetrics(), ready.set)
    worker.start()
    assert ready.wait(60)
    decoder = worker.decoders.get(["decoding.beam.n_best=2"], True)
    worker.decoders.validate_hot_words(["zebra"], decoder)
    plain = worker.submit(paths["0.wav"], PLAIN)
    beam = worker.submit(paths["0.wav"], RecognitionOptions(decoder, ["zebra"]))
    assert plain.future.result(60).text == expected["0.wav"].text
    assert len(beam.future.result(60).n_best) == 2
    worker.stop()

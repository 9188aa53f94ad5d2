"""A model that can stream says live what it says of the whole recording."""

import numpy as np
import pytest

from jasper_tf import Transcriber
from jasper_tf.errors import UserError
from jasper_tf.inference.streaming.buffered_log_probs import BufferedLogProbs
from jasper_tf.inference.streaming.start_stream import start_log_probs
from jasper_tf.inference.streaming.stateful_log_probs import StatefulLogProbs
from jasper_tf.model.jasper_ctc import JasperCTC

pytestmark = pytest.mark.medium


@pytest.fixture(scope="module")
def audio():
    rng = np.random.default_rng(2)
    loud = np.repeat(rng.uniform(0.01, 0.3, 12), 2600)
    return (rng.normal(size=31_111) * loud[:31_111]).astype(np.float32)


@pytest.mark.parametrize("parts", [1, 7, 400])
def test_the_frames_are_those_of_the_whole(streaming_model, audio, parts):
    log_probs, frames = streaming_model.log_probs(audio[None], np.array([len(audio)], np.int32))
    stream = StatefulLogProbs(streaming_model)
    found = [stream.push(part) for part in np.array_split(audio, parts)]
    assert not any(len(provisional) for _, provisional in found)
    joined = np.concatenate([*(final for final, _ in found), stream.finish()])
    np.testing.assert_allclose(joined, log_probs[0, : frames[0]], atol=1e-5)


def test_steps_and_delay(streaming_model):
    stream = StatefulLogProbs(streaming_model, chunk_s=0.08)
    step = stream.samples_to_next
    assert step == 1280 and stream.delay_s == pytest.approx(0.04 + streaming_model.streaming.lookahead_s)
    assert not len(stream.push(np.zeros(step - 1, np.float32))[0]) and stream.samples_to_next == 1
    stream.push(np.zeros(1, np.float32))
    assert stream.samples_to_next == step
    assert StatefulLogProbs(streaming_model, chunk_s=1.6).samples_to_next == 5120
    assert not len(StatefulLogProbs(streaming_model).finish())


@pytest.mark.parametrize("window", [(1.0, float("nan"), 1.0), (1.0, -1.0, 1.0), (float("inf"), 1.0, 1.0)])
def test_impossible_windows_are_refused_though_none_is_needed(streaming_model, window):
    with pytest.raises(UserError, match="_s"):
        Transcriber(streaming_model).stream(*window)


def test_live_text_is_offline_text(streaming_model, audio):
    transcriber = Transcriber(streaming_model)
    live = transcriber.stream(endpoint_s=0)
    updates = [update for part in np.array_split(audio, 50) for update in live.push(part)] + live.finish()
    words = [word.text for update in updates if update.kind == "final" for word in update.words]
    offline = transcriber.transcribe(audio)
    assert live.delay_s < 1 and words == [word.text for word in offline.words] and words


def test_who_streams_exactly(streaming_model, untrained_model):
    """Not a model that normalizes by the whole recording, and not one that looks many seconds ahead."""
    config = streaming_model.get_config()
    block = {"filters": 8, "repeat": 1, "kernel": 459, "stride": 2, "residual": False}
    config["encoder"] = {**config["encoder"], "jasper": [block]}
    far = JasperCTC.from_config(config)
    assert far.streaming.lookahead_s > 2
    for model, kind in (
        (streaming_model, StatefulLogProbs),
        (far, BufferedLogProbs),
        (untrained_model(list("ab ")), BufferedLogProbs),
    ):
        assert type(start_log_probs(model, 4.8, 1.6, 1.6)) is kind

"""A microphone that stays open: what is kept does not grow. Two hours were the same as half an hour."""

import gc
import tracemalloc

import numpy as np
import pytest

from jasper_tf.inference.transcriber import Transcriber

RATE = 16_000
MINUTES = 10


def speech(rng):
    """A minute of noise in bursts, with pauses between."""
    seconds = np.repeat(rng.uniform(0.02, 0.3, 60) * (rng.random(60) < 0.7), RATE)
    return (rng.normal(size=60 * RATE) * (seconds + 1e-3)).astype(np.float32)


def silence(rng):
    """A minute of the hiss of a quiet room."""
    return rng.normal(scale=1e-3, size=60 * RATE).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize(("minute", "hours"), [(speech, 1.0), (silence, 0.5)], ids=["speech", "silence"])
def test_memory_does_not_grow(untrained_model, minute, hours):
    model = untrained_model(list(" abcdefghijklmnopqrstuvwxyz'"))
    live, rng = Transcriber(model).stream(4.8, 6.4, 1.6), np.random.default_rng(0)
    live.push(minute(rng))
    held, finals = [], 0
    tracemalloc.start()
    for _ in range(round(hours * 60 / MINUTES)):
        for _ in range(MINUTES):
            finals += sum(update.kind == "final" for update in live.push(minute(rng)))
        gc.collect()
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    # 10 minutes of features are 4 MB, of log-probabilities 3 MB, of words 100 kB.
    assert held[-1] < held[0] + 50_000 and max(held) < min(held) + 3_000_000
    assert live._decoder.open_s <= 45 and live.heard_s == 60 + 3600 * hours
    assert finals > 100 or minute is silence

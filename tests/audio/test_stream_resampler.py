import numpy as np
import pytest
import soxr

from jasper_tf.audio.stream_resampler import StreamResampler
from jasper_tf.errors import UserError

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
def test_parts_of_any_size_give_what_the_whole_gives(rate):
    audio = RNG.normal(scale=0.1, size=rate).astype(np.float32)
    whole = soxr.resample(audio, rate, 16000, quality="HQ") if rate != 16000 else audio
    for edges in ([], [0, 1, 2, 500, 501, rate // 2], range(160, rate, 160)):
        resampler = StreamResampler(rate, 16000)
        parts = [resampler.push(part) for part in np.split(audio, edges)]
        found = np.concatenate([*parts, resampler.finish()])
        assert abs(len(found) - len(whole)) <= 1 and found.dtype == np.float32
        size = min(len(found), len(whole))
        np.testing.assert_allclose(found[:size], whole[:size], atol=1e-6)


@pytest.mark.parametrize("rate", [0, -1, 7, 10**6])
def test_impossible_rates(rate):
    with pytest.raises(UserError, match="sample_rate"):
        StreamResampler(rate, 16000)

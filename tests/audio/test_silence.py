import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jasper_tf.audio.silence import trim_silence


def librosa_trim(audio, top_db=60.0, frame=2048, hop=512):
    """librosa.effects.trim as documented: RMS of centered, zero-padded frames in decibels below the loudest one."""
    padded = np.pad(audio.astype(np.float64), frame // 2)
    rms = [np.sqrt(np.mean(padded[k : k + frame] ** 2)) for k in range(0, len(padded) - frame + 1, hop)]

    def decibels(amplitude):  # librosa.amplitude_to_db: amin=1e-5, top_db=None
        return 10 * np.log10(np.maximum(1e-5**2, np.square(amplitude)))

    loud = np.flatnonzero(decibels(rms) - decibels(np.max(rms)) > -top_db)
    return int(loud[0]) * hop, min(len(audio), (int(loud[-1]) + 1) * hop)


def burst(before, sound, after, level=0.3, floor=0.0, seed=0):
    generator = np.random.default_rng(seed)
    audio = floor * generator.standard_normal(before + sound + after)
    audio[before : before + sound] += level * generator.standard_normal(sound)
    return audio.astype(np.float32)


@settings(deadline=None, max_examples=150)
@given(
    st.integers(0, 9000),
    st.integers(1, 9000),
    st.integers(0, 9000),
    st.sampled_from([1.0, 0.1, 0.02, 0.005]),
    st.sampled_from([0.0, 1e-6, 1e-5, 1e-4, 1e-3]),
    st.integers(0, 99),
)
def test_against_librosas_definition_in_float64(before, sound, after, level, floor, seed):
    audio = burst(before, sound, after, level, floor, seed)
    start, end = librosa_trim(audio)
    trimmed = trim_silence(audio)
    assert trimmed.dtype == np.float32
    np.testing.assert_array_equal(trimmed, audio[start:end])
    assert 0 < len(trimmed) <= len(audio)


def test_by_hand():
    # Sound in [10240, 20480). The first frame that reaches into it is centered at 9728, the last one at 20992.
    audio = np.zeros(40_960, np.float32)
    audio[10_240:20_480] = 0.5
    trimmed = trim_silence(audio)
    np.testing.assert_array_equal(trimmed, audio[9728:21_504])


@pytest.mark.parametrize(("quiet_db", "trimmed_off"), [(-59.0, False), (-61.0, True)])
def test_threshold_is_60_db_below_the_loudest_frame(quiet_db, trimmed_off):
    # A square wave: RMS and level are the same.
    wave = np.where(np.arange(30_720) % 2, 0.5, -0.5).astype(np.float32)
    wave[15_360:] *= 10 ** (quiet_db / 20)
    assert (len(trim_silence(wave)) < len(wave) - 10_000) == trimmed_off


@pytest.mark.parametrize("samples", [1, 511, 512, 513, 2048, 30_000])
def test_silence_is_left_whole(samples):
    assert len(trim_silence(np.zeros(samples, np.float32))) == samples
    faint = burst(0, samples, 0, level=1e-4)
    np.testing.assert_array_equal(trim_silence(np.pad(faint, 5000)), np.pad(faint, 5000))


def test_silence_inside_stays():
    audio = np.concatenate([burst(5000, 4000, 20_000), burst(0, 4000, 5000, seed=1)])
    trimmed = trim_silence(audio)
    assert 28_000 < len(trimmed) < 28_000 + 4 * 2048

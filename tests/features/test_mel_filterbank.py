import numpy as np
import pytest

from jasper_tf.errors import UserError
from jasper_tf.features.mel_filterbank import hz_to_mel, mel_filterbank, mel_to_hz


def test_matches_every_reference_filterbank(golden):
    for name, config in golden.configs.items():
        n_fft = config["n_fft"] or 512
        weights = mel_filterbank(
            16000,
            n_fft,
            config["features"],
            config.get("lowfreq", 0),
            config.get("highfreq"),
            config.get("mel_norm", "slaney"),
        )
        np.testing.assert_allclose(weights.T, golden[f"modern/{name}/fb"], atol=5e-9, err_msg=name)


def test_scale_is_linear_then_logarithmic_and_inverts():
    assert hz_to_mel(1000.0) == pytest.approx(15.0)
    assert hz_to_mel(6400.0) == pytest.approx(42.0)
    hz = np.linspace(0, 8000, 101)
    np.testing.assert_allclose(mel_to_hz(hz_to_mel(hz)), hz, atol=1e-9)


def test_slaney_triangles_have_equal_area():
    weights = mel_filterbank(16000, 2**16, 40)
    np.testing.assert_allclose(weights.sum(0) * 16000 / 2**16, 1.0, atol=1e-3)


@pytest.mark.parametrize("arguments", [{"lowfreq_hz": 9000.0}, {"highfreq_hz": 8001.0}, {"mel_norm": "htk"}])
def test_impossible_arguments(arguments):
    with pytest.raises(UserError, match="preprocessor"):
        mel_filterbank(16000, 512, 64, **arguments)

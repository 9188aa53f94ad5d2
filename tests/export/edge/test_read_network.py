"""The exporters' description of a model computes what the model does."""

import numpy as np
import pytest

from jasper_tf.errors import UserError
from jasper_tf.export.edge.read_network import read_network
from tests.export.edge import float64_network
from tests.export.edge.models import ENCODERS, FRONT_ENDS, small_model, some_audio

CASES = [(front_end, "plain") for front_end in FRONT_ENDS] + [("usual", encoder) for encoder in ENCODERS]
CASES += [("pad_value", "no_mask"), ("reflected", "excitation")]


@pytest.mark.parametrize(("front_end", "encoder"), CASES)
def test_the_description_computes_what_the_model_does(front_end, encoder):
    model = small_model(front_end, encoder)
    audio, audio_len = some_audio()
    expected, expected_len = model.log_probs(audio, audio_len)
    found, found_len = float64_network.log_probs(read_network(model), audio, audio_len)
    np.testing.assert_array_equal(found_len, expected_len)
    for one, other, frames in zip(found, expected, expected_len, strict=True):
        np.testing.assert_allclose(one[:frames], other[:frames], atol=3e-5)


def test_weights_that_are_not_finite_are_refused():
    model = small_model()
    model.variables[3].assign(np.full(model.variables[3].shape, np.nan))
    with pytest.raises(UserError, match="NaN"):
        read_network(model)

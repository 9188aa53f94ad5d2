"""What Keras does not publish is where this package expects it; fails when a version of Keras moves it."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest

from jasper_tf.model.keras_internals import schedule_of

PACKAGE = Path(__file__).parents[2] / "jasper_tf"


class CalledError(Exception):
    pass


class Model(keras.Model):
    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        raise CalledError


@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_keras_asks_the_model_to_build_itself(method):
    inputs = keras.Input((2,))
    model = Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    with pytest.raises(CalledError):
        getattr(model, method)(np.zeros((4, 2)), np.zeros((4, 1)), verbose=0)


@pytest.mark.parametrize("wrap", [lambda optimizer: optimizer, keras.optimizers.LossScaleOptimizer])
def test_the_schedule_of_an_optimizer(wrap):
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    assert schedule_of(wrap(keras.optimizers.SGD(schedule))) is schedule
    assert schedule_of(wrap(keras.optimizers.SGD(0.1))) is None


def test_one_file_each_touches_private_names():
    private = {
        "model/keras_internals.py": r"\._learning_rate|_maybe_symbolic_build|_inbound_nodes|_flatten_layers|keras\.src"
        r"|_should_save_model|_train_writer|_train_dir",
        "tuning/keras_tuner_internals.py": r"keras_tuner\.src",
    }
    for owner, names in private.items():
        files = [file for file in PACKAGE.rglob("*.py") if re.search(names, file.read_text())]
        assert [file.relative_to(PACKAGE).as_posix() for file in files] == [owner]

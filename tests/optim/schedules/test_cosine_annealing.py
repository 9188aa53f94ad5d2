import json
import math
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from jasper_tf.errors import UserError
from jasper_tf.optim.schedules.cosine_annealing import CosineAnnealing

RUNS = json.loads((Path(__file__).parents[2] / "golden" / "cosine.json").read_text())["runs"]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("run", RUNS)
def test_golden(run, compiled):
    schedule = CosineAnnealing(RUNS[run]["base_lr"], **RUNS[run]["kwargs"])
    call = tf.function(schedule) if compiled else schedule
    rates = [float(call(tf.constant(step, tf.int64))) for step in range(len(RUNS[run]["lr"]))]
    np.testing.assert_allclose(rates, RUNS[run]["lr"], rtol=6e-8, atol=1e-12)


def test_a_million_steps_are_told_apart():
    schedule = CosineAnnealing(0.01, max_steps=1_000_000, warmup_steps=1000)
    steps = np.array([0, 999, 1000, 1001, 500_500, 500_501, 999_998, 999_999, 1_000_000, 2_000_000])
    share = np.clip((steps - 1000) / 999_000, 0, 1)
    expected = np.where(steps <= 1000, 0.01 * (steps + 1) / 1001, 0.01 * np.sin(0.5 * math.pi * (1 - share)) ** 2)
    rates = [float(schedule(tf.constant(step))) for step in steps]
    np.testing.assert_allclose(rates, expected, rtol=1e-7, atol=1e-17)  # Keras adds 1 to a cosine near -1
    assert rates[6] > rates[7] > rates[8] == 0


def test_is_a_cosine_decay_of_keras():
    schedule = CosineAnnealing(0.02, 40, warmup_steps=4, min_lr=1e-4)
    assert isinstance(schedule, keras.optimizers.schedules.CosineDecay)
    plain = keras.optimizers.schedules.CosineDecay(0.02 / 5, 36, alpha=1e-4 / 0.02, warmup_target=0.02, warmup_steps=4)
    np.testing.assert_allclose([schedule(step) for step in range(45)], [plain(step) for step in range(45)], rtol=1e-5)


def test_drives_an_optimizer_and_survives_its_config():
    schedule = CosineAnnealing(0.02, 40, warmup_ratio=0.1, constant_ratio=0.2, min_lr=1e-4)
    optimizer = keras.optimizers.deserialize(keras.optimizers.serialize(keras.optimizers.SGD(schedule)))
    weight = keras.Variable(1.0)
    optimizer.build([weight])
    for step in range(5):
        assert float(optimizer.learning_rate) == float(schedule(step))
        optimizer.apply([tf.constant(0.0)])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"max_steps": 0}, "max_steps is 0"),
        ({"max_steps": None}, "max_steps is None"),
        ({"max_steps": 24, "warmup_steps": 500}, r"no step to anneal .*; set model\.optim\.sched\.warmup_steps=2, or"),
        (
            {"max_steps": 24, "warmup_ratio": 1.0},
            r"to anneal .*; set model\.optim\.sched\.warmup_ratio=0\.1, or",
        ),
        ({"max_steps": 10, "warmup_steps": 3, "constant_steps": 7}, "warmup_steps=1 with a shorter hold, or"),
        ({"max_steps": 10, "warmup_steps": 1, "warmup_ratio": 0.1}, "warmup_steps and warmup_ratio"),
        ({"max_steps": 10, "constant_steps": 1, "constant_ratio": 0.1}, "constant_steps and constant_ratio"),
        ({"max_steps": 10, "warmup_steps": -1}, "must not be negative"),
        ({"max_steps": 10, "min_lr": 0.1}, "min_lr 0.1 is above"),
    ],
)
def test_mistakes(arguments, message):
    with pytest.raises(UserError, match=message):
        CosineAnnealing(0.01, **arguments)

"""NeMo's schedules, against its formulas in float64."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from jasper_tf.errors import UserError
from jasper_tf.optim.schedules import annealing
from jasper_tf.optim.schedules.warmup_policy import WarmupHoldPolicy, WarmupPolicy

LR = 0.02


def steps_of(steps, ratio, max_steps):
    return int(ratio * max_steps) if ratio is not None else steps


def polynomial(s, decay_steps, min_lr, power, cycle):
    if cycle:
        decay_steps *= 1.0 if s == 0 else math.ceil(s / decay_steps)
    else:
        s = min(s, decay_steps)
    return (LR - min_lr) * (1 - s / decay_steps) ** power + min_lr


def nemo(
    name,
    s,
    max_steps=None,
    warmup_steps=None,
    warmup_ratio=None,
    hold_steps=None,
    hold_ratio=None,
    min_lr=None,
    power=1.0,
    cycle=False,
    d_model=None,
    decay_rate=0.5,
):
    """The rate of step s as nemo/core/optim/lr_scheduler.py computes it."""
    if min_lr is None:
        min_lr = 1e-5 if name == "SquareAnnealing" else 0.0
    w = steps_of(warmup_steps, warmup_ratio, max_steps) or 0
    hold = steps_of(hold_steps, hold_ratio, max_steps)
    h = 0 if hold is None else hold + w
    if name == "NoamAnnealing":
        t = max(1, s)
        rate = LR * d_model**-0.5 * (min(t**-0.5, t * w**-1.5) if w else t**-0.5)
        return max(rate, min_lr) if t > w else rate
    if w and s <= w:
        return LR * (s + 1) / (w + 1)
    if w <= s < h:
        return LR
    if max_steps is not None and s > max_steps:
        return min_lr
    if name in ("WarmupPolicy", "WarmupHoldPolicy"):
        return LR
    if name == "WarmupAnnealing":
        return min_lr + (1 - (s - w) / (max_steps - w)) * (LR - min_lr)
    if name == "SquareAnnealing":
        m = max_steps - w
        return max(LR * ((m - (s - w)) / m) ** 2, min_lr)
    if name == "SquareRootAnnealing":
        return max(LR * ((max_steps - s) / max_steps) ** 0.5, min_lr)
    if name == "InverseSquareRootAnnealing":
        return LR / ((s + 1) / (w + 1)) ** 0.5
    if name == "PolynomialDecayAnnealing":
        return polynomial(s - w, max_steps - w, min_lr, power, cycle)
    if name == "PolynomialHoldDecayAnnealing":
        return polynomial(s - h, max_steps - max(w, h), min_lr, power, cycle)
    assert name == "NoamHoldAnnealing"
    return max(LR * max(1, w**decay_rate) / max(1, (s - (h - w if h else 0)) ** decay_rate), min_lr)


CASES = [
    ("WarmupPolicy", {}),
    ("WarmupPolicy", {"max_steps": 40, "warmup_steps": 7, "min_lr": 1e-4}),
    ("WarmupHoldPolicy", {"max_steps": 40, "warmup_ratio": 0.1, "hold_ratio": 0.25, "min_lr": 1e-4}),
    ("WarmupHoldPolicy", {"max_steps": 40, "hold_steps": 50, "min_lr": 1e-4}),
    ("WarmupAnnealing", {"max_steps": 40, "min_lr": 1e-4}),
    ("WarmupAnnealing", {"max_steps": 37, "warmup_ratio": 0.05}),
    ("SquareAnnealing", {"max_steps": 40, "warmup_steps": 7}),
    ("SquareAnnealing", {"max_steps": 40, "min_lr": 1e-3}),
    ("SquareRootAnnealing", {"max_steps": 40, "warmup_steps": 7, "min_lr": 1e-3}),
    ("InverseSquareRootAnnealing", {"max_steps": 40, "warmup_steps": 7, "min_lr": 1e-4}),
    ("InverseSquareRootAnnealing", {"max_steps": 40}),
    ("PolynomialDecayAnnealing", {"max_steps": 40, "warmup_steps": 7, "power": 2.5, "min_lr": 1e-4}),
    ("PolynomialDecayAnnealing", {"max_steps": 40, "power": 0.5, "cycle": True, "min_lr": 1e-4}),
    ("PolynomialHoldDecayAnnealing", {"max_steps": 40, "warmup_steps": 7, "hold_steps": 5, "min_lr": 1e-4}),
    ("PolynomialHoldDecayAnnealing", {"max_steps": 40, "warmup_steps": 7, "power": 2.0}),
    ("PolynomialHoldDecayAnnealing", {"max_steps": 40, "warmup_steps": 7, "hold_steps": 0, "cycle": True}),
    ("NoamAnnealing", {"d_model": 64, "warmup_steps": 7, "max_steps": 20}),
    ("NoamAnnealing", {"d_model": 256, "min_lr": 5e-4}),
    ("NoamAnnealing", {"d_model": 256, "warmup_ratio": 0.5, "max_steps": 40, "min_lr": 5e-4}),
    ("NoamHoldAnnealing", {"max_steps": 40, "warmup_steps": 7, "hold_steps": 5, "decay_rate": 1.0, "min_lr": 6e-3}),
    ("NoamHoldAnnealing", {"max_steps": 40, "warmup_ratio": 0.1, "hold_ratio": 0.3}),
    ("NoamHoldAnnealing", {"max_steps": 40, "warmup_steps": 7}),
]


def build(name, arguments):
    kinds = {"WarmupPolicy": WarmupPolicy, "WarmupHoldPolicy": WarmupHoldPolicy}
    return (kinds.get(name) or getattr(annealing, name))(LR, **arguments)


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_nemo_formula(name, arguments):
    schedule = build(name, arguments)
    steps = range(55)
    expected = [nemo(name, s, **arguments) for s in steps]
    # In a graph, as in training, and again from its config.
    copy = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    assert copy.get_config() == schedule.get_config()
    rates = tf.function(lambda s: tf.stack([schedule(s), copy(s)]))
    got = np.array([rates(tf.constant(s, tf.int64)) for s in steps])
    np.testing.assert_allclose(got[:, 0], expected, rtol=1e-7, atol=1e-12)
    np.testing.assert_array_equal(got[:, 1], got[:, 0])
    assert float(schedule(3)) == got[3, 0]


def test_a_million_steps_are_told_apart():
    schedule = annealing.WarmupAnnealing(LR, max_steps=10_000_000)
    rates = [float(schedule(tf.constant(10_000_000 - left))) for left in (2, 1, 0)]
    np.testing.assert_allclose(rates, [LR * 2e-7, LR * 1e-7, 0], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("WarmupPolicy", {"max_steps": 0}, "WarmupPolicy: max_steps is 0"),
        ("WarmupPolicy", {"min_lr": 0.1}, "WarmupPolicy: min_lr 0.1 is above the learning rate 0.02"),
        ("WarmupPolicy", {"warmup_ratio": 0.1}, "WarmupPolicy: warmup_ratio is a share of max_steps"),
        ("WarmupHoldPolicy", {"max_steps": 9, "hold_steps": 1, "hold_ratio": 0.1}, "hold_steps and hold_ratio"),
        ("WarmupHoldPolicy", {"max_steps": 9, "hold_steps": -1}, "hold_steps is -1"),
        ("WarmupAnnealing", {"max_steps": 9, "warmup_steps": 9}, "max_steps 9 leaves no step to anneal after the 9"),
        (
            "WarmupAnnealing",
            {"max_steps": 40, "warmup_steps": 50},
            r"model\.optim\.sched\.warmup_steps=4, or train",
        ),
        ("PolynomialHoldDecayAnnealing", {"max_steps": 9, "warmup_steps": 4, "hold_steps": 5}, "after the 9 of"),
        ("NoamAnnealing", {"d_model": 0}, "d_model is 0"),
        ("NoamHoldAnnealing", {"max_steps": 9}, "needs a warm-up"),
    ],
)
def test_mistakes(name, arguments, message):
    with pytest.raises(UserError, match=message):
        build(name, arguments)

"""`model.optim` by name: its keys, its schedule, variables without decay, and checkpoints."""

import copy

import keras
import numpy as np
import pytest
import tensorflow as tf

import jasper_tf
from jasper_tf.config import config_from_dict
from jasper_tf.errors import UserError
from jasper_tf.model.keras_internals import schedule_of
from jasper_tf.optim.optimizer import build_optimizer
from jasper_tf.optim.schedules.scaled_schedule import ScaledSchedule
from jasper_tf.training.run.checkpoint_manager import CheckpointManager
from jasper_tf.training.run.training_state import TrainingState

BLOCK = {"filters": 8, "repeat": 1, "kernel": [11], "stride": [2], "dilation": [1], "dropout": 0.1, "residual": False}
SMALL = {
    "name": "small",
    "model": {
        "labels": ["a", " "],
        "validation_ds": {},
        "preprocessor": {},
        "encoder": {"feat_in": 64, "jasper": [BLOCK]},
        "decoder": {},
    },
}


def config(**optim):
    values = copy.deepcopy(SMALL)
    values["model"]["optim"] = {"lr": 0.1, **optim}
    return config_from_dict(values)


def small_model(optimizer=None):
    keras.utils.set_random_seed(1)
    dense = keras.layers.Dense(3, name="dense", bias_initializer="ones")
    model = keras.Sequential([keras.Input((2,)), dense, keras.layers.BatchNormalization(name="norm_0")])
    if optimizer:
        model.compile(optimizer(model), "mse")
        model.optimizer.build(model.trainable_variables)
    return model


NAMES = ["novograd", "adamw", "adam", "sgd", "adafactor", "lion"]


@pytest.mark.parametrize(
    ("optim", "expected"),
    [
        ({}, {"betas": [0.8, 0.5], "epsilon": 1e-8, "weight_decay": 0.0}),
        (
            {"betas": [0.9, 0.2], "eps": 1e-6, "grad_averaging": True, "amsgrad": True},
            {"betas": [0.9, 0.2], "epsilon": 1e-6, "grad_averaging": True, "amsgrad": True},
        ),
        ({"name": "adamw"}, {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8, "weight_decay": 0.01}),
        ({"name": "adamw", "weight_decay": 0}, {"weight_decay": 0.0}),
        (
            {"name": "adam", "betas": [0.8, 0.9], "eps": 1e-5, "amsgrad": True},
            {"beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-5, "amsgrad": True, "weight_decay": None},
        ),
        (
            {"name": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
            {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
        ),
        (
            {"name": "adafactor", "eps": [1e-20, 1e-2], "clip_threshold": 2, "decay_rate": -0.7},
            {
                "epsilon_1": 1e-20,
                "epsilon_2": 1e-2,
                "clip_threshold": 2.0,
                "beta_2_decay": -0.7,
                "relative_step": False,
            },
        ),
        ({"name": "lion"}, {"beta_1": 0.9, "beta_2": 0.99, "weight_decay": None}),
    ],
)
def test_the_keys_arrive(optim, expected):
    name = optim.get("name", "novograd")
    optimizer = jasper_tf.build_optimizer(config(**optim), 10)
    assert type(optimizer).__name__.lower() == name
    got = optimizer.get_config()
    assert got["learning_rate"] == pytest.approx(0.1)
    assert {key: got[key] for key in expected} == expected


def test_a_schedule_that_does_not_fit_names_its_key():
    cfg = config(sched={"name": "CosineAnnealing", "warmup_steps": 10})
    with pytest.raises(UserError, match=r"^model\.optim\.sched: .*max_steps 10 leaves no step.*max_epochs"):
        build_optimizer(cfg, 10)
    cfg.model.optim.sched.max_steps = 9
    with pytest.raises(UserError, match=r"^model\.optim\.sched: CosineAnnealing: max_steps 9 ((?!max_epochs).)*$"):
        build_optimizer(cfg, 10)


@pytest.mark.parametrize("name", NAMES)
def test_decay_spares_the_patterns(name):
    """Without a gradient, decay is all that moves a weight."""
    cfg = config(name=name, weight_decay=0.5, exclude_from_weight_decay=["*norm_*/*", "*/bias"])
    model = small_model(lambda model: build_optimizer(cfg, 10, variables=model.trainable_variables))
    before = [np.array(v) for v in model.trainable_variables]
    apply = tf.function(model.optimizer.apply)
    apply([tf.zeros(v.shape) for v in model.trainable_variables])
    moved = {
        v.path[-12:] for v, old in zip(model.trainable_variables, before, strict=True) if (np.array(v) != old).any()
    }
    assert moved == {"dense/kernel"}
    np.testing.assert_allclose(model.trainable_variables[0], before[0] * 0.95, rtol=1e-6)


def test_a_pattern_without_a_match():
    cfg = config(exclude_from_weight_decay=["*/bias", "*/gama"])
    with pytest.raises(UserError, match=r"exclude_from_weight_decay: '\*/gama' matches no .* like .*dense/kernel and"):
        build_optimizer(cfg, 10, variables=small_model().trainable_variables)
    with pytest.raises(UserError, match="matches no"):
        build_optimizer(cfg, 10)


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_holds_all_of_it(name, tmp_path):
    """Under a schedule: 3 steps, saved, and 3 more are 6."""
    more = {"momentum": 0.9} if name == "sgd" else {}
    cfg = config(name=name, weight_decay=0.01, sched={"name": "PolynomialDecayAnnealing", "warmup_steps": 2}, **more)
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(6, 8, 2)).astype("float32"), draw.normal(size=(6, 8, 3)).astype("float32")
    one, other = (small_model(lambda _: build_optimizer(cfg, 10)) for _ in range(2))
    for step in range(6):
        if step == 3:
            checkpoints = CheckpointManager(tmp_path)
            checkpoints.save(one, TrainingState(step=3))
            checkpoints.restore(other)
        one.train_on_batch(x[step], y[step])
        if step >= 3:
            other.train_on_batch(x[step], y[step])
    for a, b in zip(one.variables + one.optimizer.variables, other.variables + other.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=a.path)
    assert float(one.optimizer.learning_rate) == pytest.approx(0.1 * 4 / 8)


@pytest.mark.parametrize(
    ("sched", "rates"),
    [
        (None, [0.1, 0.1, 0.1]),
        ({"name": "CosineAnnealing", "min_lr": 0.05}, [0.1, 0.075, 0.05]),
        ({"name": "WarmupPolicy", "warmup_steps": 9}, [0.01, 0.06, 0.1]),
        ({"name": "WarmupHoldPolicy", "hold_ratio": 0.2, "max_steps": 9, "min_lr": 0.02}, [0.1, 0.1, 0.02]),
        ({"name": "WarmupAnnealing", "min_lr": 0.02}, [0.1, 0.06, 0.02]),
        ({"name": "SquareAnnealing"}, [0.1, 0.025, 1e-5]),
        ({"name": "SquareRootAnnealing"}, [0.1, 0.1 * 0.5**0.5, 0]),
        ({"name": "InverseSquareRootAnnealing"}, [0.1, 0.1 / 6**0.5, 0.1 / 11**0.5]),
        ({"name": "PolynomialDecayAnnealing", "power": 3}, [0.1, 0.0125, 0]),
        ({"name": "PolynomialHoldDecayAnnealing", "hold_steps": 6}, [0.1, 0.1, 0]),
        ({"name": "NoamAnnealing", "d_model": 4, "warmup_steps": 5}, [0.05 * 5**-1.5, 0.05 * 5**-0.5, 0.05 * 10**-0.5]),
        ({"name": "NoamHoldAnnealing", "warmup_steps": 4, "decay_rate": 1}, [0.02, 0.08, 0.04]),
        ({"name": "ExponentialLR", "gamma": 0.5}, [0.1, 0.05, 0.0125]),  # of epochs of 3 steps
    ],
)
def test_schedules_by_name(sched, rates):
    """Of 10 steps the first, the sixth, and the one behind the last."""
    optimizer = build_optimizer(config(sched=sched), 10, steps_per_epoch=3)
    got = []
    for step in (0, 5, 10):
        optimizer.iterations.assign(step)
        got.append(float(optimizer.learning_rate))
    np.testing.assert_allclose(got, rates, rtol=1e-6)


def test_reduce_on_plateau_makes_the_schedule_scalable():
    plateau = {"name": "CosineAnnealing", "reduce_on_plateau": True}
    optimizer = build_optimizer(config(sched=plateau), 10)
    schedule = schedule_of(optimizer)
    rate = tf.function(lambda: optimizer.learning_rate)
    assert isinstance(schedule, ScaledSchedule) and float(rate()) == pytest.approx(0.1)
    schedule.scale.assign(0.25)  # seen by what was traced before
    assert float(rate()) == pytest.approx(0.025)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert float(again.learning_rate) == pytest.approx(0.025)


TWO_DEVICES = """
import keras, numpy as np, tensorflow as tf
from jasper_tf.optim.adamw import AdamW
from jasper_tf.optim.novograd import NovoGrad
x = np.random.default_rng(2).normal(size=(32, 5)).astype(np.float32)
for optimizer in (lambda: NovoGrad(0.05, weight_decay=1e-3, amsgrad=True), lambda: AdamW(0.05, weight_decay=0.1)):
    finals = []
    for devices in (["CPU:0"], ["CPU:0", "CPU:1"]):
        keras.utils.set_random_seed(0)
        with tf.distribute.MirroredStrategy(devices, tf.distribute.ReductionToOneDevice()).scope():
            model = keras.Sequential([keras.layers.Input((5,)), keras.layers.Dense(8), keras.layers.Dense(1)])
            model.compile(optimizer(), loss="mse", jit_compile=False)
        before = model.get_weights()
        model.fit(tf.data.Dataset.from_tensor_slices((x, x.sum(1, keepdims=True))).batch(16), epochs=3, verbose=0)
        finals.append(model.get_weights())
    assert np.abs(finals[0][0] - before[0]).max() > 0.1
    for one, two in zip(*finals):
        np.testing.assert_allclose(two, one, atol=1e-5)
print("equal")
"""


def test_two_devices_equal_one(on_two_devices):
    assert on_two_devices(TWO_DEVICES) == "equal\n"

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from jasper_tf.optim.novograd import NovoGrad
from jasper_tf.optim.schedules.cosine_annealing import CosineAnnealing

GOLDEN = Path(__file__).parents[1] / "golden"
META = json.loads((GOLDEN / "novograd.json").read_text())
RUNS = {name: arguments for name, arguments in META["runs"].items() if "luc" not in arguments}


def optimizer_of(arguments, **more):
    arguments = dict(arguments)
    return NovoGrad(learning_rate=arguments.pop("lr"), **arguments, **more)


def twin(parameter, gradients, lr, betas, weight_decay=0.0, grad_averaging=False, amsgrad=False):
    """The formulas of the class' docstring, float64, one tensor; parameters after every step."""
    v = largest = 0.0
    m = np.zeros_like(parameter, np.float64)
    for step, g in enumerate(np.asarray(gradients, np.float64)):
        v = (g**2).sum() if v == 0 else betas[1] * v + (1 - betas[1]) * (g**2).sum()
        largest = max(largest, v)
        u = g / (np.sqrt(largest if amsgrad else v) + 1e-8) + weight_decay * parameter
        m = betas[0] * m + u * (1 - betas[0] if grad_averaging else 1)
        parameter = parameter - (lr(step) if callable(lr) else lr) * m
        yield parameter


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", RUNS)
def test_golden(name, compiled):
    arrays = np.load(GOLDEN / "novograd.npz")
    weights = [keras.Variable(arrays[f"p0_{j}"], name=f"p{j}") for j in range(2)]
    optimizer = optimizer_of(RUNS[name])
    optimizer.build(weights)
    apply = tf.function(optimizer.apply) if compiled else optimizer.apply
    for step in range(20):
        silent = name.endswith("zerofirst") and step < 3
        apply([tf.constant(arrays[f"g_{j}"][step] * (0.0 if silent else 1.0)) for j in range(2)])
        for j, weight in enumerate(weights):
            np.testing.assert_allclose(weight, arrays[f"{name}/p_{j}"][step], atol=5e-7, rtol=0)


def gradients_and_weight(seed=0, steps=6, shape=(4, 3)):
    random = np.random.default_rng(seed)
    return random.normal(size=(steps, *shape)).astype(np.float32), random.normal(size=shape).astype(np.float32)


def test_follows_a_schedule_and_decays_once_per_step():
    gradients, start = gradients_and_weight()
    schedule = CosineAnnealing(0.05, 6, warmup_steps=2)
    weight = keras.Variable(start)
    optimizer = NovoGrad(schedule, betas=(0.8, 0.5), weight_decay=0.1)
    expected = twin(start, gradients, lambda step: float(schedule(step)), (0.8, 0.5), 0.1)
    for gradient, after in zip(gradients, expected, strict=True):
        optimizer.apply([tf.constant(gradient)], [weight])
        np.testing.assert_allclose(weight, after, atol=1e-6)


def test_excluded_variables_do_not_decay():
    weights = [keras.Variable(np.ones(3, np.float32), name=name) for name in ("kernel", "gamma")]
    optimizer = NovoGrad(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["gamma"])
    optimizer.apply([tf.zeros(3), tf.zeros(3)], weights)
    np.testing.assert_allclose(weights[0], np.full(3, 0.95), rtol=1e-6)
    np.testing.assert_allclose(weights[1], np.ones(3))


def test_global_clipnorm_clips_before_the_moments():
    start = np.zeros(2, np.float32)
    weight = keras.Variable(start)
    optimizer = NovoGrad(0.1, betas=(0.8, 0.5), global_clipnorm=1.0)
    clipped = [[0.6, 0.8], [0.3, 0.4]]
    for gradient, after in zip(([30.0, 40.0], [0.3, 0.4]), twin(start, clipped, 0.1, (0.8, 0.5)), strict=True):
        optimizer.apply([tf.constant(gradient)], [weight])
        np.testing.assert_allclose(weight, after, rtol=1e-6)


def test_ema():
    gradients, start = gradients_and_weight(1)
    weight = keras.Variable(start)
    optimizer = NovoGrad(0.05, use_ema=True, ema_momentum=0.5)
    average = None
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient)], [weight])
        average = weight.numpy() if average is None else 0.5 * average + 0.5 * weight.numpy()
    optimizer.finalize_variable_values([weight])
    np.testing.assert_allclose(weight, average, rtol=1e-6)


def small_model():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.layers.Input((5,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(1)])


def data(rows=32):
    random = np.random.default_rng(2)
    x = random.normal(size=(rows, 5)).astype(np.float32)
    return x, x.sum(1, keepdims=True)


def test_fit_save_and_load_continue_alike(tmp_path):
    x, y = data()
    model = small_model()
    model.compile(NovoGrad(0.05, betas=(0.8, 0.5), weight_decay=1e-3, amsgrad=True), loss="mse")
    first = model.evaluate(x, y, verbose=0)
    model.fit(x, y, epochs=3, shuffle=False, verbose=0)
    assert model.evaluate(x, y, verbose=0) < first
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    assert loaded.optimizer.amsgrad and loaded.optimizer.betas == (0.8, 0.5)
    for each in (model, loaded):
        each.fit(x, y, epochs=2, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("scale", [2.0**10, 2.0**15])
def test_loss_scaling_changes_nothing(scale):
    gradients, start = gradients_and_weight(3)
    weight = keras.Variable(start)
    optimizer = NovoGrad(0.05, betas=(0.8, 0.5), weight_decay=0.01)
    optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=scale)
    optimizer.build([weight])
    for step, after in enumerate(twin(start, gradients, 0.05, (0.8, 0.5), 0.01)):
        if step == 3:  # an overflow: left out, and nothing of it is remembered
            before = weight.numpy()
            optimizer.apply([tf.fill(start.shape, np.float32("inf"))])
            np.testing.assert_array_equal(weight, before)
        optimizer.apply([tf.constant(gradients[step]) * optimizer.scale_loss(1.0)])
        np.testing.assert_allclose(weight, after, atol=1e-6)


def test_half_precision_variables_keep_their_norm_in_float32():
    weight = keras.Variable(np.zeros(4), dtype="float16")
    optimizer = NovoGrad(0.1)
    optimizer.apply([tf.fill([4], tf.constant(1000.0, tf.float16))], [weight])
    # A squared norm of 4e6 is infinite in float16: the step would be 0.
    np.testing.assert_allclose(weight, np.full(4, -0.05), rtol=1e-3)


def test_betas_are_checked():
    with pytest.raises(ValueError, match="betas"):
        NovoGrad(betas=(0.9, 1.0))

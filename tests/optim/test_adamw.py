import keras
import numpy as np
import pytest
import tensorflow as tf

from jasper_tf.optim.adamw import AdamW

SETTINGS = {"learning_rate": 0.05, "weight_decay": 0.1, "beta_1": 0.9, "beta_2": 0.98, "epsilon": 1e-6}
SHAPES = ((4, 3), (7,))


@pytest.fixture
def start():
    return [np.random.default_rng(0).normal(size=shape).astype(np.float32) for shape in SHAPES]


def gradients(steps=8):
    draw = np.random.default_rng(1)
    return [[tf.constant(draw.normal(size=shape), "float32") for shape in SHAPES] for _ in range(steps)]


def steps_of(optimizer, start, dtype="float32", compiled=True):
    """Yields the variables after each step."""
    variables = [keras.Variable(value, dtype=dtype) for value in start]
    optimizer.build(variables)
    apply = tf.function(optimizer.apply) if compiled else optimizer.apply
    for gradient in gradients():
        apply([tf.cast(g, dtype) for g in gradient])
        yield [np.array(v) for v in variables]


@pytest.mark.parametrize("compiled", [False, True])
def test_the_formulas(start, compiled):
    rate, decay, b1, b2, epsilon = SETTINGS.values()
    p = [value.astype(np.float64) for value in start]
    m, v = ([np.zeros_like(value) for value in p] for _ in range(2))
    made = steps_of(AdamW(**SETTINGS), start, compiled=compiled)
    for step, (gradient, got) in enumerate(zip(gradients(), made, strict=True), 1):
        for k, g in enumerate(np.array(g, np.float64) for g in gradient):
            m[k], v[k] = b1 * m[k] + (1 - b1) * g, b2 * v[k] + (1 - b2) * g**2
            p[k] = p[k] - rate * decay * p[k]
            p[k] = p[k] - rate * np.sqrt(1 - b2**step) / (1 - b1**step) * m[k] / (np.sqrt(v[k]) + epsilon)
            np.testing.assert_allclose(got[k], p[k], atol=1e-6)


@pytest.mark.parametrize(
    ("more", "dtype"),
    [
        ({}, "float32"),
        ({"amsgrad": True}, "float32"),
        ({"global_clipnorm": 0.5, "use_ema": True}, "float32"),
        ({"epsilon": 1e-3}, "float16"),
    ],
)
def test_every_step_is_kerass(start, more, dtype):
    settings = {**SETTINGS, **more}
    ours, keras_own = (steps_of(one(**settings), start, dtype) for one in (AdamW, keras.optimizers.AdamW))
    for a, b in zip(ours, keras_own, strict=True):
        for one, other in zip(a, b, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_tensor_takes_one_kernel(start):
    optimizer = AdamW(**SETTINGS)
    optimizer.build([keras.Variable(value) for value in start])
    graph = tf.function(optimizer.apply).get_concrete_function(gradients(1)[0]).graph
    assert [op.type for op in graph.get_operations()].count("ResourceApplyAdam") == len(SHAPES)


def test_saved_and_loaded_it_goes_on(tmp_path):
    x = np.random.default_rng(2).normal(size=(32, 5)).astype(np.float32)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(8), keras.layers.Dense(1)])
    model.compile(AdamW(**SETTINGS), loss="mse")
    model.fit(x, x.sum(1), epochs=2, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer) is AdamW
    for each in (model, loaded):
        each.fit(x, x.sum(1), epochs=1, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)

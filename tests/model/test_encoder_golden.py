"""The encoder against NeMo's outputs, gradients and running statistics."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from jasper_tf.interop.nemo.weights import encoder_variables
from jasper_tf.model.encoder import ConvASREncoder, output_length

GOLDEN = Path(__file__).parents[1] / "golden"
CONFIGS = json.loads((GOLDEN / "enc_configs.json").read_text())
# NeMo picks the excitation's window at random in training.
RANDOM_IN_TRAINING = ("citrinet",)


def encoder_with_weights(config, arrays):
    encoder = ConvASREncoder(**config)
    variables = encoder_variables(encoder)
    weights = {
        f"encoder.{key[3:]}": arrays[key]
        for key in arrays
        if key.startswith("sd/") and not key.endswith("num_batches_tracked")
    }
    assert set(weights) == set(variables)
    assert sum(v.shape.num_elements() for v in encoder.variables if "seed" not in v.path) == sum(
        a.size for a in weights.values()
    )
    for name, array in weights.items():
        variables[name].assign(array)
    return encoder, variables


def check(name, config, arrays):
    encoder, variables = encoder_with_weights(config, arrays)
    features = tf.constant(arrays["x"].transpose(0, 2, 1))
    feature_len = tf.constant(arrays["lens"].astype(np.int32))

    encoded, encoded_len = encoder([features, feature_len], training=False)
    np.testing.assert_array_equal(encoded_len, arrays["eval/lens"])
    np.testing.assert_array_equal(output_length(encoder.blocks, arrays["lens"]), arrays["eval/lens"])
    np.testing.assert_allclose(encoded, arrays["eval/y"].transpose(0, 2, 1), rtol=0, atol=5e-6)
    if name in RANDOM_IN_TRAINING or not any(key.startswith("train/after") for key in arrays):
        return

    learned = [key for key in variables if not key.rpartition(".")[2].startswith("running_")]
    with tf.GradientTape() as tape:
        tape.watch(features)
        encoded, _ = encoder([features, feature_len], training=True)
        loss = tf.reduce_sum(encoded * arrays["train/cot"].transpose(0, 2, 1)) if "train/cot" in arrays else 0.0
    for key, variable in variables.items():
        if "running_" in key:
            expected = arrays[f"train/after/{key.removeprefix('encoder.')}"]
            np.testing.assert_allclose(variable.numpy(), expected, rtol=0, atol=3e-7, err_msg=key)
    if "train/y" not in arrays or "train/cot" not in arrays:
        return
    np.testing.assert_allclose(encoded, arrays["train/y"].transpose(0, 2, 1), rtol=0, atol=1.2e-5)
    by_features, *gradients = tape.gradient(loss, [features, *(variables[key].variable.value for key in learned)])
    np.testing.assert_allclose(by_features, arrays["train/grad_x"].transpose(0, 2, 1), rtol=0, atol=1e-6)
    for key, gradient in zip(learned, gradients, strict=True):
        expected = arrays[f"train/grad/{key.removeprefix('encoder.')}"]
        actual = gradient.numpy().transpose(variables[key].axes)[: len(expected)]
        np.testing.assert_allclose(actual, expected, rtol=0, atol=6e-6, err_msg=key)


@pytest.mark.parametrize("name", CONFIGS)
def test_is_nemos_encoder(name):
    with np.load(GOLDEN / f"enc_{name}.npz") as arrays:
        check(name, CONFIGS[name], dict(arrays))


@pytest.mark.parametrize("name", ["jasper_dr", "jasper_plain", "jasper_se", "quartznet"])
def test_is_nemos_encoder_in_the_untrimmed_fixture(name, shared):
    path = shared / "golden" / f"enc_{name}.npz"
    with np.load(path) as arrays:
        check(name, json.loads(path.with_suffix(".json").read_text())["config"], dict(arrays))


def test_a_frozen_encoder_keeps_its_running_statistics():
    with np.load(GOLDEN / "enc_jasper_se.npz") as arrays:
        arrays = dict(arrays)
    encoder, variables = encoder_with_weights(CONFIGS["jasper_se"], arrays)
    encoder.trainable = False
    inputs = [arrays["x"].transpose(0, 2, 1), arrays["lens"].astype(np.int32)]
    encoded, _ = encoder(inputs, training=True)
    np.testing.assert_allclose(encoded, arrays["eval/y"].transpose(0, 2, 1), rtol=0, atol=5e-6)
    key = "encoder.encoder.0.mconv.1.running_mean"
    np.testing.assert_array_equal(variables[key].numpy(), arrays["sd/" + key.removeprefix("encoder.")])


def test_saving_keeps_weights_and_outputs(tmp_path):
    with np.load(GOLDEN / "enc_quartznet.npz") as arrays:
        arrays = dict(arrays)
    encoder, _ = encoder_with_weights(CONFIGS["quartznet"], arrays)
    encoder.save(tmp_path / "encoder.keras")
    loaded = keras.saving.load_model(tmp_path / "encoder.keras")
    assert loaded.get_config() == encoder.get_config()
    inputs = [arrays["x"].transpose(0, 2, 1), arrays["lens"].astype(np.int32)]
    np.testing.assert_array_equal(loaded(inputs)[0], encoder(inputs)[0])

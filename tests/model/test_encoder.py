"""Sizes, lengths, padding and mistakes of the encoder."""

import dataclasses
import json
import math
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from jasper_tf.config import config_from_dict
from jasper_tf.errors import UserError
from jasper_tf.model.decoder import ConvASRDecoder
from jasper_tf.model.encoder import ConvASREncoder, output_length
from jasper_tf.model.flops import encoder_flops

CONFIGS = json.loads((Path(__file__).parents[1] / "golden" / "enc_configs.json").read_text())
LONGEST = 97


def block(filters, kernel, repeat, stride=1, dilation=1, **options):
    options.setdefault("residual", False)
    return {
        "filters": filters,
        "kernel": [kernel],
        "repeat": repeat,
        "stride": [stride],
        "dilation": [dilation],
    } | options


def jasper_10x5dr():
    dense = {"residual": True, "residual_dense": True}
    shapes = [(256, 11), (384, 13), (512, 17), (640, 21), (768, 25)]
    body = [block(filters, kernel, 5, **dense) for filters, kernel in shapes for _ in range(2)]
    return [block(256, 11, 1, 2), *body, block(896, 29, 1, dilation=2), block(1024, 1, 1)]


def quartznet_15x5():
    shapes = [(256, 33), (256, 39), (512, 51), (512, 63), (512, 75)]
    body = [block(f, k, 5, residual=True, separable=True) for f, k in shapes for _ in range(3)]
    first, last = block(256, 33, 1, 2, separable=True), block(512, 87, 1, dilation=2, separable=True)
    return [first, *body, last, block(1024, 1, 1)]


@pytest.mark.parametrize(
    ("jasper", "trainable", "running", "gflop"),
    [(jasper_10x5dr(), 332_602_624, 122_112, 128e-9 * 332_602_624), (quartznet_15x5(), 18_894_656, 77_312, 2.4195)],
    ids=["jasper_10x5dr", "quartznet_15x5"],
)
def test_has_the_published_number_of_parameters_and_operations(jasper, trainable, running, gflop, monkeypatch):
    """Operations for 128 frames: QuartzNet's as OpenVINO's Open Model Zoo counts them, with batch norm and head; Jasper
    uses each weight once for each of 64 encoder frames."""
    zeros = keras.initializers.Zeros()
    monkeypatch.setattr("jasper_tf.model.blocks.masked_conv.weight_initializer", lambda init_mode, seed: zeros)
    encoder = ConvASREncoder(64, jasper)
    assert sum(math.prod(v.shape) for v in encoder.trainable_variables) == trainable
    statistics = [v for v in encoder.non_trainable_variables if "moving" in v.path]
    assert sum(math.prod(v.shape) for v in statistics) == running
    assert encoder.subsampling_factor == 2
    assert encoder.filters == 1024
    flops, frames = encoder_flops(encoder, 128, 64)
    assert frames == 64 and flops == pytest.approx(1e9 * gflop, rel=5e-3)


@pytest.mark.parametrize(
    ("filters", "factor", "last", "encoder_values", "decoder_values", "running"),
    [(512, 1.0, 640, 36_337_296, 657_025, 131_328), (1024, 0.25, 1024, 140_173_712, 1_050_625, 262_144)],
    ids=["citrinet_512", "citrinet_1024"],
)
def test_a_citrinet_has_nemos_number_of_parameters(
    filters, factor, last, encoder_values, decoder_values, running, monkeypatch
):
    """Of NeMo's ConvASREncoder, and of its ConvASRDecoder for 1,024 pieces; the files of both sizes differ in these."""
    zeros = keras.initializers.Zeros()
    monkeypatch.setattr("jasper_tf.model.blocks.masked_conv.weight_initializer", lambda init_mode, seed: zeros)
    values = yaml.safe_load((Path(__file__).parents[1] / "golden" / "nemo_citrinet_512.yaml").read_text())
    values["model"]["model_defaults"] |= {"enc_final": last, "kernel_size_factor": factor}
    for block in values["model"]["encoder"]["jasper"][:-1]:
        block["filters"] = filters
    values["model"]["encoder"]["jasper"][0]["kernel_size_factor"] = 1.0
    values["model"]["tokenizer"] = {"dir": "tok", "type": "bpe"}
    config = config_from_dict(values)
    encoder = ConvASREncoder(**dataclasses.asdict(config.model.encoder))
    decoder = ConvASRDecoder(1024)
    decoder.build((None, None, last))
    assert sum(math.prod(v.shape) for v in encoder.trainable_variables) == encoder_values
    assert sum(math.prod(v.shape) for v in decoder.trainable_variables) == decoder_values
    statistics = [v for v in encoder.non_trainable_variables if "moving" in v.path]
    assert sum(math.prod(v.shape) for v in statistics) == running
    assert encoder.subsampling_factor == 8


def test_decoder_has_the_published_number_of_parameters():
    decoder = ConvASRDecoder(28)
    decoder.build((None, None, 1024))
    assert decoder.count_params() == 29_725


@pytest.fixture(scope="module")
def encoders():
    names = ("jasper_se", "future_context", "stride3", "citrinet", "even_kernel")
    return {name: ConvASREncoder(**CONFIGS[name]) for name in names}


@pytest.mark.parametrize("name", ["jasper_se", "future_context", "stride3", "citrinet", "even_kernel"])
def test_output_length_is_the_length_of_the_output(name, encoders):
    encoder = encoders[name]

    @settings(max_examples=6, deadline=None)
    @given(frames=st.integers(1, 120))
    def check(frames):
        features = np.zeros((1, frames, CONFIGS[name]["feat_in"]), np.float32)
        encoded, encoded_len = encoder([features, np.array([frames], np.int32)])
        assert encoded.shape[1] == int(encoded_len[0]) == output_length(encoder.blocks, frames)
        assert output_length(encoder.blocks, np.array([frames, 0])).tolist() == [
            output_length(encoder.blocks, frames),
            output_length(encoder.blocks, 0),
        ]

    check()


def test_dilation_with_future_context_pads_as_nemo_does():
    # NeMo pads dilation * kernel - 1 in all: dilation - 1 frames more come out than went in.
    encoder = ConvASREncoder(4, [block(4, 5, 1, dilation=3, future_context=1)])
    encoded, encoded_len = encoder([np.zeros((1, 20, 4), np.float32), np.array([20], np.int32)])
    assert encoded.shape[1] == int(encoded_len[0]) == 22


@pytest.mark.parametrize("name", ["jasper_se", "jasper_dr", "quartznet", "citrinet", "groups", "heads"])
def test_padding_does_not_change_an_utterance(name):
    encoder, rng = ConvASREncoder(**CONFIGS[name]), np.random.default_rng(3)
    features = rng.normal(size=(3, LONGEST, CONFIGS[name]["feat_in"])).astype(np.float32)
    feature_len = np.array([LONGEST, 60, 33], np.int32)
    encoded, encoded_len = encoder([features, feature_len])
    for row, frames in enumerate(feature_len):
        alone, alone_len = encoder([features[row : row + 1, :frames], feature_len[row : row + 1]])
        assert int(alone_len[0]) == int(encoded_len[row])
        np.testing.assert_allclose(alone[0], encoded[row, : int(encoded_len[row])], rtol=0, atol=1e-4)


def test_without_masks_padding_leaks():
    encoder = ConvASREncoder(**{**CONFIGS["jasper_se"], "conv_mask": False})
    features = np.random.default_rng(3).normal(size=(1, 60, 16)).astype(np.float32)
    alone, _ = encoder([features[:, :40], np.array([40], np.int32)])
    padded, padded_len = encoder([features, np.array([40], np.int32)])
    assert padded_len.numpy().tolist() == [40]
    assert np.abs(padded[0, : alone.shape[1]] - alone[0]).max() > 1e-2


@pytest.mark.parametrize("name", ["jasper_se", "quartznet", "norm_layer"])
def test_mixed_precision_computes_in_bfloat16_on_float32_weights(name):
    full = ConvASREncoder(**CONFIGS[name])
    half = ConvASREncoder(**CONFIGS[name], dtype="mixed_bfloat16")
    half.set_weights(full.get_weights())
    features = np.random.default_rng(3).normal(size=(2, 61, CONFIGS[name]["feat_in"])).astype(np.float32)
    inputs = [features, np.array([61, 40], np.int32)]
    encoded, encoded_len = half(inputs, training=True)
    assert keras.backend.standardize_dtype(encoded.dtype) == "bfloat16"
    assert keras.backend.standardize_dtype(encoded_len.dtype) == "int32"
    assert all(v.dtype == "float32" for v in half.trainable_variables)
    expected, _ = full(inputs, training=True)
    assert np.abs(keras.ops.cast(encoded, "float32") - expected).max() < 0.1 * np.abs(expected).max()
    assert ConvASREncoder.from_config(half.get_config()).blocks[0].compute_dtype == "bfloat16"


def test_the_seed_decides_the_weights():
    def kernels(seed):
        return ConvASREncoder(**CONFIGS["jasper_se"], seed=seed).get_weights()

    first, again, other = kernels(1), kernels(1), kernels(2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    # Equal shapes within a network start differently too.
    layers = [np.ravel(w)[:9] for w in first if w.ndim == 3]
    assert len({tuple(w) for w in layers}) == len(layers)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stride": [2], "dilation": [2]}, "jasper[0].stride 2 and dilation 2: only one"),
        ({"kernal": [3]}, "jasper[0].kernal: unknown"),
        ({"kernel": [3, 5]}, "jasper[0].kernel: [3, 5] must be one integer"),
        ({"repeat": 0}, "jasper[0].repeat: 0 is below 1"),
        ({"residual": True, "stride": [2]}, "jasper[0].stride: 2 "),
        ({"residual_mode": "mul"}, "jasper[0].residual_mode: 'mul' is unknown"),
        ({"groups": 3}, "jasper[0].groups 3: does not divide"),
        ({"heads": 2}, "jasper[0].heads: 2 needs separable"),
        ({"se": True, "se_reduction_ratio": 9}, "jasper[0].se_reduction_ratio 9: more than the 8 channels"),
    ],
)
def test_a_mistake_names_the_block_and_the_key(change, message):
    with pytest.raises(UserError) as error:
        ConvASREncoder(8, [block(8, 3, 2) | change])
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"activation": "gelu"}, "activation: 'gelu' is unknown"),
        ({"normalization_mode": "rms"}, "normalization_mode: 'rms' is unknown"),
        ({"init_mode": "zeros"}, "init_mode: 'zeros' is unknown"),
        ({"normalization_mode": "group", "norm_groups": 3}, "norm_groups 3: does not divide"),
    ],
)
def test_a_wrong_option_of_the_encoder_is_named(option, message):
    with pytest.raises(UserError, match=message):
        ConvASREncoder(8, [block(8, 3, 2)], **option)

"""FLOPs of the network: against TensorFlow's own count of the operations it runs."""

import dataclasses

import pytest
import tensorflow as tf

from jasper_tf.config import PreprocessorConfig
from jasper_tf.model.flops import forward_flops, training_flops
from jasper_tf.model.jasper_ctc import JasperCTC

BLOCK = {"filters": 8, "repeat": 1, "kernel": [7], "stride": [1], "dilation": [1], "dropout": 0.1, "residual": False}


def model_of(*blocks: dict, pad_to: int = 16) -> JasperCTC:
    preprocessor = dataclasses.asdict(PreprocessorConfig(features=12, pad_to=pad_to))
    return JasperCTC(list(" abc"), preprocessor, {"feat_in": 12, "jasper": [BLOCK | block for block in blocks]})


def counted_by_tensorflow(model: JasperCTC, samples: int) -> int:
    """What the profiler finds in the graph of encoder and head for one utterance."""
    shape, _ = model.get_layer("log_mel").compute_output_shape((1, samples), (1,))
    shape, _ = model.get_layer("normalization").compute_output_shape(shape, (1,))

    @tf.function(input_signature=[tf.TensorSpec(shape), tf.TensorSpec([1], tf.int32)])
    def run(features, feature_len):
        encoded, _ = model.encoder([features, feature_len], training=False)
        return model.decoder(encoded)

    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    options["account_type_regexes"] = ["Conv2D", "DepthwiseConv2dNative", "MatMul", "BatchMatMulV2"]
    return tf.compat.v1.profiler.profile(run.get_concrete_function().graph, options=options).total_float_ops


@pytest.mark.parametrize(
    "blocks",
    [
        [{"stride": [2]}, {"filters": 6, "kernel": [1], "dilation": [2]}],
        [{"stride": [2]}, {"repeat": 2, "filters": 16, "se": True, "residual": True}],
        [{}, {"repeat": 3, "residual": True, "residual_dense": True}, {"residual": True, "residual_dense": True}],
        [{"separable": True, "repeat": 2, "stride": [2], "stride_last": True, "filters": 10}],
        [{}, {"separable": True, "heads": 4, "groups": 2}],
    ],
    ids=["plain", "se_residual", "dense", "separable", "heads_groups"],
)
def test_as_tensorflow_counts(blocks):
    model = model_of(*blocks)
    for samples in (3000, 16000):
        counted = counted_by_tensorflow(model, samples)
        assert counted > 0 and forward_flops(model, samples) == counted


def test_by_hand():
    """1 s is 101 frames, padded to 112, 56 after the stride."""
    model = model_of({"stride": [2], "filters": 8}, {"filters": 6, "kernel": [1]})
    multiply_adds = 56 * (7 * 12 * 8 + 8 * 6 + 6 * 5)
    assert forward_flops(model, 16000) == 2 * multiply_adds
    assert training_flops(model, 16000) == 6 * multiply_adds
    assert forward_flops(model_of({"stride": [2]}, {"filters": 6, "kernel": [1]}, pad_to=0), 16000) == 2 * 51 * 750

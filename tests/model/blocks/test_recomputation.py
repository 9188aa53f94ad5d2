"""A block that computes its inner values again trains as one that keeps them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from jasper_tf.model.encoder import ConvASREncoder

BLOCK = {"filters": 6, "repeat": 2, "kernel": 3, "dropout": 0.3, "residual": True}
BLOCKS = {
    "Jasper": [BLOCK | {"stride": 2, "residual": False}, BLOCK, BLOCK],
    "dense": [BLOCK | {"residual_dense": True}] * 3,
    "Citrinet": [BLOCK | {"separable": True, "se": True, "se_reduction_ratio": 2, "se_context_size": 4}] * 2,
    "no dropout": [BLOCK | {"dropout": 0.0}],
}


def train(jasper, recompute, jit_compile=False, steps=3):
    """Gradients of each step, and all variables after the last."""
    encoder = ConvASREncoder(4, jasper, seed=3, recompute=recompute)
    optimizer = keras.optimizers.SGD(0.01)
    optimizer.build(encoder.trainable_variables)
    rng = np.random.default_rng(1)

    @tf.function(jit_compile=jit_compile)
    def step(x, length):
        with tf.GradientTape() as tape:
            y, _ = encoder([x, length], training=True)
            loss = tf.reduce_mean(tf.square(tf.cast(y, tf.float32)))
        gradients = tape.gradient(loss, encoder.trainable_variables)
        optimizer.apply(gradients, encoder.trainable_variables)
        return gradients

    found = []
    for frames in range(20, 20 + steps):
        x, length = rng.normal(size=(3, frames, 4)).astype(np.float32), np.array([frames, 12, 7], np.int32)
        found += [gradient.numpy() for gradient in step(x, length)]
    return found, [np.array(variable) for variable in encoder.variables]


@pytest.mark.parametrize("name", BLOCKS)
def test_gradients_statistics_and_random_numbers_are_the_same(name):
    for kept, again in zip(train(BLOCKS[name], False), train(BLOCKS[name], True), strict=True):
        for a, b in zip(kept, again, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_what_is_computed_again_has_the_faster_gradients():
    encoder = ConvASREncoder(4, [BLOCK | {"dilation": 2}], recompute=True)

    @tf.function
    def gradients(x, length):
        with tf.GradientTape() as tape:
            y, _ = encoder([x, length], training=True)
            loss = tf.reduce_mean(tf.square(y))
        return tape.gradient(loss, encoder.trainable_variables)

    graph = gradients.get_concrete_function(tf.zeros((2, 30, 4)), tf.constant([30, 20])).graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    assert "Conv2DBackpropFilter" not in {node.op for node in nodes}


def test_a_frozen_block_keeps_its_statistics():
    encoder = ConvASREncoder(4, BLOCKS["Jasper"], recompute=True)
    encoder.blocks[0].trainable = False
    encoder.blocks[1].normalizations[0].trainable = False
    before = [np.array(block.normalizations[0].moving_mean) for block in encoder.blocks]
    x, length = np.ones((2, 9, 4), np.float32), np.array([9, 5], np.int32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(encoder([x, length], training=True)[0])
    gradients = tape.gradient(loss, encoder.trainable_variables)
    assert all(gradient is not None for gradient in gradients)
    after = [np.array(block.normalizations[0].moving_mean) for block in encoder.blocks]
    assert [bool((a == b).all()) for a, b in zip(before, after, strict=True)] == [True, True, False]

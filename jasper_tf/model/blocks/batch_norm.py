"""Batch normalization over all frames of a batch, with the running statistics of torch."""

import keras
from keras import ops

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf


@keras.saving.register_keras_serializable(package="jasper_tf")
class BatchNorm(keras.layers.Layer):
    """Normalizes each channel over all B*T frames, padded ones included; statistics are always float32.

    The running variance uses the unbiased estimate n/(n-1), as in torch; Keras's layer uses the biased one.
    NeMo: `BatchNorm1d(eps=1e-3, momentum=0.1)`.

    Args:
        momentum: share of the old running statistics that a step keeps: 1 - torch's momentum.
        epsilon: added to the variance.
        synchronized: statistics over the batches of all replicas under tf.distribute.

    Call arguments:
        x: [B, T, C].
        training: use and update the statistics of the batch; a frozen layer uses the running ones.

    Returns:
        [B, T, C] in the dtype of the layer's policy.
    """

    def __init__(self, momentum: float = 0.9, epsilon: float = 1e-3, synchronized: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.momentum = momentum
        self.epsilon = epsilon
        self.synchronized = synchronized

    def build(self, x_shape):
        shape = (x_shape[-1],)
        self.gamma = self.add_weight(name="gamma", shape=shape, initializer="ones", autocast=False)
        self.beta = self.add_weight(name="beta", shape=shape, initializer="zeros", autocast=False)
        self.moving_mean, self.moving_variance = (
            self.add_weight(
                name=name, shape=shape, initializer=initializer, trainable=False, autocast=False, aggregation="mean"
            )
            for name, initializer in (("moving_mean", "zeros"), ("moving_variance", "ones"))
        )

    def call(self, x, training=None):
        if not (training and self.trainable):
            return self._scale(x, self.moving_mean.value, self.moving_variance.value)
        y, statistics = self.normalize(x)
        self.update(*statistics)
        return y

    def normalize(self, x):
        """The output in training, and the statistics that `update` takes, float32: mean [C], variance [C], count []."""
        if self._fusable():
            y, mean, unbiased = self._fused(x)
            count = ops.cast(ops.shape(x)[0], "float32")
        else:
            mean, variance, count = self._moments(x)
            y = self._scale(x, mean, variance)
            unbiased = variance * (count / ops.maximum(count - 1.0, 1.0))
        return y, (ops.stop_gradient(mean), ops.stop_gradient(unbiased), count)

    def update(self, mean, unbiased, count):
        """Updates the running statistics."""
        # A micro-batch may be empty: the last batch of an epoch can have fewer utterances than micro-batches.
        empty = ops.equal(count, 0)
        for running, batch in ((self.moving_mean, mean), (self.moving_variance, unbiased)):
            moved = self.momentum * running.value + (1.0 - self.momentum) * batch
            running.assign(ops.where(empty, running.value, moved))

    def _fusable(self) -> bool:
        return keras.backend.backend() == "tensorflow" and not self._crosses_replicas()

    def _crosses_replicas(self) -> bool:
        if not self.synchronized or keras.backend.backend() != "tensorflow":
            return False
        replica = tf.distribute.get_replica_context()
        return replica is not None and replica.num_replicas_in_sync > 1

    def _scale(self, x, mean, variance):
        scale = self.gamma.value * ops.rsqrt(variance + self.epsilon)
        shift = self.beta.value - mean * scale
        return ops.cast(ops.cast(x, "float32") * scale + shift, self.compute_dtype)

    def _fused(self, x):
        # TensorFlow's kernel: forward and backward take a fifth of the time of `_moments` and `_scale` (2 CPU cores,
        # [16, 800, 256]). It returns the unbiased variance and needs four axes; x[:, None] in place of expand_dims
        # would cost a third more in the gradient.
        y, mean, unbiased, *_ = tf.raw_ops.FusedBatchNormV3(
            x=tf.expand_dims(x, 1),
            scale=self.gamma.value,
            offset=self.beta.value,
            mean=tf.zeros((0,)),
            variance=tf.zeros((0,)),
            epsilon=self.epsilon,
            is_training=True,
        )
        return tf.squeeze(y, 1), mean, unbiased

    def _moments(self, x):
        x = ops.cast(x, "float32")
        shape = ops.shape(x)
        count = ops.cast(shape[0] * shape[1], "float32")
        if not self._crosses_replicas():
            mean, variance = ops.moments(x, axes=[0, 1])
            return mean, variance, count
        # Sums around the running mean, equal on every replica: plain sums of squares would cancel in float32.
        origin = self.moving_mean.value
        x = x - origin
        count, first, second = tf.distribute.get_replica_context().all_reduce(
            tf.distribute.ReduceOp.SUM, [count, ops.sum(x, axis=[0, 1]), ops.sum(ops.square(x), axis=[0, 1])]
        )
        # At least 1: 0 / 0 would be NaN where no replica has a row.
        mean, square = (total / ops.maximum(count, 1.0) for total in (first, second))
        return origin + mean, ops.maximum(square - ops.square(mean), 0.0), count

    def compute_output_shape(self, x_shape):
        return x_shape

    def get_config(self):
        own = {"momentum": self.momentum, "epsilon": self.epsilon, "synchronized": self.synchronized}
        return {**super().get_config(), **own}

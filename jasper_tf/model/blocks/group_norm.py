"""Group, layer and instance normalization: per utterance, over groups of channels and all frames."""

import keras
from keras import ops

from jasper_tf.errors import UserError


@keras.saving.register_keras_serializable(package="jasper_tf")
class GroupNorm(keras.layers.Layer):
    """Group normalization of [B, T, C]: statistics over all T frames, padded ones included, in float32.

    An utterance's output therefore depends on its padding, as in NeMo. torch: `GroupNorm`.

    Args:
        groups: of channels: 1 is NeMo's `layer`, C (or -1) its `instance`.
        epsilon: added to the variance.

    Raises:
        UserError: the groups do not divide the channels.
    """

    def __init__(self, groups: int = -1, epsilon: float = 1e-5, **kwargs):
        super().__init__(**kwargs)
        self.groups = groups
        self.epsilon = epsilon

    def build(self, x_shape):
        channels = x_shape[-1]
        if self.groups != -1 and (self.groups < 1 or channels % self.groups):
            raise UserError(f"norm_groups {self.groups}: does not divide the {channels} channels")
        self.gamma = self.add_weight(name="gamma", shape=(channels,), initializer="ones", autocast=False)
        self.beta = self.add_weight(name="beta", shape=(channels,), initializer="zeros", autocast=False)

    def call(self, x):
        batch, frames, channels = ops.shape(x)
        groups = channels if self.groups == -1 else self.groups
        grouped = ops.reshape(ops.cast(x, "float32"), (batch, frames, groups, channels // groups))
        mean, variance = ops.moments(grouped, axes=[1, 3], keepdims=True)
        normal = ops.reshape((grouped - mean) * ops.rsqrt(variance + self.epsilon), (batch, frames, channels))
        return ops.cast(normal * self.gamma.value + self.beta.value, self.compute_dtype)

    def compute_output_shape(self, x_shape):
        return x_shape

    def get_config(self):
        return {**super().get_config(), "groups": self.groups, "epsilon": self.epsilon}

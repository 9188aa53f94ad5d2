"""Group, layer and instance normalisation: one utterance at a time, over groups of channels and all frames."""

import keras
from keras import ops

from jasper_tf.errors import UserError
from jasper_tf.interop.nemo.variable import NemoVariable


@keras.saving.register_keras_serializable(package="jasper_tf")
class GroupNorm(keras.layers.Layer):
    """torch's GroupNorm over [B, T, C]: statistics over all T frames, padded ones included, in float32.

    An utterance's output therefore depends on how far it is padded, as in NeMo.

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

    def nemo_variables(self, prefix: str) -> dict[str, NemoVariable]:
        """Scale and shift under `prefix`."""
        return {f"{prefix}.weight": NemoVariable(self.gamma), f"{prefix}.bias": NemoVariable(self.beta)}

    def get_config(self):
        return {**super().get_config(), "groups": self.groups, "epsilon": self.epsilon}

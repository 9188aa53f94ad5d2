"""Squeeze and excitation: channels scaled by a gate computed from the whole utterance."""

import keras
from keras import ops

from jasper_tf.errors import UserError
from jasper_tf.model.blocks.initialization import weight_initializer


@keras.saving.register_keras_serializable(package="jasper_tf")
class SqueezeExcite(keras.layers.Layer):
    """Scales each channel by a gate: mean over valid frames, two linear layers without bias, sigmoid.

    The mean and the gate are computed in float32. NeMo: `SqueezeExcite`; arXiv 1709.01507.

    Args:
        reduction_ratio: channels per hidden unit.
        context_size: frames of the mean in training, a window at a random place (the same for the whole batch);
            negative, and always outside training: all of them.
        activation: between the linear layers.
        init_mode: see `weight_initializer`.
        seed: of the initial weights and of the window.

    Call arguments:
        x: [B, T, C].
        valid: [B, T, 1] mask of valid frames.

    Returns:
        [B, T, C], zero beyond the length.

    Raises:
        UserError: fewer channels than `reduction_ratio`.
    """

    def __init__(
        self,
        reduction_ratio: int = 8,
        context_size: int = -1,
        activation: str = "relu",
        init_mode: str | None = "xavier_uniform",
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.reduction_ratio = reduction_ratio
        self.context_size = context_size
        self.activation = keras.activations.get(activation)
        self.init_mode = init_mode
        self.seed = seed
        if context_size >= 0:
            self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, x_shape, valid_shape=None):
        channels = x_shape[-1]
        hidden = channels // self.reduction_ratio
        if hidden < 1:
            raise UserError(f"se_reduction_ratio {self.reduction_ratio}: more than the {channels} channels")
        self.squeeze, self.excite = (
            self.add_weight(
                name=name,
                shape=shape,
                initializer=weight_initializer(self.init_mode, self.seed + offset),
                autocast=False,
            )
            for offset, (name, shape) in enumerate((("squeeze", (channels, hidden)), ("excite", (hidden, channels))))
        )

    def call(self, x, valid, training=None, seed=None):
        x = x * valid
        total, count = ops.cast(x, "float32"), ops.cast(valid, "float32")
        if training and self.context_size >= 0:
            inside = self._window(ops.shape(x)[1], seed or self.seed_generator)
            total, count = total * inside, count * inside
        # The floor only matters where no frame is valid: the mean is then 0, not NaN.
        mean = ops.sum(total, axis=1) / ops.maximum(ops.sum(count, axis=1), 1.0)
        gate = ops.matmul(self.activation(ops.matmul(mean, self.squeeze.value)), self.excite.value)
        return x * ops.cast(ops.sigmoid(gate), self.compute_dtype)[:, None, :]

    def _window(self, frames, seed):
        """1 inside the window: [1, T, 1]. A batch shorter than the window is inside entirely."""
        room = ops.maximum(frames - self.context_size, 0)
        place = keras.random.uniform((), seed=seed) * ops.cast(room, "float32")
        start = ops.cast(ops.floor(place), "int32")
        frame = ops.arange(frames, dtype="int32")
        return ops.cast((frame >= start) & (frame < start + self.context_size), "float32")[None, :, None]

    def compute_output_shape(self, x_shape, valid_shape=None):
        return x_shape

    def get_config(self):
        return {
            **super().get_config(),
            "reduction_ratio": self.reduction_ratio,
            "context_size": self.context_size,
            "activation": keras.activations.serialize(self.activation),
            "init_mode": self.init_mode,
            "seed": self.seed,
        }

"""Stacks neighboring frames into one."""

from typing import Any

import keras
from keras import ops

from jasper_tf.errors import UserError
from jasper_tf.features.valid_frames import valid_frames


@keras.saving.register_keras_serializable(package="jasper_tf")
class FrameSplicing(keras.layers.Layer):
    """Stacks frame t with the frames t+1 ... t+k-1.

    NeMo's `frame_splicing: k` repeats the same frame k times instead, so a network trained there with k > 1 saw other
    features than these.

    Args:
        frame_splicing: k, frames in a stack; 1 turns it off.

    Call arguments:
        features: [B, T, F].
        feature_len: [B] int, valid frames; frames beyond are stacked as zeros.

    Returns:
        features [B, T, F * k] float32 and feature_len [B] int32, unchanged.

    Raises:
        UserError: `frame_splicing` below 1.
    """

    def __init__(self, frame_splicing: int = 1, **kwargs: Any):
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        if frame_splicing < 1:
            raise UserError(f"preprocessor.frame_splicing: {frame_splicing} must be at least 1")
        self.frame_splicing = frame_splicing

    def call(self, features, feature_len):
        feature_len = ops.cast(feature_len, "int32")
        if self.frame_splicing > 1:
            frames = ops.shape(features)[1]
            zeroed = ops.where(ops.expand_dims(valid_frames(feature_len, frames), -1), features, 0.0)
            zeroed = ops.pad(zeroed, [[0, 0], [0, self.frame_splicing - 1], [0, 0]])
            features = ops.concatenate([zeroed[:, k : frames + k] for k in range(self.frame_splicing)], axis=-1)
        return features, feature_len

    def compute_output_shape(self, features_shape, feature_len_shape):
        batch, frames, features = features_shape
        return (batch, frames, features * self.frame_splicing), tuple(feature_len_shape)

    def compute_output_spec(self, features, feature_len):
        features_shape, length_shape = self.compute_output_shape(features.shape, feature_len.shape)
        return keras.KerasTensor(features_shape, "float32"), keras.KerasTensor(length_shape, "int32")

    def get_config(self):
        return super().get_config() | {"frame_splicing": self.frame_splicing}

"""Neighbouring frames side by side."""

from typing import Any

import keras
from keras import ops

from jasper_tf.errors import UserError


@keras.saving.register_keras_serializable(package="jasper_tf")
class FrameSplicing(keras.layers.Layer):
    """Stack frame t beside t+1 ... t+k-1, and keep every `frame_stride`-th stack.

    This is true stacking. NeMo's `frame_splicing: k` puts k copies of the same frame side by side and takes no
    stride, so a network trained there with k > 1 saw other features than these.

    Args:
        frame_splicing: k, frames in a stack; 1 is off.
        frame_stride: distance of two stacks, in frames.

    Call arguments:
        features: [B, T, F].
        feature_len: [B] int, valid frames; frames beyond are stacked as zeros.

    Returns:
        features [B, ceil(T / frame_stride), F * k] float32 and feature_len [B] int32, ceil(len / frame_stride): rounded
        up, so that with frame_stride <= k no valid frame is lost.

    Raises:
        UserError: an argument below 1.
    """

    def __init__(self, frame_splicing: int = 1, frame_stride: int = 1, **kwargs: Any):
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        if min(frame_splicing, frame_stride) < 1:
            raise UserError(
                f"preprocessor: frame_splicing {frame_splicing} and frame_stride {frame_stride} must be at least 1"
            )
        self.frame_splicing = frame_splicing
        self.frame_stride = frame_stride

    def call(self, features, feature_len):
        feature_len = ops.cast(feature_len, "int32")
        if self.frame_splicing > 1:
            frames = ops.shape(features)[1]
            valid = ops.arange(frames, dtype="int32")[None, :, None] < feature_len[:, None, None]
            zeroed = ops.pad(ops.where(valid, features, 0.0), [[0, 0], [0, self.frame_splicing - 1], [0, 0]])
            features = ops.concatenate([zeroed[:, k : frames + k] for k in range(self.frame_splicing)], axis=-1)
        return features[:, :: self.frame_stride], self.output_length(feature_len)

    def output_length(self, feature_len):
        """Stacks of `feature_len` frames: plain numbers, arrays or tensors."""
        return (feature_len + self.frame_stride - 1) // self.frame_stride

    def compute_output_shape(self, features_shape, feature_len_shape):
        batch, frames, features = features_shape
        frames = None if frames is None else self.output_length(frames)
        return (batch, frames, features * self.frame_splicing), tuple(feature_len_shape)

    def compute_output_spec(self, features, feature_len):
        features_shape, length_shape = self.compute_output_shape(features.shape, feature_len.shape)
        return keras.KerasTensor(features_shape, "float32"), keras.KerasTensor(length_shape, "int32")

    def get_config(self):
        return super().get_config() | {"frame_splicing": self.frame_splicing, "frame_stride": self.frame_stride}

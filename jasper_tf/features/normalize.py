"""Mean and variance normalization over the valid frames, then masking and padding of the time axis."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from jasper_tf.errors import UserError
from jasper_tf.features.valid_frames import valid_frames

# NeMo adds it to the standard deviation, not to the variance.
STD_GUARD = 1e-5


@keras.saving.register_keras_serializable(package="jasper_tf")
class FeatureNormalization(keras.layers.Layer):
    """Normalizes each utterance over its valid frames, then fills the rest and pads T to a multiple of `pad_to`.

    Args:
        normalize: "per_feature" (mean and std of each utterance and feature), "all_features" (one mean and std per
            utterance), "fixed" (given vectors) or None.
        pad_to: T is padded on the right to a multiple of it; 0 turns it off.
        pad_value: value of the frames beyond the length.
        fixed_mean, fixed_std: F numbers each; only with "fixed".

    Call arguments:
        features: [B, T, F].
        feature_len: [B] int, valid frames.

    Returns:
        features [B, T rounded up, F] float32 and feature_len [B] int32, unchanged. The standard deviation divides by
        N - 1 and gets 1e-5 added ("fixed": nothing added); an utterance of one frame becomes zeros.

    Raises:
        UserError: an unknown `normalize`, a negative `pad_to`, "fixed" without both vectors, or a deviation that is not
            above 0.

    Source: NeMo: normalize_batch and FilterbankFeatures.
    """

    def __init__(
        self,
        normalize: str | None = "per_feature",
        pad_to: int = 16,
        pad_value: float = 0.0,
        fixed_mean: Sequence[float] | None = None,
        fixed_std: Sequence[float] | None = None,
        **kwargs: Any,
    ):
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        if normalize not in ("per_feature", "all_features", "fixed", None):
            raise UserError(
                f"preprocessor.normalize: {normalize!r} is unknown; use per_feature, all_features, fixed or null"
            )
        vectors = (fixed_mean is not None) + (fixed_std is not None)
        if vectors != (2 if normalize == "fixed" else 0):
            raise UserError(
                "preprocessor.normalize: fixed_mean and fixed_std go together, and with normalize: fixed only"
            )
        # In float32, as it is used: 1e-50 is 0 there.
        if fixed_std is not None and not all(0 < np.float32(v) < np.inf for v in fixed_std):
            raise UserError("preprocessor.normalize: fixed_std must be finite and above 0; it divides the features")
        if fixed_mean is not None and not np.isfinite(np.asarray(fixed_mean, np.float32)).all():
            raise UserError("preprocessor.normalize: fixed_mean must be finite")
        if not isinstance(pad_to, int) or pad_to < 0:
            raise UserError(f"preprocessor.pad_to: {pad_to!r} must be a whole number of frames; 0 turns padding off")
        self.normalize = normalize
        self.pad_to = pad_to
        self.pad_value = pad_value
        self.fixed_mean = None if fixed_mean is None else tuple(float(v) for v in fixed_mean)
        self.fixed_std = None if fixed_std is None else tuple(float(v) for v in fixed_std)

    def call(self, features, feature_len):
        feature_len = ops.cast(feature_len, "int32")
        frames = ops.shape(features)[1]
        # Not by [:, :, None], for which LiteRT has no builtin operator.
        valid = ops.expand_dims(valid_frames(feature_len, frames), -1)
        if self.normalize == "fixed":
            mean, std = (ops.convert_to_tensor(v, "float32") for v in (self.fixed_mean, self.fixed_std))
            features = (features - mean) / std
        elif self.normalize is not None:
            features = self._standardized(features, feature_len, valid)
        return self._filled(features, valid), feature_len

    def normalize_with(self, features, feature_len, mean, std):
        """The same as a call, with statistics [F] from elsewhere in the place of the utterance's own.

        "fixed" and None have none of their own: `mean` and `std` are not used.
        """
        if self.normalize in ("fixed", None):
            return self(features, feature_len)
        feature_len = ops.cast(feature_len, "int32")
        valid = valid_frames(feature_len, ops.shape(features)[1])[:, :, None]
        return self._filled((features - mean) / (std + STD_GUARD), valid), feature_len

    def _filled(self, features, valid):
        features = ops.where(valid, features, self.pad_value)
        if self.pad_to:
            missing = -ops.shape(features)[1] % self.pad_to
            features = ops.pad(features, [[0, 0], [0, missing], [0, 0]], constant_values=self.pad_value)
        return features

    def _standardized(self, features, feature_len, valid):
        count = ops.cast(feature_len, "float32")[:, None, None]
        axes: tuple[int, ...] = (1,)
        origin = features[:, :1]
        if self.normalize == "all_features":
            count = count * features.shape[-1]
            axes, origin = (1, 2), features[:, :1, :1]
        # Relative to the first value, a constant band (digital silence) is exactly 0. Otherwise the rounding error of
        # the mean, which changes with the padding, would be amplified by 1 / 1e-5.
        features = ops.where(valid, features - origin, 0.0)
        mean = ops.sum(features, axes, keepdims=True) / ops.maximum(count, 1.0)
        centered = ops.where(valid, features - mean, 0.0)
        variance = ops.sum(ops.square(centered), axes, keepdims=True) / ops.maximum(count - 1.0, 1.0)
        return centered / (ops.sqrt(variance) + STD_GUARD)

    def compute_output_shape(self, features_shape, feature_len_shape):
        batch, frames, features = features_shape
        if frames is not None and self.pad_to:
            frames += -frames % self.pad_to
        return (batch, frames, features), tuple(feature_len_shape)

    def compute_output_spec(self, features, feature_len):
        features_shape, length_shape = self.compute_output_shape(features.shape, feature_len.shape)
        return keras.KerasTensor(features_shape, "float32"), keras.KerasTensor(length_shape, "int32")

    def get_config(self):
        names = ("normalize", "pad_to", "pad_value", "fixed_mean", "fixed_std")
        return super().get_config() | {name: getattr(self, name) for name in names}

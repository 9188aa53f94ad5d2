"""SpecAugment: masks bands of time and frequency in training."""

from typing import Any

import keras
from keras import ops

from jasper_tf.errors import UserError
from jasper_tf.features.valid_frames import valid_frames


def inside_spans(start, width, size):
    """True on the positions 0 ... size-1 of each span: start, width [B, M] int32 -> [B, M, size] bool."""
    position = ops.arange(size, dtype="int32")
    return ops.logical_and(position >= start[..., None], position < (start + width)[..., None])


def draw_below(uniform, bound):
    """Returns floor(uniform * bound) as int32: `uniform` in [0, 1), `bound` a number or a tensor that broadcasts."""
    return ops.cast(ops.floor(uniform * ops.cast(bound, "float32")), "int32")


@keras.saving.register_keras_serializable(package="jasper_tf")
class SpecAugment(keras.layers.Layer):
    """Masks `freq_masks` bands of features and `time_masks` spans of valid frames of each utterance, in training.

    Widths are floor(U * W), U uniform in [0, 1). Starts are uniform in what the width leaves of F (frequency) or of
    the utterance's length (time); a span longer than the utterance masks all of it.

    Args:
        freq_masks, time_masks: masks per utterance; 0 turns them off.
        freq_width: W of frequency masks, in features.
        time_width: W of time masks, in frames; a float up to 1 is a share of the utterance's length.
        mask_value: value of masked cells.
        seed: of the masks.

    Call arguments:
        features: [B, T, F], normalized.
        feature_len: [B] int, valid frames; nothing beyond them changes.
        training: returns `features` unchanged unless true.

    Returns:
        features [B, T, F] float32.

    Raises:
        UserError: a negative count or width, or a `time_width` that is neither whole nor a share.

    Source: Park et al. 2019 (arXiv:1904.08779), section 2, without time warping; shares: Park et al. 2020
    (arXiv:1912.05533). NeMo: SpecAugment with use_vectorized_code.
    """

    def __init__(
        self,
        freq_masks: int = 0,
        time_masks: int = 0,
        freq_width: int = 10,
        time_width: int | float = 10,
        mask_value: float = 0.0,
        seed: int = 0,
        **kwargs: Any,
    ):
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        if min(freq_masks, time_masks, freq_width, time_width) < 0:
            raise UserError(
                f"spec_augment: freq_masks {freq_masks}, time_masks {time_masks}, freq_width {freq_width} and "
                f"time_width {time_width} must not be negative"
            )
        if time_width > 1 and time_width != int(time_width):
            raise UserError(f"spec_augment.time_width: {time_width} is neither whole frames nor a share up to 1.0")
        self.freq_masks = freq_masks
        self.time_masks = time_masks
        self.freq_width = freq_width
        self.time_width = time_width
        self.mask_value = mask_value
        self.seed = seed
        self._seed_generator = keras.random.SeedGenerator(seed)

    def call(self, features, feature_len, training=None):
        if not training or not self.freq_masks + self.time_masks:
            return features
        feature_len = ops.cast(feature_len, "int32")
        batch, frames, _ = ops.shape(features)
        bands = features.shape[-1]
        uniform = keras.random.uniform((2, batch, self.freq_masks + self.time_masks), seed=self._seed_generator)
        freq_u, time_u = uniform[..., : self.freq_masks], uniform[..., self.freq_masks :]

        freq_width = ops.minimum(draw_below(freq_u[0], self.freq_width), bands)
        freq_start = draw_below(freq_u[1], bands - freq_width)
        hidden_bands = ops.any(inside_spans(freq_start, freq_width, bands), axis=1)[:, None, :]

        length = feature_len[:, None]
        is_share = isinstance(self.time_width, float) and self.time_width <= 1
        widest = self.time_width * ops.cast(length, "float32") if is_share else self.time_width
        time_width = ops.minimum(draw_below(time_u[0], widest), length)
        time_start = draw_below(time_u[1], length - time_width)
        hidden_frames = ops.any(inside_spans(time_start, time_width, frames), axis=1)[:, :, None]

        valid = valid_frames(feature_len, frames)[:, :, None]
        hidden = ops.logical_and(ops.logical_or(hidden_bands, hidden_frames), valid)
        return ops.where(hidden, self.mask_value, features)

    def compute_output_shape(self, features_shape, feature_len_shape):
        return tuple(features_shape)

    def get_config(self):
        names = ("freq_masks", "time_masks", "freq_width", "time_width", "mask_value", "seed")
        return super().get_config() | {name: getattr(self, name) for name in names}

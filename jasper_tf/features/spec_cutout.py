"""SpecCutout: masks rectangles of the spectrogram in training."""

from typing import Any

import keras
from keras import ops

from jasper_tf.errors import UserError
from jasper_tf.features.spec_augment import draw_below, inside_spans
from jasper_tf.features.valid_frames import valid_frames


@keras.saving.register_keras_serializable(package="jasper_tf")
class SpecCutout(keras.layers.Layer):
    """Sets `rect_masks` rectangles of each utterance to 0, in training.

    Sides are uniform in 0 ... rect_freq and 0 ... rect_time, both ends included; corners uniform in
    0 ... F - rect_freq and 0 ... len - rect_time. NeMo takes the padded T for len; here the rectangles fall on valid
    frames only, and in an utterance shorter than rect_time they start at its first frame and are cut at its end.

    Args:
        rect_masks: rectangles per utterance; 0 turns it off.
        rect_time, rect_freq: largest sides, in frames and features.
        seed: of the rectangles.

    Call arguments:
        features: [B, T, F], normalized.
        feature_len: [B] int, valid frames; nothing beyond them changes.
        training: returns `features` unchanged unless true.

    Returns:
        features [B, T, F] float32.

    Raises:
        UserError: a negative argument.

    Source: DeVries and Taylor 2017 (arXiv:1708.04552). NeMo: SpecCutout.
    """

    def __init__(self, rect_masks: int = 0, rect_time: int = 5, rect_freq: int = 20, seed: int = 0, **kwargs: Any):
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        if min(rect_masks, rect_time, rect_freq) < 0:
            raise UserError(
                f"spec_augment: rect_masks {rect_masks}, rect_time {rect_time} and rect_freq {rect_freq} "
                "must not be negative"
            )
        self.rect_masks = rect_masks
        self.rect_time = rect_time
        self.rect_freq = rect_freq
        self.seed = seed
        self._seed_generator = keras.random.SeedGenerator(seed)

    def call(self, features, feature_len, training=None):
        if not training or not self.rect_masks:
            return features
        feature_len = ops.cast(feature_len, "int32")
        batch, frames, _ = ops.shape(features)
        bands = features.shape[-1]
        uniform = keras.random.uniform((4, batch, self.rect_masks), seed=self._seed_generator)
        freq_start = draw_below(uniform[0], max(bands - self.rect_freq, 0) + 1)
        freq_side = draw_below(uniform[1], self.rect_freq + 1)
        time_start = draw_below(uniform[2], ops.maximum(feature_len[:, None] - self.rect_time, 0) + 1)
        time_side = draw_below(uniform[3], self.rect_time + 1)
        valid = valid_frames(feature_len, frames)
        in_time = ops.logical_and(inside_spans(time_start, time_side, frames), valid[:, None])
        in_freq = inside_spans(freq_start, freq_side, bands)
        # Counts the rectangles over each cell, [B, T, M] x [B, M, F], without an array [B, M, T, F].
        covered = ops.matmul(ops.transpose(ops.cast(in_time, "float32"), (0, 2, 1)), ops.cast(in_freq, "float32"))
        return ops.where(covered > 0, 0.0, features)

    def compute_output_shape(self, features_shape, feature_len_shape):
        return tuple(features_shape)

    def get_config(self):
        names = ("rect_masks", "rect_time", "rect_freq", "seed")
        return super().get_config() | {name: getattr(self, name) for name in names}

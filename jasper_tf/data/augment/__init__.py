"""Augmentation of the audio, before the features: NeMo's `train_ds.augmentor`."""

from jasper_tf.data.augment.augmentor import AudioAugmentor
from jasper_tf.data.augment.speed import fit_length, sped_length, speed_range

__all__ = ["AudioAugmentor", "fit_length", "sped_length", "speed_range"]

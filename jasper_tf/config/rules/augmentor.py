"""Rules of `train_ds.augmentor`: ranges, manifests, and the sample rate of a band limit."""

from __future__ import annotations

import dataclasses

from jasper_tf.config.section import MISSING
from jasper_tf.config.sections.augment_schema import AugmentorConfig, BandLimitConfig, SpeedConfig
from jasper_tf.config.source import ConfigSource, Keys


def check_augmentor(augmentor: AugmentorConfig, sample_rate: int, at: Keys, source: ConfigSource) -> None:
    """Checks the perturbations; opens no file.

    Args:
        augmentor: the section at `at`.
        sample_rate: of the audio, Hz.

    Raises:
        UserError: a lower bound above its upper bound, no manifest, one speed for two ends, or a band limit that is
            not below `sample_rate`.
    """
    for name in (field.name for field in dataclasses.fields(augmentor)):
        perturbation = getattr(augmentor, name)
        if perturbation in (None, MISSING):
            continue
        values = vars(perturbation)
        for key in [key for key in values if key.startswith("min_")]:
            upper = key.replace("min_", "max_")
            if MISSING not in (values[key], values[upper]) and values[key] > values[upper]:
                raise source.error((*at, name, key), f"{values[key]} is above {upper}, {values[upper]}")
        if not values.get("manifest_path", True):
            reason = "names no manifest; give a file of JSON lines with audio_filepath"
            raise source.error((*at, name, "manifest_path"), reason)
    speed, band = augmentor.speed, augmentor.band_limit
    if isinstance(speed, SpeedConfig) and speed.num_rates == 1:
        low, high = speed.min_speed_rate, speed.max_speed_rate
        if MISSING not in (low, high) and low != high:
            reason = f"1 rate cannot be both ends of {low} to {high}; take 2 or more, or equal ends"
            raise source.error((*at, "speed", "num_rates"), reason)
    if not isinstance(band, BandLimitConfig) or MISSING in (band.sample_rate, sample_rate):
        return
    if band.sample_rate >= sample_rate:
        reason = f"{band.sample_rate} Hz limits nothing; use a rate below the model's {sample_rate} Hz"
        raise source.error((*at, "band_limit", "sample_rate"), reason)

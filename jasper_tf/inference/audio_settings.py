"""Audio settings of a model's validation, from the model's own configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jasper_tf.audio.load import ChannelSelector
from jasper_tf.config import Config
from jasper_tf.config.section import MISSING
from jasper_tf.config.source import ConfigSource
from jasper_tf.export.saved_model.folder import EXTRA, find_saved_model
from jasper_tf.inference.model_path import find_edge_model, local_model
from jasper_tf.inference.pretrained_config import load_config
from jasper_tf.interop.nemo.archive import CONFIG, NemoArchive, read_archive
from jasper_tf.interop.nemo.config import from_nemo_config

_SECTIONS = ("validation_ds", "test_ds")


@dataclass(frozen=True)
class AudioSettings:
    """Settings for reading an utterance's audio.

    Attributes:
        channel_selector: "average" or the number of a channel, counted from 0.
        trim_silence: whether silence at both ends is cut off.
        source: where the settings come from, for messages.
    """

    channel_selector: ChannelSelector = "average"
    trim_silence: bool = False
    source: str = "defaults"


def read_audio_settings(model: str | Path) -> AudioSettings:
    """Reads the settings of `model.validation_ds`, or else of `model.test_ds`; the defaults where neither is known.

    Args:
        model: what `load_recognizer` takes.

    Raises:
        UserError: the configuration of the model cannot be read.
    """
    found = _find_config(local_model(model))
    if found is not None:
        config, where = found
        for name in _SECTIONS:
            section = getattr(config.model, name)
            if section not in (None, MISSING) and MISSING not in (section.channel_selector, section.trim_silence):
                return AudioSettings(section.channel_selector, section.trim_silence, f"model.{name} of {where}")
    return AudioSettings()


def _find_config(model: Path) -> tuple[Config, str] | None:
    if model.suffix == ".nemo":
        return _from_nemo(read_archive(model), f"{model}: {CONFIG}", model.stem)
    if edge := find_edge_model(model):
        file = edge.with_name("config.yaml")
    elif exported := find_saved_model(model):
        file = exported / EXTRA / "config.yaml"
    elif model.is_dir() or model.name == "model.keras":
        file = (model if model.is_dir() else model.parent) / "config.yaml"
    else:  # the configuration in the folder may be another model's
        return None
    if not file.is_file():
        return None
    if "model" in ConfigSource.from_file(file).tree:
        return load_config(file), str(file)
    return _from_nemo(NemoArchive(file.read_bytes(), b""), str(file), model.stem)  # exported from an archive


def _from_nemo(archive: NemoArchive, source: str, name: str) -> tuple[Config, str]:
    # The generation of the features is not in an archive, and does not matter here.
    return from_nemo_config(archive, source, name, "modern")[0], source

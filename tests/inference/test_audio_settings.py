"""How a model's validation reads audio: from a run's folder, a NeMo archive, an export, or not known."""

import io
import tarfile

import pytest
import yaml

from jasper_tf.config import config_from_dict
from jasper_tf.errors import UserError
from jasper_tf.export.saved_model.writer import EXTRA
from jasper_tf.inference.audio_settings import AudioSettings, read_audio_settings

BLOCK = {"filters": 8, "repeat": 1, "kernel": [11], "stride": [2], "dilation": [1], "dropout": 0.0, "residual": False}
MODEL = {
    "labels": ["a", "b"],
    "preprocessor": {},
    "encoder": {"feat_in": 64, "jasper": [BLOCK]},
    "decoder": {},
    "optim": {"lr": 0.01},
}


def resolved(**sections):
    return config_from_dict({"name": "small", "model": {**MODEL, **sections}}).to_dict()


@pytest.mark.parametrize(
    ("sections", "wanted"),
    [
        ({"validation_ds": {"channel_selector": 1}, "test_ds": {"trim_silence": True}}, (1, False, "validation_ds")),
        ({"test_ds": {"trim_silence": True}}, ("average", True, "test_ds")),
        ({"train_ds": {"trim_silence": True}}, ("average", False, None)),
    ],
)
def test_of_a_run_and_of_its_export(tmp_path, sections, wanted):
    channel, trim, section = wanted
    for place in ("config.yaml", f"exported/7/{EXTRA}/config.yaml"):
        file = tmp_path / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(resolved(**sections)))
    (tmp_path / "exported" / "7" / "saved_model.pb").touch()
    for model in (tmp_path, tmp_path / "model.keras", tmp_path / "exported", tmp_path / "exported" / "7"):
        found = read_audio_settings(model)
        assert (found.channel_selector, found.trim_silence) == (channel, trim)
        assert found.source.startswith(f"model.{section} of {tmp_path}" if section else "defaults")
    assert read_audio_settings(tmp_path / "averaged.keras") == AudioSettings()


def test_of_an_archive_and_of_its_export(tmp_path):
    content = yaml.safe_dump(resolved(validation_ds={"trim_silence": True, "channel_selector": 2})["model"]).encode()
    with tarfile.open(tmp_path / "small.nemo", "w") as tar:
        for name, member in (("model_config.yaml", content), ("model_weights.ckpt", b"PK")):
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(member)
            tar.addfile(info, io.BytesIO(member))
    (tmp_path / "1" / EXTRA).mkdir(parents=True)
    (tmp_path / "1" / "saved_model.pb").touch()
    (tmp_path / "1" / EXTRA / "config.yaml").write_bytes(content)
    for model in ("small.nemo", "1"):
        found = read_audio_settings(tmp_path / model)
        assert (found.channel_selector, found.trim_silence) == (2, True) and "validation_ds" in found.source


def test_a_broken_configuration_is_one_line(tmp_path):
    (tmp_path / "config.yaml").write_text("model: [")
    with pytest.raises(UserError, match=r"config.yaml[^\n]*$"):
        read_audio_settings(tmp_path)

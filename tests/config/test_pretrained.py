"""Sections that a configuration leaves to a pretrained model are handed in; the configuration reads no model."""

import pytest
import yaml

from jasper_tf.config import load_config
from jasper_tf.errors import UserError

BLOCK = {"filters": 8, "repeat": 1, "kernel": [11], "stride": [2], "dilation": [1], "dropout": 0.0, "residual": False}
SECTIONS = {
    "sample_rate": 8000,
    "labels": ["a", "b"],
    "preprocessor": {"features": 32},
    "encoder": {"feat_in": 32, "jasper": [BLOCK]},
}


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "fine.yaml"
    values = {"name": "fine", "init_from_nemo_model": "a.nemo", "model": {"decoder": {}, "optim": {"lr": 0.1}}}
    file.write_text(yaml.safe_dump(values))
    return file


def test_sections_are_handed_in(file):
    asked = []

    def read_sections(key, path):
        asked.append((key, path))
        return SECTIONS

    overrides = [
        "init_from_nemo_model=b.nemo",
        "model.preprocessor.dither=0",
        "model.labels=[c]",
        "model.encoder.recompute=true",
    ]
    config = load_config(file, overrides, pretrained=read_sections)
    assert asked == [("init_from_nemo_model", "b.nemo")]
    assert (config.model.sample_rate, config.model.labels) == (8000, ["c"])
    assert (config.model.preprocessor.features, config.model.preprocessor.dither) == (32, 0)
    assert config.model.encoder.recompute and len(config.model.encoder.jasper) == 1
    assert config.taken_over == ["sample_rate", "preprocessor", "encoder"]


def test_without_a_reader_the_key_is_named(file):
    with pytest.raises(UserError, match=r"fine.yaml:1: init_from_nemo_model: is not read here; write its sample_rate"):
        load_config(file)

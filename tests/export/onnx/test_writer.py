"""Exported ONNX folders: sizes, texts of trained models, and what a user does wrong."""

import sys

import numpy as np
import pytest

from jasper_tf.errors import UserError
from jasper_tf.export.edge.calibration import read_calibration
from jasper_tf.export.edge.formats import open_model
from jasper_tf.export.edge.verification import verify
from jasper_tf.export.edge.writer import export_edge
from jasper_tf.inference.load_model import load_model
from tests.export.edge.models import small_model


def export(model, folder, quantize="none", **options):
    said = []
    export_edge(model, folder, "onnx", quantize, say=said.append, **options)
    return folder / "model.onnx", said


@pytest.fixture(scope="module")
def an4(shared):
    """The trained model, and 20 recordings that it has not seen."""
    manifest = shared / "data" / "an4" / "dev_manifest.json"
    clips = read_calibration(str(manifest), 16000, lambda line: None)
    return load_model(shared / "pretrained" / "an4_anchor.nemo"), clips[::5]


@pytest.mark.medium
@pytest.mark.parametrize(
    ("quantize", "largest_mb", "most_difference", "fewest_equal"),
    [("none", 5.2, 1e-4, 18), ("float16", 3.0, 0.1, 17), ("int8-dynamic", 2.0, 1.5, 15), ("int8-static", 2.0, 5.0, 13)],
)
def test_a_trained_model_keeps_its_texts(an4, shared, tmp_path, quantize, largest_mb, most_difference, fewest_equal):
    model, clips = an4
    train = tmp_path / "train.jsonl"
    lines = (shared / "data" / "an4" / "train_manifest.json").read_text().splitlines(keepends=True)[::40]
    train.write_text("".join(lines).replace('"audio_filepath": "', f'"audio_filepath": "{shared}/data/an4/'))
    file, _ = export(model, tmp_path / "edge", quantize, calibration=str(train))
    assert file.stat().st_size < largest_mb * 1e6
    found = verify(model, open_model(file), clips)
    assert found.max_difference < most_difference and found.texts_equal >= fewest_equal


@pytest.mark.slow
def test_quartznet_keeps_its_texts(shared, tmp_path):
    model = load_model(shared / "pretrained" / "quartznet15x5_en.nemo")
    data = shared / "data" / "librispeech_mini"
    clips = read_calibration(str(data / "test_manifest.json"), 16000, lambda line: None)[::4]
    file, _ = export(model, tmp_path / "edge")
    found = verify(model, open_model(file), clips)
    # 85 convolutions in float32: in a few frames Keras and ONNX Runtime are 5e-3 apart, and 4e-3 and 2e-3 from float64.
    assert found.texts_equal == len(clips) and found.p99_difference < 1e-3 and found.max_difference < 2e-2


def test_a_model_that_is_not_one_is_refused(tmp_path):
    file, _ = export(small_model(), tmp_path / "edge")
    whole = file.read_bytes()
    for name, content in (("cut", whole[:3000]), ("other", b"PK" + bytes(100)), ("empty", b"")):
        broken = tmp_path / f"{name}.onnx"
        broken.write_bytes(content)
        with pytest.raises(UserError, match=f"{name}.onnx"):
            open_model(broken)
    import onnx

    model = onnx.load(file)
    model.graph.output[0].name = "other"
    model.graph.node.append(onnx.helper.make_node("Identity", ["log_probs"], ["other"]))
    onnx.save(model, tmp_path / "renamed.onnx")
    with pytest.raises(UserError, match="not a model of export.py"):
        open_model(tmp_path / "renamed.onnx")
    with pytest.raises(UserError, match="failed"):
        open_model(file).log_probs(np.zeros((2, 5000), np.float32), np.zeros(3, np.int32))


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named(monkeypatch, tmp_path, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"needs {package}; pip install 'jasper-tf\[onnx\]'"):
        export(small_model(), tmp_path / "edge")
    assert not (tmp_path / "edge").exists()

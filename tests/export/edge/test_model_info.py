"""model.json says all that a program needs, and what is wrong with a damaged one."""

import json

import pytest

from jasper_tf.config.sections.decoding_schema import DecodingConfig
from jasper_tf.errors import UserError
from jasper_tf.export.edge.model_info import ModelInfo, read_model_info
from jasper_tf.text.tokenizer import CharacterTokenizer

INFO = ModelInfo(
    format="litert",
    file="model.tflite",
    quantization="int8-dynamic",
    sample_rate=16000,
    tokenizer=CharacterTokenizer(list(" aé")),
    min_samples=160,
    frame_stride_samples=320,
    decoding=DecodingConfig(strategy="beam"),
    files=("labels.txt", "model.json", "model.tflite"),
    verification={"clips": 3},
    versions={"keras": "3.15"},
)


def test_what_is_written_is_read(tmp_path):
    file = tmp_path / "model.json"
    file.write_text(INFO.to_json(), encoding="utf-8")
    read = read_model_info(file)
    assert read.to_json() == INFO.to_json()
    assert read.tokenizer.pieces == (" ", "a", "é") and read.decoding == INFO.decoding and read.frame_s == 0.02
    about = json.loads(file.read_text(encoding="utf-8"))
    assert about["labels"] == [" ", "a", "é"] and about["blank"] == 3  # for programs in other languages


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format_version", 2, "update"),
        ("sample_rate", 16000.5, "sample_rate"),
        ("sample_rate", 0, "sample_rate"),
        ("frame_stride_samples", True, "frame_stride_samples"),
        ("tokenizer", {"type": "hieroglyphs"}, "hieroglyphs"),
        ("tokenizer", None, "not supported"),
        ("decoding", {"strategy": "guess"}, "guess"),
        ("files", ["../../etc/passwd"], "passwd"),
        ("files", 5, "damaged"),
        ("file", "..", "files"),
        ("quantization", None, "not texts"),
    ],
)
def test_a_damaged_file_is_named_with_its_key(tmp_path, key, value, message):
    file = tmp_path / "model.json"
    file.write_text(json.dumps(json.loads(INFO.to_json()) | {key: value}))
    with pytest.raises(UserError, match=f"model.json: .*{message}"):
        read_model_info(file)


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"{}", b"[" * 100_000])
def test_what_is_no_such_file_is_said(tmp_path, content):
    (tmp_path / "model.json").write_bytes(content)
    with pytest.raises(UserError, match="model.json: "):
        read_model_info(tmp_path / "model.json")

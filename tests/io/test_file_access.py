"""Why a file cannot be opened, and how a manifest says it."""

import os

import pytest

from jasper_tf.data.manifest.line import LineFileError, parse_line
from jasper_tf.io.file_access import why_no_access

WRONG = {"gone": "missing", "gone/deeper": "missing", "folder": "unreadable", "pipe": "unreadable"}
WRONG |= {"loop": "unreadable", "link": "missing", "x" * 300: "unreadable"}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "file").write_bytes(b"1")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    (tmp_path / "to_file").symlink_to(tmp_path / "file")
    return tmp_path


def test_each_reason(folder):
    assert why_no_access(f"{folder}/file") is None and why_no_access(f"{folder}/to_file") is None
    assert {name: why_no_access(f"{folder}/{name}").kind for name in WRONG} == WRONG
    assert why_no_access(f"{folder}/\0").kind == "unreadable"
    assert len({why_no_access(f"{folder}/{name}").reason for name in ("gone", "folder", "pipe", "loop")}) == 4


@pytest.mark.parametrize("key", ["audio_filepath", "text_filepath"])
@pytest.mark.parametrize("name", WRONG)
def test_a_line_that_names_it(folder, key, name):
    other = '"text": "a"' if key == "audio_filepath" else '"audio_filepath": "file"'
    line = f'{{"{key}": "{name}", {other}, "duration": 1.0}}'.encode()
    with pytest.raises(LineFileError) as raised:
        parse_line(line, str(folder), "m.json:1")
    assert (raised.value.key, raised.value.kind) == (key, WRONG[name])
    assert ("no such file" in str(raised.value)) == (WRONG[name] == "missing")

"""What a command line names: files, folders, patterns, manifests, standard input."""

import io
import json
import os

import pytest

from jasper_tf.errors import UserError
from jasper_tf.inference.inputs import find_inputs, output_names
from jasper_tf.io.object_storage import write_remote


class Pipe(io.BytesIO):
    pass


class Terminal(io.BytesIO):
    def isatty(self):
        return True


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.wav", "a.FLAC", "notes.txt", ".hidden.wav", "deep/er/c.m4a", ".git/d.wav", "deep/[1].wav", "e.raw"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"RIFF")
    (tmp_path / "empty").mkdir()
    return tmp_path


def names(*arguments, stdin=None):
    return [one.name if one.error is None else str(one.error) for one in find_inputs(arguments, stdin or Pipe())]


def test_files_folders_and_patterns(folder):
    everything = ["a.FLAC", "b.wav", "deep/[1].wav", "deep/er/c.m4a"]
    assert names(".") == [os.path.join(".", name) for name in everything]
    assert names("b.wav", "e.raw", "b.wav") == ["b.wav", "e.raw", "b.wav"]  # a named file has any suffix
    assert names("*.wav", "**/*.m4a") == ["b.wav", "deep/er/c.m4a"]
    assert names("deep/[1].wav") == ["deep/[1].wav"]  # a name, not a pattern
    assert names("dee*") == ["deep/[1].wav", "deep/er/c.m4a"]
    assert names("gs://bucket/*.wav") == ["gs://bucket/*.wav"]


def test_what_is_no_recording(folder):
    (folder / "run.yaml").write_text("a: 1\n")
    (folder / "words.json").write_text('{"a": 1}\n')
    (folder / "pretty.json").write_text('{\n  "audio_filepath": "b.wav"\n}\n')
    (folder / "nothing.jsonl").write_text("\n")
    wrong = {
        "run.yaml": "run.yaml: is a .yaml file",
        "not*.txt": "notes.txt: is a .txt file",
        "empty": "empty: holds no audio",
        "x?": "x?: matches no file",
        "gone.wav": "gone.wav: no such file",
        "words.json": "words.json:1: has no audio_filepath",
        "pretty.json": "pretty.json:1: not JSON",
        "nothing.jsonl": "nothing.jsonl: the manifest holds no recording",
    }
    for line, said in zip(names(*wrong), wrong.values(), strict=True):
        assert line.startswith(said) and len(line.splitlines()) == 1


def test_a_manifest_in_object_storage():
    pytest.importorskip("fsspec", reason="needs fsspec: pip install 'jasper-tf[cloud]'")
    write_remote("memory://corpus/m.jsonl", b'{"audio_filepath": "a.wav", "duration": 1, "text": "yes"}\n')
    [found] = find_inputs(["memory://corpus/m.jsonl"], Pipe())
    assert (found.name, found.line) == ("memory://corpus/a.wav", "memory://corpus/m.jsonl:1")
    [gone] = find_inputs(["memory://corpus/gone.jsonl"], Pipe())
    assert gone.absent and "gone.jsonl" in str(gone.error)


def test_a_manifest(folder):
    lines = [
        {"audio_filepath": "b.wav", "offset": 1.5, "duration": 2.0, "text_filepath": "absent.txt"},
        {"audio_filepath": "gone.wav", "duration": 1.0, "text": "yes"},
        {"audio_filepath": "b.wav", "duration": -1},
        {"audio_filepath": str(folder / "a.FLAC"), "duration": 3, "text": 7},
    ]
    (folder / "m.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    found = find_inputs([str(folder / "m.jsonl")], Pipe())
    assert [one.name for one in found] == [
        str(folder / "b.wav"),
        f"{folder}/m.jsonl:2",
        f"{folder}/m.jsonl:3",
        str(folder / "a.FLAC"),
    ]
    assert found[0].part == {"offset": 1.5, "duration": 2.0} and found[0].source.offset_s == 1.5
    assert "gone.wav" in str(found[1].error) and "duration" in str(found[2].error)
    assert found[3].line == f"{folder}/m.jsonl:4"


def test_standard_input(folder):
    pipe = Pipe(b"RIFF")
    [one] = find_inputs(["-"], pipe)
    assert one.name == "-" and one.source is pipe
    for arguments, stdin in ((["-", "b.wav", "-"], pipe), (["-"], Terminal()), (["-"], None)):
        with pytest.raises(UserError, match="^-: "):
            find_inputs(arguments, stdin)


def test_names_of_files_to_write(folder):
    (folder / "B.wav").write_bytes(b"")
    (folder / "b.mp3").write_bytes(b"")
    (folder / "b-2.wav").write_bytes(b"")
    (folder / "...wav").write_bytes(b"")
    found = find_inputs(["b.wav", "deep", "b.mp3", "B.wav", "b-2.wav", "-", "...wav"], Pipe())
    made = output_names(found)
    assert made[:7] == ["b", "[1]", "c", "b-2", "B-3", "b-2-2", "stdin"] and made[7]
    assert len({name.casefold() for name in made}) == len(made)

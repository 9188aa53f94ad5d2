"""What a command may write, given what it reads and what is there."""

import os

import pytest

from jasper_tf.errors import UserError
from jasper_tf.io.validate_outputs import Output, validate_outputs


@pytest.fixture
def paths(tmp_path, monkeypatch):
    """Spellings of one file in the working folder: itself, other names, links."""
    (tmp_path / "in.jsonl").write_text("{}\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "soft").symlink_to("in.jsonl")
    os.link(tmp_path / "in.jsonl", tmp_path / "hard")
    monkeypatch.chdir(tmp_path)
    return ["in.jsonl", "./in.jsonl", "sub/../in.jsonl", str(tmp_path / "in.jsonl"), "soft", "hard"]


def refused(outputs, inputs=(), overwrite=True, **options) -> str:
    with pytest.raises(UserError) as caught:
        validate_outputs(outputs, inputs, overwrite, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_input_is_never_an_output(paths):
    for one in paths:
        for other in paths:
            assert "same file" in refused([Output("--output", one)], [None, "absent", other])
    os.mkfifo("pipe")
    assert "same file" in refused([Output("--output", "pipe")], ["pipe"])


@pytest.mark.parametrize("exists", [True, False])
def test_two_outputs_are_two_files(paths, tmp_path, exists):
    if not exists:
        (tmp_path / "in.jsonl").unlink()
        paths.remove("hard")
    for one in paths:
        for other in paths:
            message = refused([Output("--output", one), Output("--json", other)])
            assert message.startswith("--json ") and "--output" in message


def test_only_overwrite_replaces(paths):
    message = refused([Output("--output", "in.jsonl")], overwrite=False)
    assert "in.jsonl" in message and "--overwrite" in message
    validate_outputs([Output("--output", "in.jsonl")], [], overwrite=True)
    validate_outputs([Output("--output", "new")], ["in.jsonl"], overwrite=False)


TEXT = b'{"text": "\xc3\xa4"}\n'


@pytest.mark.parametrize(
    ("name", "content", "kinds"),
    [
        ("a.json", TEXT, {"text", "config"}),
        ("a", b"", {"text", "config", "keras", "nemo", "png", "wav", "arpa"}),
        ("cut.txt", b"x" * 4095 + "ä".encode(), {"text", "config"}),
        ("a.yaml", TEXT, {"config"}),
        ("a.keras", TEXT, {"config"}),
        ("A.WAV", TEXT, {"config"}),
        ("latin.txt", b"gr\xfcn", set()),
        ("a.bin", b"text\0", set()),
        ("b.keras", b"PK\x03\x04\0", {"keras"}),
        ("a.nemo", b"\x1f\x8b", {"nemo", "arpa"}),
        ("b.nemo", bytes(257) + b"ustar", {"nemo"}),
        ("a.png", b"\x89PNG\r\n\x1a\n", {"png"}),
        ("a.wav", b"RIFF\x80WAVE", {"wav"}),
        ("a.arpa", b"\\data\\\n", {"text", "config", "arpa"}),
    ],
)
def test_only_its_own_kind_is_replaced(tmp_path, name, content, kinds):
    (tmp_path / name).write_bytes(content)
    (tmp_path / "link").symlink_to(name)
    for kind in ("text", "config", "keras", "nemo", "png", "wav", "arpa"):
        for path in (tmp_path / name, tmp_path / "link"):
            if kind in kinds:
                validate_outputs([Output("--output", path, kind)], [], overwrite=True)
            else:
                assert "not what this command writes" in refused([Output("--output", path, kind)])


def test_devices_and_pipes_are_always_free(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    outputs = [Output("--output", "/dev/null"), Output("--json", "/dev/null"), Output("--list", tmp_path / "pipe")]
    validate_outputs(outputs, ["/dev/null"], overwrite=False)
    with open(tmp_path / "a", "w") as file:
        validate_outputs([Output("--output", f"/dev/fd/{file.fileno()}", "png")], [], overwrite=False)


def test_folders(tmp_path):
    assert "is a folder" in refused([Output("--output", tmp_path)])
    assert "no folder" in refused([Output("--output", tmp_path / "no" / "a")])
    validate_outputs([Output("--output", tmp_path / "no" / "a")], [], overwrite=False, makes_folders=True)

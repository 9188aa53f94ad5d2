import json
import os

import numpy as np
import pytest
import soundfile

from jasper_tf.data.manifest import scan as manifest_scan
from jasper_tf.data.manifest.columns import Utterance, manifest_paths, read_manifest
from jasper_tf.errors import UserError
from jasper_tf.io.object_storage import write_remote


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "wavs").mkdir()
    soundfile.write(tmp_path / "wavs" / "a.wav", np.zeros(12000, np.int16), 8000)
    return tmp_path


def line(**changes):
    entry = {"audio_filepath": "wavs/a.wav", "duration": 1.5, "text": "yes"} | changes
    return json.dumps({key: value for key, value in entry.items() if value is not ...}).encode()


def written(folder, *lines, name="m.json"):
    path = folder / name
    path.write_bytes(b"\n".join(lines))
    return str(path)


def test_every_key_of_a_line(folder):
    path = written(folder, line(offset=0.5, duration=0.25, speaker="fash", tags=[1, None]))
    expected = Utterance(
        str(folder / "wavs" / "a.wav"), 0.5, 0.25, "yes", f"{path}:1", {"speaker": "fash", "tags": [1, None]}
    )
    assert list(read_manifest(path)) == [expected]


def test_absolute_paths_and_other_working_folder(folder, monkeypatch):
    absolute = str(folder / "wavs" / "a.wav")
    written(folder, line(audio_filepath=absolute), line())
    monkeypatch.chdir(folder)
    assert [u.path for u in read_manifest("m.json")] == [absolute, absolute]


def test_duration_from_the_header(folder):
    first, second = read_manifest(written(folder, line(duration=...), line(duration=None, offset=0.5)))
    assert first.duration_s == 1.5 and second.duration_s == 1.0


def test_text_from_a_file(folder):
    (folder / "a.txt").write_bytes("\ufeffone\r\ntwo\r\n".encode())
    (utterance,) = read_manifest(written(folder, line(text=..., text_filepath="a.txt")))
    assert utterance.text == "one two" and utterance.extra == {}


def test_bom_crlf_blank_lines_and_odd_separators(folder):
    text = "one\u2028two"
    odd = json.dumps({"audio_filepath": "wavs/a.wav", "duration": 1, "text": text}, ensure_ascii=False).encode()
    path = written(folder, b"\xef\xbb\xbf" + line() + b"\r", b"", b"  \r", odd, b"")
    utterances = read_manifest(path)
    assert [u.text for u in utterances] == ["yes", text]
    assert [u.source for u in utterances] == [f"{path}:1", f"{path}:4"]


@pytest.mark.parametrize("as_list", [True, False])
def test_several_manifests_in_order(folder, as_list):
    paths = [written(folder, line(text=name), name=name) for name in ("one", "two", "three")]
    given = paths if as_list else f"{paths[0]}, {paths[1]},{paths[2]}"
    assert [u.text for u in read_manifest(given)] == ["one", "two", "three"]


def test_home_folder_is_expanded(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    written(folder, line(audio_filepath="~/wavs/a.wav"))
    assert read_manifest("~/m.json")[0].path == str(folder / "wavs" / "a.wav")


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (b"{'audio_filepath': 1}", "not JSON"),
        (b"[1]", "a JSON list, not an object"),
        (b'{"text": "\xe9"}', "not UTF-8"),
        (line(audio_filepath=...), "audio_filepath is missing"),
        (line(audio_filepath=3), "audio_filepath is 3"),
        (line(audio_filepath="wavs/b.wav"), "audio_filepath: no such file .*/wavs/b.wav"),
        (line(duration="1.5"), "duration is '1.5'"),
        (line(duration=True), "duration is True"),
        (line(duration=-1), "duration is -1"),
        (line(duration=float("nan")), "duration is nan"),
        (line(duration=0), "duration is 0"),
        (line(offset=-0.1), "offset is -0.1"),
        (line(offset=1.5, duration=None), "offset 1.5 s is beyond the end of"),
        (line(text=...), "neither text nor text_filepath"),
        (line(text=7), "text is 7"),
        (line(text=..., text_filepath="b.txt"), "text_filepath: no such file .*b.txt"),
    ],
)
def test_broken_lines_name_manifest_line_and_reason(folder, broken, reason):
    path = written(folder, line(), b"", broken)
    with pytest.raises(UserError, match=reason) as raised:
        read_manifest(path)
    message = str(raised.value)
    assert message.startswith(f"{path}:3: ") and "\n" not in message and "more broken" not in message


def test_unreadable_sound_without_duration_is_a_broken_line(folder):
    (folder / "b.wav").write_bytes(b"junk")
    with pytest.raises(UserError, match=r"m\.json:1: .*b\.wav: cannot be decoded"):
        read_manifest(written(folder, line(audio_filepath="b.wav", duration=...)))


def test_the_first_broken_line_and_how_many_more(folder):
    first = written(folder, line(), line(text=7), b"{", name="one")
    second = written(folder, b"[]", line(), name="two")
    with pytest.raises(UserError, match=r"one:2: text is 7.* \(and 2 more broken lines\)"):
        read_manifest([first, second])


def test_missing_and_empty_manifests(folder):
    with pytest.raises(UserError, match=r"gone\.json: no such file; check the path of this manifest"):
        read_manifest(str(folder / "gone.json"))
    with pytest.raises(UserError, match=r"m\.json: the manifest holds no utterance"):
        read_manifest(written(folder, b"", b"\r"))
    for nothing in ("", " , ", []):
        with pytest.raises(UserError, match="no manifest is given"):
            manifest_paths(nothing)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (b'{"audio_filepath": "wavs/a.wav", "text": "a", "text": "b"}', "the key 'text' is there twice; keep one"),
        (b'{"audio_filepath": "wavs/a.wav", "text" :"a", "text":"b"}', "the key 'text' is there twice; keep one"),
        (line(audio_filepath="wavs\\a.wav"), r"no such file .*wavs\\a.wav; Windows separators: write wavs/a.wav"),
        (line(audio_filepath="wavs"), "audio_filepath: .*/wavs is a directory, not a file"),
        (line()[:40], "not JSON .*; the line is cut off; write one JSON object per line"),
        (line(record=[1]), r"record is \[1\]; it must be \[first byte, bytes\]"),
        (line(duration=10**400), "duration is 1000"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_more_broken_lines(folder, broken, reason):
    with pytest.raises(UserError, match=reason) as raised:
        read_manifest(written(folder, line(), broken))
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 400


def test_parts_scanned_by_processes_give_what_one_scan_gives(folder, monkeypatch):
    lines = [line(text=f"line {n}", offset=n / 1000) for n in range(200)] + [b"", b"\r"] + [line(text="caf\u00e9")]
    path = written(folder, *lines)
    whole = read_manifest(path)
    monkeypatch.setattr(manifest_scan, "PART_BYTES", 7000)
    parts = read_manifest(path)
    assert list(parts) == list(whole) and len(parts) == 201
    assert parts[200].source == f"{path}:203" and parts[-1].text == "caf\u00e9" and parts[3:5] == whole[3:5]
    np.testing.assert_array_equal(parts.duration_s, whole.duration_s)
    np.testing.assert_array_equal(parts.characters, whole.characters)
    assert parts.alphabet == whole.alphabet and "\u00e9" in parts.alphabet
    lines[20] = line(text=...)
    assert read_manifest(written(folder, *lines), texts=False)[20].text == ""
    lines[150], lines[180] = b"{", line(text=7)
    with pytest.raises(UserError, match=r"m\.json:151: not JSON .* \(and 1 more broken line\)"):
        read_manifest(written(folder, *lines), texts=False)


def test_a_manifest_replaced_while_it_is_read(folder):
    path = written(folder, line(text="old"), line(text="older"))
    manifest = read_manifest(path)
    written(folder, line(text="new"), name="beside.json")
    (folder / "beside.json").rename(path)
    assert [u.text for u in manifest] == ["old", "older"]


def test_a_manifest_written_over_while_it_is_read(folder):
    path = written(folder, line(text="old"), line(text="older"))
    manifest = read_manifest(path)
    os.utime(path, ns=(0, 0))
    with pytest.raises(UserError, match=r"m\.json: the manifest was changed while it was read; start again"):
        manifest[0]


def test_a_manifest_in_object_storage(folder):
    absolute = str(folder / "wavs" / "a.wav")
    write_remote("memory://m.json", line(audio_filepath=absolute))
    (utterance,) = read_manifest("memory://m.json")
    assert utterance.path == absolute and utterance.source == "memory://m.json:1"
    with pytest.raises(UserError, match=r"memory://gone\.json: no such file"):
        read_manifest("memory://gone.json")


@pytest.mark.parametrize("make", ["fifo", "folder", "zero", "nul", "long name"])
def test_what_is_no_manifest(folder, make):
    path = folder / "m.json"
    if make == "fifo":
        os.mkfifo(path)
    elif make == "folder":
        path.mkdir()
    name = {"zero": "/dev/zero", "nul": f"{path}\0", "long name": f"{folder}/{'x' * 5000}"}.get(make, str(path))
    with pytest.raises(UserError) as raised:
        read_manifest(name)
    assert str(raised.value).isprintable() and len(str(raised.value)) < 500


@pytest.mark.parametrize("size", [1 << 21, 10**11])
@pytest.mark.parametrize("before", [0, 1])
def test_a_line_without_an_end_is_not_read_to_its_end(folder, size, before):
    path = written(folder, *[line()] * before, b"")
    with open(path, "r+b") as file:
        file.truncate(size)  # sparse: zeros that take no room on the disk
    with pytest.raises(UserError, match=rf"m\.json:{before + 1}: longer than 1,048,576 bytes"):
        read_manifest(path)


def test_a_long_gap_between_lines_is_not_read_for_an_utterance(folder):
    path = written(folder, line(), b"\n" * 3_000_000, line(text="no"))
    assert [utterance.text for utterance in read_manifest(path)] == ["yes", "no"]


def test_a_large_text_file_is_not_read(folder):
    with open(folder / "t.txt", "wb") as file:
        file.truncate(10**11)
    with pytest.raises(UserError, match=r"text_filepath: .*/t\.txt: larger than 1,048,576 bytes"):
        read_manifest(written(folder, line(text=..., text_filepath="t.txt")))


def test_a_recording_is_no_manifest(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(1600), 16000)
    with pytest.raises(UserError, match=r"a\.wav: is a recording; a manifest"):
        read_manifest(str(tmp_path / "a.wav"))

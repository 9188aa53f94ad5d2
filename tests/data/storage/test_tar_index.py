"""NeMo's tarred datasets, read where they are."""

import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from jasper_tf.audio.load import load_audio
from jasper_tf.data.manifest.columns import read_manifest
from jasper_tf.data.manifest.manifest_file import ManifestFile
from jasper_tf.data.storage.tar_index import TarIndex, expand_tar_paths
from jasper_tf.data.storage.utterance_audio import load_member, load_utterance
from jasper_tf.errors import UserError
from jasper_tf.io.object_storage import upload


@pytest.fixture(scope="module")
def tarred(tmp_path_factory) -> Path:
    """`files/`, and the same as NeMo's convert_to_tarred_audio_dataset lays them out: audio_0.tar, audio_1.tar.

    "both.wav" is in both tars, another sound in each; "long.flac" has three utterances.
    """
    folder = tmp_path_factory.mktemp("tarred")
    chance = np.random.default_rng(5)
    lines = []
    for shard in range(2):
        files = folder / "files" / str(shard)
        files.mkdir(parents=True)
        for name in ("both.wav", f"home_{shard}_a.wav", f"b_{shard}.ogg"):
            soundfile.write(files / name, chance.uniform(-0.4, 0.4, 16000), 16000)
            lines.append({"audio_filepath": name, "duration": 1.0, "text": name, "shard_id": shard, "lang": "en"})
    soundfile.write(folder / "files/1/long.flac", chance.uniform(-0.4, 0.4, (64000, 2)), 32000)
    for part in range(3):
        name = "long.flac" if part == 0 else f"long-sub{part}.flac"
        lines.append({"audio_filepath": name, "offset": part / 2, "duration": 0.5, "text": f"{part}", "shard_id": 1})
    for shard in range(2):
        with tarfile.open(folder / f"audio_{shard}.tar", "w") as tar:
            for file in sorted((folder / "files" / str(shard)).iterdir()):
                tar.add(file, arcname=file.name)
    (folder / "tarred_audio_manifest.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def tars(tarred) -> TarIndex:
    return TarIndex(expand_tar_paths(f"{tarred}/audio_{{0..1}}.tar"))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("x/audio_{0..2}.tar", ["x/audio_0.tar", "x/audio_1.tar", "x/audio_2.tar"]),
        ("x/audio__OP_0..2_CL_.tar", ["x/audio_0.tar", "x/audio_1.tar", "x/audio_2.tar"]),
        ("x/audio_(8..10).tar", ["x/audio_8.tar", "x/audio_9.tar", "x/audio_10.tar"]),
        ("x/[008..010].tar", ["x/008.tar", "x/009.tar", "x/010.tar"]),
        ("b{2..1}/<a,b>.tar", ["b2/a.tar", "b2/b.tar", "b1/a.tar", "b1/b.tar"]),
        ("x.tar, y_{0,1}.tar", ["x.tar", "y_0.tar", "y_1.tar"]),
        (["x.tar", ["gs://b/{0..1}.tar"]], ["x.tar", "gs://b/0.tar", "gs://b/1.tar"]),
    ],
)
def test_patterns(pattern, expected):
    assert expand_tar_paths(pattern) == expected


@pytest.mark.parametrize("pattern", ["x_{0..3.tar", "x_0..3}.tar", "", []])
def test_patterns_that_are_wrong(pattern):
    with pytest.raises(UserError, match="^tarred_audio_filepaths: "):
        expand_tar_paths(pattern)


@given(st.integers(0, 120), st.integers(0, 120), st.booleans())
def test_ranges_count_like_braceexpand(low, high, padded):
    written = [str(n).zfill(3) if padded else str(n) for n in (low, high)]
    paths = expand_tar_paths(f"a_{{{written[0]}..{written[1]}}}.tar")
    numbers = range(low, high + 1) if low <= high else range(low, high - 1, -1)
    assert paths == [f"a_{str(n).zfill(3) if padded else n}.tar" for n in numbers]


def test_audio_is_that_of_the_files(tarred, tars):
    utterances = read_manifest(tarred / "tarred_audio_manifest.json", tars)
    assert not utterances.absent and len(utterances) == 9 and len(tars) == 7
    lines = [json.loads(line) for line in (tarred / "tarred_audio_manifest.json").read_text().splitlines()]
    for line, utterance in zip(lines, utterances, strict=True):
        assert (utterance.text, utterance.extra["shard_id"]) == (line["text"], line["shard_id"])
        name = "long.flac" if line["audio_filepath"].startswith("long") else line["audio_filepath"]
        file = tarred / "files" / str(line["shard_id"]) / name
        for channel in ("average", 0):
            expected = load_audio(file, 16000, utterance.offset_s, utterance.duration_s, channel)
            np.testing.assert_array_equal(load_utterance(utterance, 16000, channel), expected)


def test_remote_tars(tarred, tmp_path):
    remote = [f"memory://tarred-{os.getpid()}/audio_{shard}.tar" for shard in range(2)]
    for path in remote:
        upload(tarred / os.path.basename(path), path)
    path, start, size = TarIndex(remote).find("long-sub2.flac", 1)
    assert path == remote[1]
    expected = load_audio(tarred / "files/1/long.flac", 16000, 1.0, 0.5)
    np.testing.assert_array_equal(load_member(path, start, size, offset_s=1.0, duration_s=0.5), expected)


def test_shard_id_chooses_among_equal_names(tarred, tars):
    (first, *_), (second, *_) = tars.find("both.wav", 0), tars.find("both.wav", 1)
    assert (os.path.basename(first), os.path.basename(second)) == ("audio_0.tar", "audio_1.tar")
    with pytest.raises(UserError, match="^both.wav: is in 2 tar files; its line needs a shard_id$"):
        tars.find("both.wav")
    assert tars.find("b_1.ogg") == tars.find("b_1.ogg", 1)
    # A part of the tars: the number in the name counts, not the place.
    assert TarIndex([str(tarred / "audio_1.tar")]).find("both.wav", 1)[0] == second


def test_lines_without_a_recording_are_named(tarred, tars, tmp_path):
    source = tmp_path / "source.json"
    line = json.dumps({"audio_filepath": "gone.wav", "duration": 1, "text": "x", "shard_id": 1})
    elsewhere = json.dumps({"audio_filepath": "b_0.ogg", "duration": 1, "text": "x", "shard_id": 1})
    source.write_text(f"{line}\n{(tarred / 'tarred_audio_manifest.json').read_text()}{elsewhere}\n{{half")
    manifest = ManifestFile(source, tars)
    reason = "is not in the tar file of shard_id 1; correct tarred_audio_filepaths, or remove the line"
    assert manifest.absent == [(1, f"gone.wav: {reason}"), (11, f"b_0.ogg: {reason}")]
    assert [line for *_, line in manifest.lines(as_written=True)] == source.read_bytes().splitlines(keepends=True)
    written = [line.rstrip(b"\n") for *_, line in manifest.lines()]
    assert (written[0], written[10]) == (b"", b"") and b"" not in written[1:10]  # the others keep their numbers
    assert len(written) == 12 and written[-1] == b"{half"  # read_manifest says what is wrong with it
    source.write_text(line)
    with pytest.raises(UserError, match=r"gone.wav: .* \(and so for all 1 lines\)$"):
        ManifestFile(source, tars)


def test_faults_of_a_tar(tarred, tmp_path):
    good = (tarred / "audio_0.tar").read_bytes()
    file = tmp_path / "audio_0.tar"
    for content, reason in (
        (good[:3000], "is not a whole, plain tar file"),
        (b"no tar at all" * 100, "is not a whole, plain tar file"),
        (b"", "is not a whole, plain tar file"),
    ):
        file.write_bytes(content)
        with pytest.raises(UserError, match=f"^{file}: {reason} .*; copy it again"):
            TarIndex([str(file)])
    with tarfile.open(file, "w:gz") as tar:
        tar.add(tarred / "files/0/both.wav", arcname="both.wav")
    with pytest.raises(UserError, match="unpack its compression"):
        TarIndex([str(file)])
    file.unlink()
    with pytest.raises(UserError, match=f"^{file}: no such tar file; correct tarred_audio_filepaths$"):
        TarIndex([str(file)])
    file.write_bytes(good)
    path, start, size = TarIndex([str(file)]).find("both.wav")
    file.write_bytes(good[: start + size - 10])
    with pytest.raises(UserError, match=f"^{file}: the file is cut off at byte {start + size - 10}"):
        load_member(path, start, size)
    file.write_bytes(good[:start] + b"x" * size)
    with pytest.raises(UserError, match=f"^{file}: the recording at byte {start}: cannot be decoded"):
        load_member(path, start, size)
    with pytest.raises(UserError, match=f"^{path}: the recording at byte {start}: offset 7 s is beyond its end"):
        file.write_bytes(good)
        load_member(path, start, size, offset_s=7.0)


def test_the_same_file_twice_is_a_link(tarred, tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(tarred / "files/0/both.wav", arcname="./one.wav")
        link = tarfile.TarInfo("two.wav")
        link.type, link.linkname = tarfile.LNKTYPE, "./one.wav"
        tar.addfile(link)
    tars = TarIndex([str(tmp_path / "a.tar")])
    assert tars.find("one.wav") == tars.find("two.wav")


def test_names_that_lead_out_of_the_folder_leave_nothing(tarred, tmp_path):
    content = (tarred / "files/0/both.wav").read_bytes()
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in ("../out.wav", "/out.wav"):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    before = sorted(tmp_path.parent.rglob("*.wav"))
    tars = TarIndex([str(tmp_path / "a.tar")])
    np.testing.assert_array_equal(load_member(*tars.find("../out.wav")), load_audio(tarred / "files/0/both.wav"))
    assert sorted(tmp_path.parent.rglob("*.wav")) == before


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_tars_give_an_index_or_one_line(tarred, tmp_path_factory, data):
    content = bytearray((tarred / "audio_1.tar").read_bytes()[:4096])
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, 511))] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.getbasetemp() / "any.tar"
    file.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with pytest.raises(UserError) as caught:  # what it promises is not there
        TarIndex([str(file)])
    assert str(caught.value).startswith(str(file)) and "\n" not in str(caught.value)

"""python -m jasper_tf prepare: the layout of each corpus, local and downloaded from the loopback."""

import csv
import functools
import hashlib
import json
import os
import tarfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import soundfile

from jasper_tf.data.corpora.corpus_entry import Archive
from jasper_tf.data.corpora.librispeech import MINI_LIBRISPEECH


def make_librispeech(make_sound, root, part="dev-clean-2", speakers=("84", "1272")):
    for number, speaker in enumerate(speakers):
        chapter = root / "LibriSpeech" / part / speaker / "121"
        for i in range(2):
            make_sound(chapter / f"{speaker}-121-000{i}.flac", 1000 + 100 * number + i)
        lines = [f"{speaker}-121-0000 GO DO YOU HEAR", f"{speaker}-121-0001 BUT THE BOYS' HOUSE"]
        (chapter / f"{speaker}-121.trans.txt").write_text("\n".join(lines) + "\n")
    (root / "LibriSpeech/README.TXT").write_text("LibriSpeech")
    return root


def make_an4(make_sound, root, suffix=".sph"):
    """As CMU packs it (SPHERE), or as its git archive (.wav): fileids, <s> in the training transcripts only."""
    for split, speakers, template in (("train", ("fash", "mgah"), "<s> {} </s> ({})"), ("test", ("fcaw",), "{} ({})")):
        names, lines = [], []
        for speaker in speakers:
            for i, text in enumerate(("ENTER SIX", "RUBOUT G M E F")):
                name = f"an{i}-{speaker}-b"
                folder = f"an4{'test' if split == 'test' else ''}_clstk/{speaker}"
                kind = {"format": "NIST", "subtype": "PCM_16"} if suffix == ".sph" else {}
                make_sound(root / f"wav/{folder}/{name}{suffix}", 2000 + i, **kind)
                names.append(f"{folder}/{name}")
                lines.append(template.format(text, name))
        (root / "etc").mkdir(exist_ok=True)
        (root / f"etc/an4_{split}.fileids").write_text("\n".join(names) + "\n")
        (root / f"etc/an4_{split}.transcription").write_text("\n".join(lines) + "\n")
    return root


def make_common_voice(make_sound, root):
    columns = ["client_id", "path", "sentence", "up_votes", "locale"]
    for split, who, sentence in (
        ("train", "aa", 'Er sagte: "Ja"'),
        ("dev", "bb", '"""Nein"", sagte sie."'),
        ("test", "cc", '"Wo? 3'),
    ):
        make_sound(root / f"clips/common_voice_de_{who}.mp3", 24000, 48000, format="MP3")
        rows = [columns, [who, f"common_voice_de_{who}.mp3", sentence, "2", "de"]]
        if split == "train":
            rows.append(["aa", "../../outside.mp3", "Hallo", "2", "de"])
            rows.append(["aa", "absent.mp3", "Hallo", "2", "de"])
            rows.append(["aa", "too few fields"])
        (root / f"{split}.tsv").write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return root


def pack(folder, archive):
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    return archive


@pytest.fixture
def loopback(tmp_path):
    """`loopback`: the folder that is served, with its address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_librispeech_parts_from_a_folder_and_an_archive(
    tmp_path, capsys, prepare, lines_of, table, refused, make_sound
):
    make_librispeech(make_sound, tmp_path / "here")
    make_librispeech(make_sound, tmp_path / "there", "test-clean", ("61",))
    archive = pack(tmp_path / "there/LibriSpeech", tmp_path / "test-clean.tar.gz")
    (tmp_path / "here/LibriSpeech/dev-clean-2/84/121/84-121-0001.flac").unlink()
    out = tmp_path / "out"
    prepare("librispeech", "--source", tmp_path / "here", archive, "--output", out, left_out=1)
    dev, test = (lines_of(out / f"{part}_manifest.json") for part in ("dev-clean-2", "test-clean"))
    assert [(line["text"], line["speaker"]) for line in dev] == [
        ("go do you hear", "1272"),
        ("but the boys' house", "1272"),
        ("go do you hear", "84"),
    ]
    assert {line["speaker"] for line in test} == {"61"}
    assert test[0]["audio_filepath"] == "test-clean/LibriSpeech/test-clean/61/121/61-121-0000.flac"
    assert [row["reason"] for row in table(out / "dev-clean-2_left_out.tsv")] == ["no such audio file"]
    printed = capsys.readouterr().out
    assert "dev-clean-2: 3 utterances" in printed and "left out 1: no such audio file" in printed
    # Another part beside them later; nothing of theirs is touched, and a second call is refused.
    before = (out / "test-clean_manifest.json").stat().st_mtime_ns
    line = refused("librispeech", "--source", archive, "--output", out)
    assert "test-clean_manifest.json" in line and "--overwrite" in line
    prepare("librispeech", "--source", archive, "--output", out, "--overwrite", "--case", "keep")
    assert lines_of(out / "test-clean_manifest.json")[0]["text"] == "GO DO YOU HEAR"
    assert (out / "test-clean_manifest.json").stat().st_mtime_ns > before
    assert not [name for name in os.listdir(out) if name.startswith(".")]


def test_mini_librispeech_downloaded(tmp_path, loopback, monkeypatch, prepare, lines_of, refused, make_sound):
    served, url = loopback
    make_librispeech(make_sound, tmp_path / "here")
    archive = pack(tmp_path / "here/LibriSpeech", served / "dev-clean-2.tar.gz")
    arguments = ["mini-librispeech", "--part", "dev-clean-2", "--base-url", url, "--output", tmp_path / "out"]
    line = refused(*arguments)
    assert f"{url}/dev-clean-2.tar.gz: its md5 is" in line and "should be 6d7ab67ac6a1d2c993d050e16d61080d" in line
    assert not list((tmp_path / "out").rglob("*.json"))
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setitem(MINI_LIBRISPEECH, "dev-clean-2", Archive("http://x/dev-clean-2.tar.gz", f"md5:{md5}", 1))
    prepare(*arguments)
    assert len(lines_of(tmp_path / "out/dev-clean-2_manifest.json")) == 4
    # What is unpacked is not fetched again.
    archive.unlink()
    prepare(*arguments, "--overwrite")


@pytest.mark.parametrize("suffix", [".sph", ".wav"])
def test_an4(suffix, tmp_path, loopback, prepare, lines_of, make_sound):
    served, url = loopback
    make_an4(make_sound, tmp_path / "an4", suffix)
    out = tmp_path / "out"
    if suffix == ".sph":
        pack(tmp_path / "an4", served / "an4_sphere.tar.gz")
        prepare("an4", "--base-url", url, "--output", out)
    else:
        prepare("an4", "--source", tmp_path, "--output", out, "--split", "dev=0.5")
        (dev,) = {line["speaker"] for line in lines_of(out / "dev_manifest.json")}
        (train,) = {line["speaker"] for line in lines_of(out / "train_manifest.json")}
        assert {dev, train} == {"fash", "mgah"}
    lines = lines_of(out / "train_manifest.json")
    assert {line["text"] for line in lines} == {"enter six", "rubout g m e f"}
    assert {line["speaker"] for line in lines_of(out / "test_manifest.json")} == {"fcaw"}


def test_common_voice(tmp_path, capsys, prepare, lines_of, table, refused, make_sound):
    make_common_voice(make_sound, tmp_path / "cv-corpus-9/de")
    out = tmp_path / "out"
    prepare(
        "common-voice", "--source", pack(tmp_path / "cv-corpus-9", tmp_path / "cv.tar.gz"), "--output", out, left_out=3
    )
    texts = [lines_of(out / f"{split}_manifest.json")[0]["text"] for split in ("train", "dev", "test")]
    assert texts == ["er sagte ja", "nein sagte sie", "wo drei"]
    assert "language: de" in capsys.readouterr().out
    reasons = [row["reason"] for row in table(out / "train_left_out.tsv")]
    assert reasons[0] == "unreadable entry: line 3: '../../outside.mp3' is not the name of a clip"
    assert reasons[1:] == ["no such audio file", "unreadable entry: line 5: 2 fields, the header has 5"]
    assert table(out / "dev_text_changes.tsv")[0]["before"] == '"Nein", sagte sie.'
    line = refused("common-voice", "--output", tmp_path / "other")
    assert "agree to its terms" in line and "--source" in line


def test_speech_in_a_librispeech_folder(spoken_corpus, tmp_path, prepare):
    """Durations and texts are those of the files, whatever order the speakers come in."""
    expected = {}
    for number, line in enumerate(map(json.loads, (spoken_corpus / "dev.jsonl").open())):
        chapter = tmp_path / f"in/LibriSpeech/train-clean-5/{10 + number % 3}/7"
        chapter.mkdir(parents=True, exist_ok=True)
        path = chapter / f"{10 + number % 3}-7-{number:04d}.flac"
        sound, rate = soundfile.read(spoken_corpus / line["audio_filepath"])
        soundfile.write(path, sound, rate)
        with open(chapter / f"{10 + number % 3}-7.trans.txt", "a") as file:
            file.write(f"{path.stem} {line['text'].upper()}\n")
        expected[path.name] = line
    prepare("mini-librispeech", "--source", tmp_path / "in", "--output", tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out/train-clean-5_manifest.json").open()]
    assert len(lines) == len(expected) == 12
    for line in lines:
        name = Path(line["audio_filepath"]).name
        assert (line["text"], line["speaker"]) == (expected[name]["text"], name.split("-")[0])
        assert line["duration"] == pytest.approx(expected[name]["duration"], abs=1e-3)


def test_a_folder_of_many_formats(mixed_formats, tmp_path, prepare, lines_of):
    rows = [json.loads(line) for line in mixed_formats.open()]
    with open(tmp_path / "mixed.tsv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["audio_filepath", "speaker", "text"], delimiter="\t", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    prepare("folder", "--source", mixed_formats.parent, "--table", tmp_path / "mixed.tsv", "--output", tmp_path / "out")
    made = lines_of(tmp_path / "out/train_manifest.json")
    assert [(line["text"], line["speaker"]) for line in made] == [(row["text"], row["speaker"]) for row in rows]
    assert [line["duration"] for line in made] == pytest.approx([row["duration"] for row in rows], abs=0.06)

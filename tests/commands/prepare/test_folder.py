"""python -m jasper_tf prepare: recordings of one's own, wrong use, and an archive made to do harm."""

import csv
import json
import re
import resource
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]


def test_a_folder_with_txt_files_what_is_left_out_and_the_report(
    tmp_path, capsys, make_sound, prepare, lines_of, table
):
    sounds = tmp_path / "in"
    for speaker in ("ann", "bob", "cy", "di"):
        for i in range(3):
            sound = make_sound(sounds / f"deep/{speaker}/{i}.wav", 8000 + i, 8000)
            sound.with_suffix(".txt").write_text(f"\ufeff{i + 1} Café\r\n“yes”", encoding="utf-8")
    (sounds / "deep/ann/0.txt").unlink()
    (sounds / "deep/ann/1.txt").write_bytes(b"caf\xe9")
    (sounds / "deep/bob/0.txt").write_text("  ")
    (sounds / "deep/bob/1.txt").write_text("?!")
    (sounds / "deep/bob/2.wav").write_bytes(b"RIFF and then nothing")
    make_sound(sounds / "deep/cy/0.wav", 0)
    (sounds / "deep/alone.txt").write_text("no recording")
    out = tmp_path / "out"
    arguments = ["folder", "--source", sounds, "--speaker-from-folder", "--labels", " abcdefghijklmnopqrstuvwxyz"]
    prepare(*arguments, "--output", out, "--split", "dev=0.2,test=0.2", "--seed", 3, left_out=6)
    printed = capsys.readouterr().out
    assert f".txt files without a recording: 1; not used; first {sounds}/deep/alone.txt" in printed
    splits = {split: lines_of(out / f"{split}_manifest.json") for split in ("train", "dev", "test")}
    speakers = [{line["speaker"] for line in lines} for lines in splits.values()]
    assert sorted(speaker for some in speakers for speaker in some) == ["ann", "cy", "di"]
    assert {line["text"] for lines in splits.values() for line in lines} <= {
        f"{n} café yes" for n in ("two", "three", "one")
    }
    reasons = {
        row["audio_filepath"].removeprefix("../in/deep/"): row["reason"] for row in table(out / "train_left_out.tsv")
    }
    assert reasons.pop("bob/2.wav").startswith("unreadable audio: cannot be decoded (")
    assert reasons == {
        "ann/0.wav": "no transcript",
        "ann/1.wav": "unreadable entry: 1.txt is not UTF-8",
        "bob/0.wav": "empty transcript",
        "bob/1.wav": "no text after normalization: ?!",
        "cy/0.wav": "audio without a sample",
    }
    changes = [row for split in splits for row in table(out / f"{split}_text_changes.tsv")]
    assert len(changes) == sum(map(len, splits.values())) == 6
    assert {row["kinds"] for row in changes} == {"quotes and dashes, numbers, case, punctuation, spaces"}
    assert {(row["before"], row["after"]) for row in changes} >= {("3 Café “yes”", "three café yes")}
    assert "text changes: 6 of 6 texts" in printed
    assert "'é' U+00E9 6 times, first in" in printed
    assert any(line.split()[:2] == ["numbers", "6"] for line in printed.splitlines())
    # The same seed shares out the same.
    prepare(*arguments, "--output", tmp_path / "again", "--split", "dev=0.2,test=0.2", "--seed", 3, left_out=6)
    for split in splits:
        assert (tmp_path / f"again/{split}_manifest.json").read_text() == (out / f"{split}_manifest.json").read_text()


@pytest.mark.parametrize(
    ("suffix", "delimiter", "encoding"), [("csv", ",", "utf-8-sig"), ("csv", ";", "utf-16"), ("tsv", "\t", "utf-8")]
)
def test_a_folder_with_a_table(suffix, delimiter, encoding, tmp_path, capsys, make_sound, prepare, lines_of, table):
    for i in range(4):
        make_sound(tmp_path / f"in/clips/{i}.ogg", 16000 + i)
    rows = [["File", "What is said", "who"]]
    rows += [[f"clips/{i}.ogg", f'one, two; "three"\tfour {i}', f"speaker {i % 2}"] for i in range(4)]
    with open(tmp_path / f"in/table.{suffix}", "w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([*rows, [], ["clips/0.ogg", "a field is missing"]])
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as packed:
        for path in (tmp_path / "in").rglob("*.*"):
            packed.write(path, path.relative_to(tmp_path))
    where = f"table.{suffix}"  # in the archive
    if suffix == "tsv":
        where = shutil.move(tmp_path / f"in/table.{suffix}", tmp_path / f"table.{suffix}")
    shutil.rmtree(tmp_path / "in")
    out = tmp_path / "out"
    config = (REPOSITORY / "configs/an4.yaml").read_text()
    assert " labels: " in config
    (tmp_path / "config.yaml").write_text(re.sub(r"( labels: ).*", r"\1[' ', a, '3']", config))
    columns = ["--text-column", "What is said", "--speaker-column", "who"]
    source = ["--source", tmp_path / "in.zip", "--table", where]
    config = ["--config", tmp_path / "config.yaml", "--keep-numbers"]
    prepare("folder", *source, *columns, *config, "--output", out, "--split", "held-out=0.5", left_out=1)
    printed = capsys.readouterr().out
    assert "'n' U+006E 4 times" in printed and "'a'" not in printed and "'4'" not in printed
    lines = lines_of(out / "train_manifest.json") + lines_of(out / "held-out_manifest.json")
    assert sorted(line["text"] for line in lines) == [f"one two three four {i}" for i in range(4)]
    assert "fields, the header has 3" in table(out / "train_left_out.tsv")[0]["reason"]


def test_names_in_a_table_that_are_odd(tmp_path, make_sound, prepare, lines_of, table):
    make_sound(tmp_path / "in/clips/0.wav")
    make_sound(tmp_path / "in/~odd.wav")
    names = ["clips\\0.wav", "~odd.wav", "x" * 300 + ".wav", "nul\0.wav", "clips"]
    (tmp_path / "in/t.csv").write_text("path|text\n" + "".join(f"{name}|hello\n" for name in names))
    prepare("folder", "--source", tmp_path / "in/t.csv", "--output", tmp_path / "out", left_out=3)
    made = [line["audio_filepath"] for line in lines_of(tmp_path / "out/train_manifest.json")]
    assert made == ["../in/clips/0.wav", "../in/~odd.wav"]
    assert [row["reason"] for row in table(tmp_path / "out/train_left_out.tsv")] == ["no such audio file"] * 3
    # All of it to one set of another name, beside what is there.
    source = ["--source", tmp_path / "in/t.csv", "--split", "test=1", "--split-by", "utterance"]
    prepare("folder", *source, "--output", tmp_path / "out", left_out=3)
    assert len(lines_of(tmp_path / "out/test_manifest.json")) == 2
    assert len(table(tmp_path / "out/test_left_out.tsv")) == 3


def test_a_path_that_climbs_up_further_than_it_is_long_is_absolute(tmp_path, make_sound, prepare):
    sound = make_sound(tmp_path / "in/0.wav")
    sound.with_suffix(".txt").write_text("hello")
    out = tmp_path.joinpath(*"x" * 60)
    prepare("folder", "--source", tmp_path / "in", "--output", out)
    assert json.loads((out / "train_manifest.json").read_text())["audio_filepath"] == str(sound)


def test_a_full_disk_while_the_manifests_are_written(tmp_path, make_sound, prepare, refused):
    make_sound(tmp_path / "in/0.wav").with_suffix(".txt").write_text("hello")
    prepare("folder", "--source", tmp_path / "in", "--output", tmp_path / "out")
    before = (tmp_path / "out/train_manifest.json").read_text()
    files = sorted((tmp_path / "out").iterdir())
    quota = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, quota[1]))
    try:
        line = refused(
            "folder", "--source", tmp_path / "in", "--output", tmp_path / "out", "--overwrite", "--case", "upper"
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, quota)
    assert "cannot write: File too large; make room" in line and sorted((tmp_path / "out").iterdir()) == files
    assert (tmp_path / "out/train_manifest.json").read_text() == before


def test_wrong_use_is_one_line(tmp_path, make_sound, refused):
    out = tmp_path / "out"
    make_sound(tmp_path / "in/0.wav")
    (tmp_path / "in/table.csv").write_text("path,text\n0.wav,hello\n")
    (tmp_path / "in/open.csv").write_text('path,text\n0.wav,"hello\n')
    (tmp_path / "in/latin.csv").write_bytes(b"path,text\n0.wav,h\xe9llo\n")
    (tmp_path / "file").write_text("")
    source = ["folder", "--source", tmp_path / "in", "--output", out]
    for arguments, said in (
        (["librispech", "--output", out], "did you mean librispeech?"),
        (["librispeech", "--output", out], "train-clean-100 (6.39 GB)"),
        (["librispeech", "--output", out, "--part", "train-clean"], "did you mean"),
        (["an4", "--output", out, "--part", "dev"], "an4 has no such part"),
        (["an4", "--output", tmp_path / "file"], "is a file, give a folder"),
        (["an4", "--output", out, "--table", "x.csv"], "--table: is for `prepare folder`"),
        (["an4", "--output", out, "--source", tmp_path / "in"], "no etc/an4_train.transcription"),
        (["an4", "--output", out, "--source", tmp_path / "absent"], "absent: no such file or folder"),
        (["an4", "--output", out, "--source", tmp_path / "file"], "is neither a folder nor an archive"),
        (["common-voice", "--output", out, "--source", tmp_path / "in"], "no clips/ in there"),
        (["librispeech", "--output", out, "--source", tmp_path / "in"], "LibriSpeech/PART/SPEAKER/CHAPTER is expected"),
        (["folder", "--output", out], "give the folder of recordings with --source"),
        (source, "none of 1 audio files has a transcript; 0.txt is expected beside 0.wav"),
        (source, "it holds latin.csv, open.csv, table.csv: give one with --table"),
        ([*source, "--language", "xx"], "--language xx"),
        ([*source, "--split", "dev"], "is not NAME=SHARE"),
        ([*source, "--threads", "0"], "must be 1 or more"),
        ([*source, "--text-column", "text"], "give it with --table"),
        ([*source, "--table", tmp_path / "in/table.csv", "--text-column", "txt"], "did you mean text?"),
        ([*source, "--table", "table.csv", "--split", "dev=0.5"], "the speaker of 1 utterances is not known"),
        ([*source, "--table", "table.csv", "--split", "dev=0.5", "--split-by", "utterance"], "cannot be split"),
        ([*source, "--table", tmp_path / "in/open.csv"], "open.csv:2: unexpected end of data"),
        ([*source, "--table", tmp_path / "in/latin.csv"], "latin.csv:2: is not UTF-8"),
        ([*source, "--table", tmp_path / "in/absent.csv"], "absent.csv: cannot be read"),
        ([*source, "--config", tmp_path / "absent.yaml"], "absent.yaml"),
    ):
        assert said in refused(*arguments)
    assert not list(tmp_path.rglob("*manifest.json"))


def test_the_command_with_an_archive_that_leads_out(tmp_path, make_sound):
    with tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as tar:
        tar.add(make_sound(tmp_path / "0.wav"), "an4/0.wav")
        tar.add(tmp_path / "0.wav", "../../stolen.wav")
    before = sorted(tmp_path.rglob("*"))
    command = [sys.executable, "-m", "jasper_tf", "prepare", "an4", "--source", tmp_path / "evil.tar.gz"]
    done = subprocess.run([*command, "--output", tmp_path / "out"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and "'../../stolen.wav'" in line and "outside the destination" in line
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "out"])
    assert not (tmp_path.parent / "stolen.wav").exists()

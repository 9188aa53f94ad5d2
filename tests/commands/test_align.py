"""The verb align: its files read by other rules than it writes them by, what it leaves out, wrong use."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from jasper_tf.__main__ import main
from jasper_tf.export.saved_model.writer import export

ROOT = Path(__file__).parents[2]
LABELS = list(" abcdefghijklmnopqrstuvwxyz'")
TEXTS = ("one two", "it's a test", "tree")


@pytest.fixture(scope="module")
def folder(untrained_model, tmp_path_factory):
    """run/model.keras; a b.wav, two.wav, three.wav and good.jsonl with texts of theirs."""
    folder = tmp_path_factory.mktemp("align")
    (folder / "run").mkdir()
    untrained_model(LABELS).save(folder / "run" / "model.keras")
    rng = np.random.default_rng(0)
    lines = []
    for name, text, seconds in zip(("a b.wav", "two.wav", "three.wav"), TEXTS, (0.9, 1.4, 0.7), strict=True):
        soundfile.write(folder / name, rng.normal(scale=0.1, size=int(16000 * seconds)), 16000)
        lines.append({"audio_filepath": name, "duration": seconds, "text": text})
    (folder / "good.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def align(folder, monkeypatch, capfd):
    """`align(*arguments)`: exit status, stdout, stderr."""
    monkeypatch.chdir(folder)

    def align(*arguments):
        capfd.readouterr()
        status = main(["align", "--model", "run", *map(str, arguments)])
        return status, *capfd.readouterr()

    return align


def read_text_grid(path):
    """{tier: [(xmin, xmax, text)]} of a TextGrid in the long format."""
    tiers: dict[str, list[tuple[float, float, str]]] = {}
    head, *items = re.split(r"item \[\d+\]:", path.read_text(encoding="utf-8"))
    assert head.startswith('File type = "ooTextFile"\nObject class = "TextGrid"\n')
    assert int(re.search(r"\nsize = (\d+)", head)[1]) == len(items)
    for item in items:
        name = re.search(r'name = "(\w+)"', item)[1]
        found = re.findall(r'xmin = ([\d.]+)\s+xmax = ([\d.]+)\s+text = "((?:[^"]|"")*)"', item)
        assert int(re.search(r"intervals: size = (\d+)", item)[1]) == len(found)
        tiers[name] = [(float(start), float(end), text) for start, end, text in found]
    return tiers


def test_all_formats_say_the_same(align, folder, tmp_path):
    output = tmp_path / "new" / "folder"
    status, out, err = align("--manifest", "good.jsonl", "--output", output, "--format", "json,ctm,textgrid,srt")
    assert (status, err) == (0, "") and out.startswith("6 words of 3 utterances")
    lines = [json.loads(line) for line in (output / "alignments.jsonl").read_text().splitlines()]
    assert [line["text"] for line in lines] == [*TEXTS]
    for line, name in zip(lines, ("a b", "two", "three"), strict=True):
        words = line["words"]
        assert [word["text"] for word in words] == line["text"].split()
        times = [time for word in words for letter in word["letters"] for time in (letter["start_s"], letter["end_s"])]
        assert times == sorted(times) and times[0] >= 0 and times[-1] <= line["duration"] + 0.02
        for word in words:
            assert "".join(letter["text"] for letter in word["letters"]) == word["text"]
            assert (word["start_s"], word["end_s"]) == (word["letters"][0]["start_s"], word["letters"][-1]["end_s"])
            assert word["score"] < 0 < word["confidence"] < 1
        ctm = (output / "ctm" / "words" / f"{name}.ctm").read_text().splitlines()
        shown = [
            f"{name.replace(' ', '-')} 1 {w['start_s']:.2f} {w['end_s'] - w['start_s']:.2f} {w['text']}" for w in words
        ]
        assert ctm == shown
        letters = (output / "ctm" / "tokens" / f"{name}.ctm").read_text().splitlines()
        assert [row.split()[4] for row in letters] == [*line["text"].replace(" ", "")]
        tiers = read_text_grid(output / "textgrid" / f"{name}.TextGrid")
        assert [*tiers] == ["words", "characters"]
        for tier, texts in (("words", line["text"].split()), ("characters", [*line["text"].replace(" ", "")])):
            intervals = tiers[tier]
            assert [text for _, _, text in intervals if text] == texts
            assert intervals[0][0] == 0 and intervals[-1][1] == pytest.approx(line["duration"], abs=0.02)
            assert all(start < end for start, end, _ in intervals)
            assert all(left[1] == right[0] for left, right in zip(intervals, intervals[1:], strict=False))
        srt = (output / "srt" / f"{name}.srt").read_text()
        assert re.match(r"1\n00:00:0\d,\d{3} --> 00:00:0\d,\d{3}\n", srt) and line["text"].split()[0] in srt


def test_one_at_a_time_gives_the_same(align, tmp_path):
    for number, name in ((16, "together"), (1, "alone")):
        assert align("--manifest", "good.jsonl", "--output", tmp_path / name, "--batch-size", number)[0] == 0
    together, alone = ((tmp_path / name / "alignments.jsonl").read_text() for name in ("together", "alone"))
    for a, b in zip(map(json.loads, together.splitlines()), map(json.loads, alone.splitlines()), strict=True):
        assert [(w["start_s"], w["end_s"]) for w in a["words"]] == [(w["start_s"], w["end_s"]) for w in b["words"]]


@pytest.mark.medium
def test_a_saved_model_gives_the_same(align, folder, untrained_model, tmp_path):
    exported = export(untrained_model(LABELS), tmp_path / "exported")
    found = []
    for model in ("run", str(exported)):
        assert align("--model", model, "--manifest", "good.jsonl", "--output", tmp_path / "out", "--overwrite")[0] == 0
        found.append([json.loads(line) for line in (tmp_path / "out" / "alignments.jsonl").read_text().splitlines()])
    for a, b in zip(*found, strict=True):
        assert [(w["start_s"], w["end_s"]) for w in a["words"]] == [(w["start_s"], w["end_s"]) for w in b["words"]]
        assert a["score"] == pytest.approx(b["score"], abs=1e-3)


def test_what_cannot_be_aligned_is_named_and_the_rest_done(align, folder, tmp_path):
    (folder / "broken.wav").write_text("no sound")
    bad = [("two.wav", "Capital"), ("three.wav", "word " * 50), ("broken.wav", "a"), ("a b.wav", "one")]
    lines = [{"audio_filepath": str(folder / name), "duration": 1.0, "text": text} for name, text in bad]
    manifest = tmp_path / "bad.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    status, out, err = align("--manifest", manifest, "--output", tmp_path / "out", "--format", "json,ctm")
    assert status == 1 and "3 utterances not aligned" in out
    errors = err.splitlines()
    assert len(errors) == 3
    for number, what in ((1, "'C'"), (2, "frames"), (3, "broken.wav")):
        [line] = [line for line in errors if f"bad.jsonl:{number}:" in line]
        assert what in line
    found = [json.loads(line) for line in (tmp_path / "out" / "alignments.jsonl").read_text().splitlines()]
    assert ["error" in line for line in found] == [True, True, True, False]
    assert [path.name for path in (tmp_path / "out" / "ctm" / "words").iterdir()] == ["a b.ctm"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format", "json,txt"], "'txt'"),
        (["--batch-size", "0"], "--batch-size 0"),
        (["--long-s", "-1"], "--long-s -1"),
        (["--manifest", "nothing.jsonl"], "nothing.jsonl"),
        (["--output", "good.jsonl"], "good.jsonl"),
    ],
)
def test_wrong_use(folder, tmp_path, arguments, said):
    given = ["--model", "run", "--manifest", "good.jsonl", "--output", str(tmp_path / "out"), *arguments]
    command = [sys.executable, "-m", "jasper_tf", "align", *given]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and said in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_files_are_replaced_only_with_overwrite(align, tmp_path):
    output = tmp_path / "out"
    assert align("--manifest", "good.jsonl", "--output", output)[0] == 0
    before = (output / "alignments.jsonl").read_bytes()
    status, _, err = align("--manifest", "good.jsonl", "--output", output)
    assert status == 2 and "--overwrite" in err
    assert align("--manifest", "good.jsonl", "--output", output, "--overwrite")[0] == 0
    assert (output / "alignments.jsonl").read_bytes() == before


@pytest.mark.slow
def test_a_recording_of_real_speech_and_a_text_that_differs(shared, tmp_path, capfd):
    """Twelve utterances of LibriSpeech in a row, one of them not in the text; noise; a sentence that nobody said."""
    folder = shared / "data" / "librispeech_mini"
    lines = [json.loads(line) for line in (folder / "dev_manifest.json").read_text().splitlines()[:8]]
    sounds, texts, inside, at = [], [], [], 0
    never = "this sentence of many words was never spoken by anybody in the recording at all"
    for k, line in enumerate(lines):
        sound, rate = soundfile.read(folder / line["audio_filepath"], dtype="float32")
        if k == 3:
            noise = np.random.default_rng(0).normal(scale=0.05, size=12 * rate).astype(np.float32)
            sounds.append(noise)
            at += len(noise)
        if k == 5:
            texts.append(never)
        if k != 6:
            texts.append(line["text"])
            inside += [(word, at / rate, (at + len(sound)) / rate) for word in line["text"].split()]
        sounds.append(sound)
        at += len(sound)
    soundfile.write(tmp_path / "long.wav", np.concatenate(sounds), rate)
    entry = {"audio_filepath": "long.wav", "duration": at / rate, "text": " ".join(texts)}
    (tmp_path / "long.jsonl").write_text(json.dumps(entry))
    model = str(shared / "pretrained" / "quartznet15x5_en.nemo")
    given = ["--manifest", str(tmp_path / "long.jsonl"), "--output", str(tmp_path), "--long-s", "60"]
    assert main(["align", "--model", model, *given]) == 0
    assert never[:50] in capfd.readouterr().err
    [line] = map(json.loads, (tmp_path / "alignments.jsonl").read_text().splitlines())
    assert [one["text"] for one in line["unmatched_text"]] == [never]
    assert [word["text"] for word in line["words"]] == [word for word, _, _ in inside]
    for word, (_, start_s, end_s) in zip(line["words"], inside, strict=True):
        assert start_s - 0.1 <= word["start_s"] < word["end_s"] <= end_s + 0.1
    assert sum(word["score"] < -1 for word in line["words"]) <= 3

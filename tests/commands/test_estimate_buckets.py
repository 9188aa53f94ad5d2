"""python -m jasper_tf estimate-buckets."""

import json
import re

import pytest

from jasper_tf.__main__ import main


@pytest.fixture
def manifest(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"its header is not read")
    lines = [{"audio_filepath": "a.wav", "duration": 1 + n / 10, "text": "a" * n} for n in range(100)]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(tmp_path / "m.jsonl")


def rows(out):
    """(buckets, padding %, steps, lengths, batch sizes) of each line."""
    found = []
    for line in out.splitlines():
        if match := re.match(r"\s*(\d+)\s+([\d.]+)%\s+(\d+)\s+(.*)", line):
            pairs = re.findall(r"([\d.]+) \((\d+)\)", match[4])
            found.append(
                (
                    int(match[1]),
                    float(match[2]),
                    int(match[3]),
                    [float(s) for s, _ in pairs],
                    [int(n) for _, n in pairs],
                )
            )
    return found


def test_more_buckets_pad_less(manifest, capsys):
    assert main(["estimate-buckets", "--manifest", manifest, "--batch-size", "5", "--buckets", "1", "4", "16"]) == 0
    found = rows(capsys.readouterr().out)
    assert [row[0] for row in found] == [1, 4, 16]
    assert [row[2] for row in found] == [20] * 3
    assert found[0][1] > 40 and found[0][1] > found[1][1] > found[2][1] and found[2][1] < 8
    assert found[0][3] == [pytest.approx(10.9, abs=0.17)]


def test_no_more_buckets_than_lengths(tmp_path, capsys):
    (tmp_path / "a.wav").touch()
    lines = [{"audio_filepath": "a.wav", "duration": duration, "text": "a"} for duration in (1, 2, 3)]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["estimate-buckets", "--manifest", str(tmp_path / "m.jsonl"), "--buckets", "2", "8", "16"]) == 0
    out = capsys.readouterr().out
    assert [row[0] for row in rows(out)] == [2, 3]
    assert "these recordings have no more than 3 lengths: 16 buckets are the same" in out


def test_batches_by_seconds(manifest, capsys):
    arguments = ["--manifest", manifest, "--batch-duration", "30", "--buckets", "4", "--max-duration", "8"]
    assert main(["estimate-buckets", *arguments]) == 0
    out = capsys.readouterr().out
    assert out.startswith("71 utterances")
    [(_, _, _, lengths, sizes)] = rows(out)
    assert all(length * size <= 30 < length * (size + 1) + 0.1 for length, size in zip(lengths, sizes, strict=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--buckets", "0"], "--buckets: at least 1"),
        (["--batch-size", "0"], "--batch-size 0: must be above 0"),
        (["--speed", "1.1", "0.9"], "needs 0 < MIN <= 1 <= MAX"),
        (["--min-duration", "100"], "no utterance is within"),
    ],
)
def test_wrong_use(manifest, arguments, message, capsys):
    assert main(["estimate-buckets", "--manifest", manifest, *arguments]) == 2
    assert message in capsys.readouterr().err

"""Columns, repeats, rates and the clean manifest of lines whose audio is not read."""

import json

import numpy as np
import pytest
import soundfile

from jasper_tf.data.checks.checked_manifest import CheckedManifest
from jasper_tf.data.checks.clean_manifest import write_clean_manifest
from jasper_tf.data.checks.duplicates import check_duplicates
from jasper_tf.data.checks.faults import FaultLog
from jasper_tf.data.checks.lines import TextRules, check_feasible, check_lines
from jasper_tf.data.checks.speaking_rate import FEWEST, check_speaking_rate, rate_bounds
from jasper_tf.errors import UserError
from jasper_tf.text.word_piece_tokenizer import WordPieceTokenizer


@pytest.fixture
def checked(tmp_path):
    """`checked(name, rows)`: a manifest of (file, duration, text) or raw bytes, read, and its log."""
    log = FaultLog()

    def read(name, rows):
        lines = []
        for row in rows:
            if isinstance(row, bytes):
                lines.append(row)
                continue
            path, duration, text = row
            (tmp_path / path).touch()
            lines.append(json.dumps({"audio_filepath": path, "duration": duration, "text": text}).encode())
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\n".join(lines))
        manifest = CheckedManifest(str(tmp_path / name))
        check_lines(manifest, log)
        return manifest

    return read, log


def faulty(manifest, log, kind):
    return [line for line in range(1, 100) if log.has(manifest.path, line, kind)]


def test_repeats_within_a_set_and_leaks_between_sets(checked):
    read, log = checked
    a, b, c = ("a.wav", 1.0, "x"), ("b.wav", 1.0, "x"), ("c.wav", 1.0, "x")
    first, second = read("1.json", [a, b, a]), read("2.json", [("a.wav", 2.0, "x"), b, c])
    dev, test = read("3.json", [c, c]), read("4.json", [("d.wav", 1.0, "x"), c])
    check_duplicates([first, second], [dev, test], log)
    assert [faulty(m, log, "duplicate") for m in (first, second, dev, test)] == [[3], [2], [2], []]
    assert [faulty(m, log, "leak") for m in (first, second, dev, test)] == [[], [3], [], []]
    assert log.tallies["duplicate"].example == f"{first.path}:3: the same part of the same file as {first.path}:1"
    assert f"as {dev.path}:1," in log.tallies["leak"].example
    assert [log.count_faulty(m.path) for m in (first, second, dev, test)] == [1, 2, 1, 0]


def test_what_is_unknown_repeats_nothing(checked):
    read, log = checked
    manifest = read("m.json", [("a.wav", 1.0, "x"), ("b.wav", 1.0, "x"), ("c.wav", 1.0, "x")])
    check_duplicates([manifest], [], log, [np.array([0, 7, 0], np.uint64)])
    assert not log.found
    check_duplicates([], [], log)
    check_duplicates([manifest], [read("empty.json", [b"{"])], log)


def test_texts_are_counted_in_pieces(tmp_path):
    """Five letters are two pieces, that need as many frames, and equal neighbors one more."""
    rows = [(0.02, "abcab"), (0.01, "abcab"), (0.02, "abc abc"), (0.03, "abc abc"), (1.0, "abx")]
    (tmp_path / "a.wav").touch()
    lines = [json.dumps({"audio_filepath": "a.wav", "duration": seconds, "text": text}) for seconds, text in rows]
    (tmp_path / "m.json").write_text("\n".join(lines))
    tokenizer = WordPieceTokenizer(["[UNK]", "abc", "##ab", "ab"])
    rules = TextRules(tokenizer, lambda duration_s: np.rint(duration_s * 100).astype(int))
    log, manifest = FaultLog(), CheckedManifest(str(tmp_path / "m.json"))
    check_lines(manifest, log, rules)
    check_feasible(manifest, log, rules)
    assert faulty(manifest, log, "infeasible for CTC") == [2, 3]
    assert faulty(manifest, log, "characters outside labels") == [5]


def test_few_wrong_texts_do_not_move_the_bounds():
    rng = np.random.default_rng(0)
    rates = rng.lognormal(np.log(14), 0.15, 5000)
    clean = rate_bounds(rates)
    assert ((rates >= clean.low) & (rates <= clean.high)).all()
    wrong = rate_bounds(np.concatenate([rates, np.full(50, 300.0), np.full(50, 0.1), np.zeros(9)]))
    assert clean.low < wrong.low * 1.05 and wrong.high < clean.high * 1.05
    assert 0.1 < wrong.low < 7 and 20 < wrong.high < 40


def test_bounds_are_given_or_derived_from_enough():
    few = rate_bounds(np.full(FEWEST - 1, 10.0))
    assert (few.low, few.high, few.median) == (None, None, 10.0)
    same = rate_bounds(np.full(FEWEST, 10.0))
    assert same.low < 10 < same.high
    given = rate_bounds(np.full(FEWEST, 10.0), 2.0, None)
    assert given.low == 2.0 and given.high == same.high
    assert rate_bounds(np.zeros(0), high=3.0).high == 3.0


def test_speaking_rate_leaves_empty_texts_to_their_own_kind(checked):
    read, log = checked
    manifest = read(
        "m.json", [("a.wav", 1.0, "four"), ("b.wav", 1.0, " "), ("c.wav", 10.0, "four"), ("d.wav", 0.1, "4")]
    )
    check_speaking_rate([manifest], log, rate_bounds(np.zeros(0), 1.0, 9.0))
    assert faulty(manifest, log, "speaking rate") == [3, 4] and faulty(manifest, log, "empty text") == [2]


def test_the_clean_manifest_never_misleads(checked, tmp_path):
    read, log = checked
    manifest = read("m.json", [("a.wav", 1.0, "x"), b"{", ("b.wav", 1.0, "y")])
    absolute = json.dumps({"audio_filepath": str(tmp_path / "a.wav"), "duration": 1, "text": ""}).encode()
    other = read("other/m.json", [absolute, absolute.replace(b'""', b'"z"')])
    with pytest.raises(UserError, match=r"m\.json names files relative to its own folder; write it there: .*/c\.json"):
        write_clean_manifest(tmp_path / "other" / "c.json", [manifest, other], log)

    # Absolute paths are right everywhere; a last line without an end gets one before the next manifest.
    assert write_clean_manifest(tmp_path / "c.json", [manifest, other], log) == (3, 2)
    lines = (tmp_path / "m.json").read_bytes().split(b"\n")
    expected = [lines[0], lines[2], absolute.replace(b'""', b'"z"')]
    assert (tmp_path / "c.json").read_bytes() == b"\n".join(expected)

    broken = read("broken.json", [b"{"])
    with pytest.raises(UserError, match="no line is without a fault; nothing is written"):
        write_clean_manifest(tmp_path / "none.json", [broken], log)
    (tmp_path / "m.json").write_bytes(b"\n".join(lines[:2]))
    with pytest.raises(UserError, match=r"m\.json: the manifest was changed while it was read"):
        write_clean_manifest(tmp_path / "late.json", [manifest], log)
    assert not list(tmp_path.glob("*none*")) and not list(tmp_path.glob("*late*"))


def test_kinds_that_are_no_faults_here(checked):
    read, _ = checked
    log = FaultLog(notes={"empty text"})
    manifest = read("m.json", [("a.wav", 1.0, ""), ("b.wav", 1.0, "x")])
    check_lines(manifest, log)
    assert log.tallies["empty text"].count == 1 and not log.found and log.count_faulty(manifest.path) == 0


def test_a_kind_counts_once_for_a_line():
    log = FaultLog()
    for line in (5, 5, 100_000):
        log.add("m.json", line, "silent", "first" if line == 5 else "last", 3.0)
    assert (log.tallies["silent"].count, log.tallies["silent"].duration_s) == (2, 6.0)
    assert log.tallies["silent"].example == "m.json:5: first"
    assert log.is_faulty("m.json", 100_000) and not log.is_faulty("m.json", 99_999)


def test_a_line_without_a_duration_shows_what_is_wrong_with_its_file(checked, tmp_path):
    read, log = checked
    soundfile.write(tmp_path / "good.wav", np.zeros(8000), 16000)
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "empty.wav").touch()
    rows = [{"audio_filepath": "good.wav"}, {"audio_filepath": "text.wav"}, {"audio_filepath": "good.wav", "offset": 2}]
    rows += [{"audio_filepath": "empty.wav"}, {"audio_filepath": "good.wav", "offset": "2"}]
    manifest = read("m.json", [json.dumps({**row, "text": "yes"}).encode() for row in rows])
    assert list(manifest.duration_s) == [0.5]
    kinds = ["unreadable", "wrong duration", "unreadable", "broken line"]
    for line, kind in enumerate(kinds, start=2):
        assert log.has(manifest.path, line, kind), (line, kind)
    assert log.count_faulty(manifest.path) == 4

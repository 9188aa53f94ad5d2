"""Transcripts as text, JSON, TSV and subtitles."""

import html
import json
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jasper_tf.decoding.alignment import WordTiming
from jasper_tf.errors import UserError
from jasper_tf.inference.segments import segment_words
from jasper_tf.inference.subtitles import FORMATS, LINE_CHARACTERS, format_transcript, make_cues
from jasper_tf.inference.transcript import Transcript

SRT = re.compile(r"(\d+)\n(\d\d):(\d\d):(\d\d),(\d{3}) --> (\d\d):(\d\d):(\d\d),(\d{3})\n((?:.+\n)+)\n")


def transcript(words):
    words = tuple(words)
    return Transcript(" ".join(word.text for word in words), 0.5, words, segment_words(words), 99.0)


def parse_srt(text):
    """(number, start in ms, end in ms, lines) of each subtitle."""
    found = []
    at = 0
    for match in SRT.finditer(text):
        assert match.start() == at
        at = match.end()
        number, *clock = map(int, match.groups()[:-1])
        start, end = (((h * 60 + m) * 60 + s) * 1000 + ms for h, m, s, ms in (clock[:4], clock[4:]))
        found.append((number, start, end, match[10].splitlines()))
    assert at == len(text)
    return found


@st.composite
def spoken(draw):
    words, start_s = [], draw(st.floats(0.0, 4000.0))
    for text in draw(st.lists(st.text("abc&<>-.", min_size=1, max_size=30), max_size=60)):
        lasts_s = draw(st.floats(0.02, 1.5))
        words.append(WordTiming(text, start_s, start_s + lasts_s, draw(st.floats(0, 1))))
        start_s += lasts_s * draw(st.floats(0.6, 1.0)) + draw(st.sampled_from([0.0, 0.1, 0.3, 0.85, 1.0, 20.0]))
    return words


@given(spoken())
def test_subtitles_that_can_be_read(words):
    found = parse_srt(format_transcript(transcript(words), "srt"))
    assert [number for number, *_ in found] == list(range(1, len(found) + 1))
    shown = [word for *_, lines in found for line in lines for word in line.split()]
    assert shown == [word.text.replace("-->", "->") for word in words]
    at = 0
    for (_, start, end, lines), after in pairwise([*found, (0, float("inf"), 0, [])]):
        assert len(lines) <= 2 and max(map(len, lines)) <= LINE_CHARACTERS
        assert end <= after[1] and end - start <= 7001
        assert end - start >= 999
        assert start >= round(1000 * words[at].start_s)
        at += sum(len(line.split()) for line in lines)
        assert end >= min(1000 * words[at - 1].end_s, after[1], start + 7000) - 1


@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=30),
    st.floats(0.001, 9.0),
    st.sampled_from([0.0, 0.3, 2.0, 100.0]),
)
def test_long_words_and_dense_speech_keep_the_limits(lengths, lasts_s, gap_s):
    words = [
        WordTiming("x" * length, k * (lasts_s + gap_s), k * (lasts_s + gap_s) + lasts_s, 1.0)
        for k, length in enumerate(lengths)
    ]
    cues = make_cues(words)
    assert "".join("".join(cue.lines) for cue in cues).replace(" ", "") == "x" * sum(lengths)
    for cue, after in pairwise([*cues, None]):
        assert 1 <= len(cue.lines) <= 2 and max(map(len, cue.lines)) <= LINE_CHARACTERS
        assert 1.0 - 1e-6 <= cue.end_s - cue.start_s <= 7.0 + 1e-6
        assert after is None or cue.end_s <= after.start_s + 1e-6
    if lasts_s + gap_s > 1 and max(lengths) <= 2 * LINE_CHARACTERS:  # there is time for each: none is late
        assert {cue.start_s for cue in cues} <= {word.start_s for word in words}


def test_a_subtitle_is_held():
    words = [WordTiming("one", 1.0, 1.1, 1.0), WordTiming("two", 1.5, 1.6, 1.0), WordTiming("three", 4.0, 4.1, 1.0)]
    assert [(cue.lines, cue.start_s, cue.end_s) for cue in make_cues(words)] == [
        (("one two",), 1.0, pytest.approx(2.6)),
        (("three",), 4.0, pytest.approx(5.1)),
    ]
    near = [*words[:2], WordTiming("three", 2.5, 2.6, 1.0)]
    assert [(cue.start_s, cue.end_s) for cue in make_cues(near)] == [(1.0, 2.5), (2.5, pytest.approx(3.6))]


def test_a_pause_ends_no_subtitle_within_its_first_second():
    words = [WordTiming("one", 0.0, 0.05, 1.0), WordTiming("two", 0.9, 0.95, 1.0), WordTiming("three", 1.8, 1.9, 1.0)]
    assert [cue.lines for cue in make_cues(words)] == [("one two",), ("three",)]


def test_lines_are_of_nearly_one_length():
    words = [WordTiming("abcd", k / 2, k / 2 + 0.3, 1.0) for k in range(10)]
    [cue] = make_cues(words)
    assert list(map(len, cue.lines)) == [24, 24]
    [cue] = make_cues([WordTiming("x" * 60, 0.0, 2.0, 1.0)])
    assert list(map(len, cue.lines)) == [42, 18]


SPOKEN = transcript(
    [
        WordTiming("don't", 0.5, 0.9, 0.9),
        WordTiming("a<b", 1.0, 1.25, 0.8),
        WordTiming("-->", 3661.0, 3661.4567, 0.7),
    ]
)


def test_every_format():
    found = {form: format_transcript(SPOKEN, form) for form in FORMATS}
    assert found["text"] == "don't a<b\n-->\n"
    assert found["tsv"] == "start\tend\ttext\n500\t1250\tdon't a<b\n3661000\t3661457\t-->\n"
    assert found["srt"] == ("1\n00:00:00,500 --> 00:00:02,250\ndon't a<b\n\n2\n01:01:01,000 --> 01:01:02,457\n->\n\n")
    assert found["vtt"] == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:02.250\ndon't a&lt;b\n\n01:01:01.000 --> 01:01:02.457\n-&gt;\n\n"
    )
    values = json.loads(found["json"])
    assert set(values) == {"text", "confidence", "duration_s", "segments"} and found["json"].count("\n") == 1
    assert values["segments"][1] == {"text": "-->", "start_s": 3661.0, "end_s": 3661.4567, "confidence": 0.7}


def test_words():
    assert format_transcript(SPOKEN, "tsv", words=True).splitlines()[1:3] == ["500\t900\tdon't", "1000\t1250\ta<b"]
    assert json.loads(format_transcript(SPOKEN, "json", words=True))["words"][0]["text"] == "don't"
    cues = parse_srt(format_transcript(SPOKEN, "srt", words=True))
    assert [cue[1:] for cue in cues] == [
        (500, 1000, ["don't"]),
        (1000, 2250, ["a<b"]),
        (3661000, 3662457, ["->"]),
    ]
    assert format_transcript(SPOKEN, "vtt", words=True).count("-->") == 3


@given(st.text(max_size=20))
def test_nothing_in_a_word_breaks_a_format(text):
    """A model's labels may be anything."""
    words = transcript([WordTiming(f"a{text}b", 0.0, 1.0, 1.0)])
    rows = format_transcript(words, "tsv").split("\n")
    assert len(rows) == 3 and rows[1].count("\t") == 2
    assert len(parse_srt(format_transcript(words, "srt"))) == 1
    vtt = format_transcript(words, "vtt")
    assert vtt.count("-->") == 1 and "<" not in vtt
    assert html.unescape(vtt).isprintable() or "\n" in vtt
    json.loads(format_transcript(words, "json"))


def test_no_speech():
    silence = Transcript("", 0.0, (), (), 3.0)
    found = {form: format_transcript(silence, form) for form in FORMATS}
    assert (found["text"], found["srt"], found["vtt"]) == ("\n", "", "WEBVTT\n\n")
    assert found["tsv"] == "start\tend\ttext\n" and json.loads(found["json"])["segments"] == []


def test_what_cannot_be_written():
    with pytest.raises(UserError, match="srt needs the times"):
        format_transcript(Transcript("yes"), "srt")
    with pytest.raises(UserError, match="'ass' is not a format"):
        format_transcript(SPOKEN, "ass")

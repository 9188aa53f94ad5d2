"""Transcripts as text, JSON, tab-separated values and subtitles (SubRip, WebVTT), in the formats of openai/whisper."""

from __future__ import annotations

import html
import json
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from jasper_tf.decoding.alignment import WordTiming
from jasper_tf.errors import UserError, printable
from jasper_tf.inference.segments import Segmentation, group_words
from jasper_tf.inference.transcript import Transcript

FORMATS = ("text", "json", "tsv", "srt", "vtt")
_SUFFIXES = {"text": ".txt"}

LINE_CHARACTERS = 42
"""A line of a subtitle holds no more, and a subtitle two lines: the limits of most broadcasters."""

SHORTEST_S, LONGEST_S = 1.0, 7.0
"""How long a subtitle is shown."""

_HOLD_S = 1.0
"""CTC ends words early, and who reads is slower than who speaks: a subtitle stays this long if the next one lets it."""


@dataclass(frozen=True)
class Cue:
    """A subtitle: one or two lines of text, shown from `start_s` to `end_s` seconds."""

    lines: tuple[str, ...]
    start_s: float
    end_s: float


def format_transcript(transcript: Transcript, form: str, words: bool = False) -> str:
    """The content of a file with a transcript; it ends with a line end.

    - text: a line for each segment.
    - json: an object as `Transcript.as_json` gives it.
    - tsv: columns start, end (milliseconds) and text, a line for each segment.
    - srt, vtt: a subtitle for each cue of `make_cues`.

    Args:
        transcript: with words, except for json.
        form: one of `FORMATS`.
        words: whether json has the words too, tsv a line and subtitles a cue for each word.

    Raises:
        UserError: the format needs times and the transcript has none, or it is not one of `FORMATS`.
    """
    if form == "json":
        return json.dumps(transcript.as_json(words), ensure_ascii=False) + "\n"
    if transcript.words is None or transcript.segments is None:
        raise UserError(f"the format {form} needs the times of words, which this transcript has not")
    if form == "text":
        return "".join(f"{printable(one.text)}\n" for one in transcript.segments) or "\n"
    if form == "tsv":
        timings = transcript.words if words else transcript.segments
        rows = [f"{_ms(one.start_s)}\t{_ms(one.end_s)}\t{printable(one.text)}\n" for one in timings]
        return "".join(["start\tend\ttext\n", *rows])
    if form == "srt":
        return _as_srt(make_cues(transcript.words, most_words=1 if words else None))
    if form == "vtt":
        return _as_vtt(make_cues(transcript.words, most_words=1 if words else None))
    raise UserError(f"{form!r} is not a format of transcripts; choose from {', '.join(FORMATS)}")


def suffix_of(form: str) -> str:
    """The suffix of the files of a format: ".txt" for text, else its name."""
    return _SUFFIXES.get(form, f".{form}")


def make_cues(
    words: Sequence[WordTiming], pause_s: float = Segmentation.pause_s, most_words: int | None = None
) -> list[Cue]:
    """Divides words into subtitles that do not overlap.

    A subtitle has at most two lines of `LINE_CHARACTERS`; a longer word is broken, into several subtitles where it
    must. It ends at a pause, and is shown from its first word on for `SHORTEST_S` to `LONGEST_S`; where words come
    faster than that allows, the next ones begin later.

    Args:
        words: in temporal order.
        pause_s: a gap between words from which on a subtitle ends, seconds.
        most_words: of a subtitle, which then is shown at its words' time, however short; None for as many as fit.
    """
    shortest_s = SHORTEST_S if most_words is None else 0.0
    words = [part for word in words for part in _broken(word)]

    def fits(i: int, j: int) -> bool:
        if most_words is not None and j - i > most_words:
            return False
        return words[j - 1].end_s - words[i].start_s <= LONGEST_S and len(_lines(words[i:j])) <= 2

    groups = group_words(words, pause_s, fits, shortest_s)
    starts, earliest_s = [], 0.0
    for group in groups:
        starts.append(max(earliest_s, group[0].start_s))
        earliest_s = starts[-1] + shortest_s
    cues = []
    for group, (start_s, next_s) in zip(groups, pairwise([*starts, float("inf")]), strict=True):
        end_s = max(group[-1].end_s + _HOLD_S, start_s + shortest_s)
        cues.append(Cue(tuple(_lines(group)), start_s, min(end_s, next_s, start_s + LONGEST_S)))
    return cues


def _broken(word: WordTiming) -> list[WordTiming]:
    """A word in parts that fit into a subtitle, its time divided by their lengths; most words are one part."""
    text, most = printable(word.text), 2 * LINE_CHARACTERS
    if len(text) <= most:
        return [word]
    of_character_s = (word.end_s - word.start_s) / len(text)
    return [
        WordTiming(
            text[at : at + most],
            word.start_s + at * of_character_s,
            word.start_s + min(at + most, len(text)) * of_character_s,
            word.confidence,
        )
        for at in range(0, len(text), most)
    ]


def _lines(words: Sequence[WordTiming]) -> list[str]:
    """One line, two of nearly the same length, or as many as it takes."""
    text = " ".join(printable(word.text) for word in words)
    if len(text) <= LINE_CHARACTERS:
        return [text]
    spaces = [at for at, character in enumerate(text) if character == " "]
    middle = min(spaces, key=lambda at: abs(2 * at - len(text)), default=0)
    if 0 < middle <= LINE_CHARACTERS and len(text) - middle - 1 <= LINE_CHARACTERS:
        return [text[:middle], text[middle + 1 :]]
    return textwrap.wrap(text, LINE_CHARACTERS, break_on_hyphens=False)


def _as_srt(cues: Sequence[Cue]) -> str:
    return "".join(
        f"{number}\n{_clock(cue.start_s, ',')} --> {_clock(cue.end_s, ',')}\n{_body(cue, str)}\n\n"
        for number, cue in enumerate(cues, 1)
    )


def _as_vtt(cues: Sequence[Cue]) -> str:
    def escape(line: str) -> str:
        return html.escape(line, quote=False)

    parts = [f"{_clock(cue.start_s, '.')} --> {_clock(cue.end_s, '.')}\n{_body(cue, escape)}\n\n" for cue in cues]
    return "".join(["WEBVTT\n\n", *parts])


def _body(cue: Cue, escape: Callable[[str], str]) -> str:
    # An arrow would begin another cue.
    return "\n".join(escape(line.replace("-->", "->")) for line in cue.lines)


def _ms(seconds: float) -> int:
    return round(1000 * seconds)


def _clock(seconds: float, point: str) -> str:
    whole, ms = divmod(_ms(seconds), 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}{point}{ms:03d}"

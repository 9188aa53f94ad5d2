"""Files of an alignment: JSON, CTM as of NeMo's aligner, TextGrid of Praat, SubRip subtitles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from jasper_tf.decoding.alignment import WordTiming
from jasper_tf.errors import printable
from jasper_tf.inference.segments import segment_words
from jasper_tf.inference.subtitles import format_transcript
from jasper_tf.inference.transcript import Transcript
from jasper_tf.text.sentencepiece_model import SPACE
from jasper_tf.text.tokenizer import Tokenizer

if TYPE_CHECKING:  # a wrong --format is answered without TensorFlow
    from jasper_tf.inference.alignment.long_alignment import Alignment
    from jasper_tf.inference.alignment.text_aligner import AlignedLabel, AlignedWord

FORMATS = ("json", "ctm", "textgrid", "srt")
LabelKind = Literal["letters", "pieces"]


def alignment_files(name: str, form: str) -> list[str]:
    """The paths below the output folder of a recording's files in a format other than json."""
    if form == "ctm":
        return [f"ctm/{level}/{name}.ctm" for level in ("words", "tokens")]
    return [f"{form}/{name}.{'TextGrid' if form == 'textgrid' else form}"]


def label_kind(tokenizer: Tokenizer) -> LabelKind:
    """What the files call the parts of words: "letters", or "pieces" of more than one character."""
    return "letters" if all(len(piece) == 1 for piece in tokenizer.pieces) else "pieces"


def format_alignment(
    alignment: Alignment, form: str, name: str, duration_s: float, labels: LabelKind = "letters"
) -> list[str]:
    """The contents of the files of `alignment_files`.

    Args:
        alignment: of the recording.
        form: ctm, textgrid or srt.
        name: of the recording, for CTM.
        duration_s: of the recording, seconds.
        labels: what the parts of words are.
    """
    if form == "ctm":
        return [_ctm(name, alignment.words), _ctm(name, _labels(alignment.words))]
    if form == "textgrid":
        last_s = alignment.words[-1].end_s if alignment.words else 0.0
        end_s = max(duration_s, last_s)  # the manifest's duration need not be exact
        return [_text_grid(alignment.words, end_s, labels)]
    words = tuple(alignment.words)
    text = " ".join(word.text for word in words)
    return [format_transcript(Transcript(text, words=words, segments=segment_words(words)), "srt")]


def as_json(alignment: Alignment, labels: LabelKind = "letters") -> dict[str, Any]:
    """Values for a line of JSON: seconds and scores rounded to four decimals; `score` is a mean log-posterior.

    Each word has its `letters` or `pieces`; a piece that starts a word begins with `▁`.
    """
    frames = [(word.score, word.end_s - word.start_s) for word in alignment.words]
    weight = sum(seconds for _, seconds in frames)
    return {
        "score": round(sum(score * seconds for score, seconds in frames) / weight, 4) if weight else None,
        "words": [{**_timing(word), labels: [_timing(one) for one in _labels([word])]} for word in alignment.words],
        "unmatched_text": [
            {"text": one.text, "start_s": round(one.start_s, 4), "end_s": round(one.end_s, 4)}
            for one in alignment.unmatched_text
        ],
        "unmatched_audio": [
            {"start_s": round(start_s, 4), "end_s": round(end_s, 4)} for start_s, end_s in alignment.unmatched_audio
        ],
    }


def _timing(one: AlignedLabel) -> dict[str, Any]:
    numbers = {key: round(getattr(one, key), 4) for key in ("start_s", "end_s", "score", "confidence")}
    return {"text": one.text, **numbers}


def _labels(words: Sequence[AlignedWord]) -> list[AlignedLabel]:
    """Those of all words; a space, with which only word pieces begin, as the tokenizer's file has it."""
    return [replace(one, text=one.text.replace(" ", SPACE)) for word in words for one in word.labels]


def _ctm(name: str, timings: Sequence[WordTiming]) -> str:
    """A line `utterance channel start duration text` for each; spaces in names are dashes (NeMo)."""
    name = printable(name).replace(" ", "-")
    return "".join(
        f"{name} 1 {one.start_s:.2f} {one.end_s - one.start_s:.2f} {printable(one.text)}\n" for one in timings
    )


def _text_grid(words: Sequence[AlignedWord], duration_s: float, labels: LabelKind) -> str:
    """Praat's long format, with a tier of words and one of characters or word pieces."""
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {duration_s:.4f}",
        "tiers? <exists>",
        "size = 2",
        "item []:",
    ]
    parts = "characters" if labels == "letters" else labels
    for number, (tier, timings) in enumerate((("words", words), (parts, _labels(words))), 1):
        intervals = _without_gaps(timings, duration_s)
        lines += [
            f"    item [{number}]:",
            '        class = "IntervalTier"',
            f'        name = "{tier}"',
            "        xmin = 0",
            f"        xmax = {duration_s:.4f}",
            f"        intervals: size = {len(intervals)}",
        ]
        for k, (start_s, end_s, text) in enumerate(intervals, 1):
            quoted = printable(text).replace('"', '""')
            lines += [
                f"        intervals [{k}]:",
                f"            xmin = {start_s:.4f}",
                f"            xmax = {end_s:.4f}",
                f'            text = "{quoted}"',
            ]
    return "\n".join(lines) + "\n"


def _without_gaps(timings: Sequence[WordTiming], duration_s: float) -> list[tuple[float, float, str]]:
    """Intervals that follow each other from 0 to `duration_s`, those between the timings with empty texts."""
    intervals: list[tuple[float, float, str]] = []
    at_s = 0.0
    for one in timings:
        if round(one.start_s, 4) > round(at_s, 4):
            intervals.append((at_s, one.start_s, ""))
        intervals.append((one.start_s, one.end_s, one.text))
        at_s = one.end_s
    if round(duration_s, 4) > round(at_s, 4) or not intervals:
        intervals.append((at_s, duration_s, ""))
    return intervals

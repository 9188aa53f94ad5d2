"""Report of an evaluation as one HTML page, with recordings to play."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from html import escape
from pathlib import Path
from typing import IO

import numpy as np
import soundfile

from jasper_tf.data.manifest.line import Utterance
from jasper_tf.errors import UserError, printable, shorten
from jasper_tf.inference.evaluation.evaluate import Evaluation, ScoredUtterance
from jasper_tf.inference.recording import open_recording
from jasper_tf.inference.transcriber import Transcriber
from jasper_tf.io.remote import is_remote
from jasper_tf.metrics.edits import Edit, find_edits
from jasper_tf.plots.calibration import draw_reliability

_MOST_UTTERANCES = 1000
_MOST_CONFUSIONS = 25
_EMBEDDED_BYTES = 16_000_000
"""Of recordings as 16-bit FLAC: a page of at most 22 MB, about a quarter of an hour at 16 kHz."""

_STYLE = """
:root { color-scheme: light dark; --text: #1c2128; --dim: #59636e; --page: #fff; --card: #f6f8fa; --line: #d1d9e0;
  --wrong: #b3261e; --added: #0b57d0; --gone: #8a4b00; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --dim: #9198a1; --page: #0d1117; --card: #161b22;
  --line: #3d444d; --wrong: #ff8a80; --added: #8ab4f8; --gone: #f0b35a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1rem; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
.dim { color: var(--dim); font-size: .875rem; }
table { border-collapse: collapse; width: 100%; font-size: .9375rem; }
th, td { text-align: left; padding: .2rem .75rem .2rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; overflow-wrap: normal; width: 30%; }
.errors { display: flex; flex-wrap: wrap; gap: .375rem; margin: .25rem 0 .75rem; font-size: .9375rem; }
.errors > span { background: var(--card); border: 1px solid var(--line); border-radius: .375rem; padding: 0 .5rem; }
.errors b { color: var(--dim); font-weight: 400; }
article { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .75rem;
  margin: .75rem 0; }
img { max-width: 100%; }
article audio { width: 100%; max-width: 30rem; height: 2.5rem; margin-top: .5rem; display: block; }
.words { display: flex; flex-wrap: wrap; gap: .375rem .5rem; margin: .375rem 0; }
.words > span { display: inline-flex; flex-direction: column; line-height: 1.35; }
.words > span > :last-child { color: var(--dim); }
.words del { color: var(--gone); font-weight: 600; } .words ins { font-weight: 600; }
.words > .substitute > ins { color: var(--wrong); } .words > .insert > ins { color: var(--added); }
.words > .substitute > del { text-decoration: none; color: inherit; }
.words ins { text-decoration: none; } .words i { font-style: normal; color: var(--dim); }
"""


def write_page(file: IO[str], evaluation: Evaluation, transcriber: Transcriber, model: str, manifest: str) -> str:
    """Writes the page; it needs no other file and runs no script.

    The utterances with the most word errors come first, up to 1000 of them. Their recordings, as the model heard them,
    are embedded up to 16 MB; those beyond are linked where they are files. Every text is escaped.

    Args:
        file: an open text file.
        evaluation: the results.
        transcriber: that recognized them: it tells how the audio is read.
        model, manifest: names for the heading.

    Returns:
        A line that says how many utterances are on the page and how many can be played there.
    """
    ranked = evaluation.worst_first()
    shown = ranked[:_MOST_UTTERANCES]
    recordings = _Recordings(transcriber)
    file.write(
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        'media-src data:; img-src data:">\n'
        f"<title>{_safe(f'Evaluation of {model}')}</title>\n<style>{_STYLE}</style>\n"
        f"<h1>Evaluation</h1>\n{_table(_summary(evaluation, transcriber, model, manifest))}\n"
    )
    file.write(_confusions(evaluation))
    file.write(_calibration(evaluation))
    file.write(
        f"<h2>Utterances</h2>\n<p class=dim>{len(shown)} of {len(ranked)}, the most word errors first. "
        "Reference above, model below: "
        "<span class=words><span class=substitute><del>word</del><ins>substituted</ins></span> "
        "<span class=delete><del>deleted</del><i>∅</i></span> "
        "<span class=insert><i>∅</i><ins>inserted</ins></span></span>\n"
    )
    for one in shown:
        file.write(_article(one, recordings.player(one.utterance)))
    unreadable = [*evaluation.absent, *evaluation.errors.values()]
    if unreadable:
        file.write(f"<h2>Unreadable recordings</h2>\n<p class=dim>{len(unreadable)}, not scored\n<ul>\n")
        file.writelines(f"<li>{_safe(line)}\n" for line in unreadable[:_MOST_UTTERANCES])
        file.write("</ul>\n")
    summary = f"{len(shown)} of {len(ranked)} utterances, {recordings.embedded} with their recording, the worst first"
    if recordings.linked:
        summary += f"; {recordings.linked} recordings are linked by path"
    if without := len(shown) - recordings.embedded - recordings.linked:
        summary += f"; {without} utterances are without"
    file.write(f"<p class=dim>{summary}\n</html>\n")
    return f"page: {summary}"


class _Recordings:
    """Players and links for utterances, the embedded ones within `_EMBEDDED_BYTES`."""

    def __init__(self, transcriber: Transcriber):
        self._transcriber = transcriber
        self._left = _EMBEDDED_BYTES
        self.embedded = self.linked = 0

    def player(self, utterance: Utterance) -> str:
        transcriber, rate = self._transcriber, self._transcriber.model.sample_rate
        if 2 * rate * utterance.duration_s <= self._left:  # as if FLAC saved nothing: a longer one is not even read
            channel, trim = transcriber.channel_selector, transcriber.trim_silence
            try:
                content = _flac(open_recording(utterance, rate, None, channel, trim).whole(), rate)
            except (UserError, soundfile.SoundFileError) as error:
                return f"<p class=dim>no recording: {_safe(error)}\n"
            self._left -= len(content)
            self.embedded += 1
            data = base64.b64encode(content).decode()
            return f'<audio controls preload="none" src="data:audio/flac;base64,{data}"></audio>\n'
        if utterance.record is not None or is_remote(utterance.path):  # in a shard or an archive, or not a file
            return ""
        self.linked += 1
        where = Path(utterance.path).absolute().as_uri()
        return f'<p class=dim><a href="{escape(where)}#t={utterance.offset_s:g}">the recording</a>\n'


def _flac(audio: np.ndarray, rate: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, audio, rate, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def _summary(evaluation: Evaluation, transcriber: Transcriber, model: str, manifest: str) -> Iterator[tuple[str, str]]:
    words, characters = evaluation.words, evaluation.characters
    known = words.utterances > 0
    yield "word error rate", f"{words.rate:.2%}" if known else "unknown"
    yield "character error rate", f"{characters.rate:.2%}" if known else "unknown"
    yield (
        "word errors",
        f"{words.substitutions} substituted, {words.deletions} deleted, {words.insertions} inserted, "
        f"of {words.reference} words",
    )
    yield "utterances", f"{words.utterances}, {evaluation.audio_s / 3600:.2f} h"
    if evaluation.unreadable:
        yield "unreadable recordings", f"{evaluation.unreadable}, not scored"
    if unknown := evaluation.unknown_characters:
        named = ", ".join(f"{character!r} {count}" for character, count in unknown.most_common(_MOST_CONFUSIONS))
        yield "characters that are no labels", f"{unknown.total()}, they count as errors: {named}"
    yield "model", model
    yield "manifest", manifest
    trimmed = ", silence trimmed" if transcriber.trim_silence else ""
    yield "audio", f"channel {transcriber.channel_selector}, {transcriber.model.sample_rate} Hz{trimmed}"
    if evaluation.calibration is not None:
        yield "expected calibration error of words", f"{evaluation.calibration.error:.2%}"
    if evaluation.audio_s:
        yield "real-time factor", f"{evaluation.elapsed_s / evaluation.audio_s:.4f}"
    yield "date", datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")


def _table(rows: Iterable[tuple[str, str]]) -> str:
    return "<table>" + "".join(f"<tr><th>{_safe(name)}<td>{_safe(value)}" for name, value in rows) + "</table>"


def _confusions(evaluation: Evaluation) -> str:
    words, characters = evaluation.word_confusions, evaluation.character_confusions
    kinds: list[tuple[str, Counter[str] | Counter[tuple[str, str]]]] = [
        ("words substituted", words.substitutions),
        ("words deleted", words.deletions),
        ("words inserted", words.insertions),
        ("characters substituted", characters.substitutions),
        ("characters deleted", characters.deletions),
        ("characters inserted", characters.insertions),
    ]
    found = "".join(_counts(title, counts) for title, counts in kinds if counts)
    return f"<h2>Most frequent errors</h2>\n{found}" if found else ""


def _calibration(evaluation: Evaluation) -> str:
    if evaluation.calibration is None:
        return ""
    picture = io.BytesIO()
    draw_reliability(picture, evaluation.calibration)
    data = base64.b64encode(picture.getvalue()).decode()
    return (
        "<h2>Confidence of words</h2>\n<p class=dim>Words by confidence: how many of them are right. Words that were "
        f'not recognized have no part in it.\n<p><img alt="reliability diagram" src="data:image/png;base64,{data}">\n'
    )


def _counts(title: str, counts: Counter[str] | Counter[tuple[str, str]]) -> str:
    most = counts.most_common(_MOST_CONFUSIONS)
    of = f", {len(most)} of {len(counts)} kinds" if len(counts) > len(most) else ""
    errors = []
    for error, count in most:
        texts = (error,) if isinstance(error, str) else error
        shown = " → ".join(_safe(shorten(text, 60).replace(" ", "␣")) for text in texts)
        errors.append(f"<span>{shown} <b>{count}</b></span>")
    return f"<div class=dim>{title}{of}</div>\n<p class=errors>{''.join(errors)}\n"


def _article(one: ScoredUtterance, player: str) -> str:
    words, utterance = one.words, one.utterance
    rates = f"WER {words.rate:.1%}, {words.errors} in {words.reference} words, CER {one.characters.rate:.1%}"
    where = f"{utterance.path}, {utterance.duration_s:.1f} s from {utterance.offset_s:.1f} s, {utterance.source}"
    edits = find_edits(printable(utterance.text), printable(one.text))
    pairs = "".join(map(_pair, edits)) or "<i>no words</i>"
    return (
        f"<article><b>{rates}</b>\n<div class=words dir=auto>{pairs}</div>\n"
        f"{player}<div class=dim>{_safe(where)}</div></article>\n"
    )


def _pair(edit: Edit) -> str:
    reference, hypothesis = _safe(edit.reference), _safe(edit.hypothesis)
    if edit.kind == "equal":
        pair = f"<span>{reference}</span><i>{hypothesis}</i>"
    elif edit.kind == "substitute":
        pair = f"<del>{reference}</del><ins>{hypothesis}</ins>"
    elif edit.kind == "delete":
        pair = f"<del>{reference}</del><i>∅</i>"
    else:
        pair = f"<i>∅</i><ins>{hypothesis}</ins>"
    return f'<span class="{edit.kind}">{pair}</span>'


def _safe(text: object) -> str:
    """Any text as HTML: nothing in it is markup, and no control character steers the page."""
    return escape(printable(str(text)))

"""Evaluation of a model on the utterances of a manifest."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from jasper_tf.data.manifest.columns import Manifest
from jasper_tf.data.manifest.line import Utterance
from jasper_tf.errors import UserError, printable
from jasper_tf.inference.transcriber import Transcriber
from jasper_tf.inference.transcript import ScoredText, Transcript
from jasper_tf.io.progress import Progress
from jasper_tf.metrics.calibration import Calibration, measure_calibration
from jasper_tf.metrics.confusions import Confusions
from jasper_tf.metrics.edits import count_edits, find_edits
from jasper_tf.metrics.error_rate import ErrorCounts


@dataclass(frozen=True, slots=True)
class ScoredUtterance:
    """An utterance with the model's text and its errors."""

    utterance: Utterance
    text: str
    words: ErrorCounts
    characters: ErrorCounts
    n_best: tuple[ScoredText, ...] | None = None


@dataclass
class Evaluation:
    """Error rates of a model on a manifest.

    Attributes:
        scored: the utterances, in the manifest's order; None for one whose recording cannot be read.
        errors: by number of the utterance, why its recording cannot be read.
        absent: a line for each utterance that is not in `scored`: its recording is in no tar file.
        words, characters: errors of all scored utterances.
        word_confusions, character_confusions: which errors they are.
        unknown_characters: those of the references that the model cannot write, with their counts.
        audio_s: seconds of the scored recordings.
        elapsed_s: seconds that recognition took, reading included.
        word_confidence, word_correct: of each word that was recognized; empty where the transcriber gives no words.
    """

    scored: list[ScoredUtterance | None]
    errors: dict[int, str] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    words: ErrorCounts = field(default_factory=ErrorCounts)
    characters: ErrorCounts = field(default_factory=ErrorCounts)
    word_confusions: Confusions = field(default_factory=Confusions)
    character_confusions: Confusions = field(default_factory=Confusions)
    unknown_characters: Counter[str] = field(default_factory=Counter)
    audio_s: float = 0.0
    elapsed_s: float = 0.0
    word_confidence: list[float] = field(default_factory=list)
    word_correct: list[bool] = field(default_factory=list)

    @property
    def calibration(self) -> Calibration | None:
        """Whether the confidences of words mean what they say; None if they are not known."""
        return measure_calibration(self.word_confidence, self.word_correct) if self.word_confidence else None

    @property
    def unreadable(self) -> int:
        """Recordings that cannot be read: their utterances do not count in the rates."""
        return len(self.errors) + len(self.absent)

    def worst_first(self) -> list[ScoredUtterance]:
        """The scored utterances by their word errors, then by word and character error rate; the most first."""
        scored = [one for one in self.scored if one is not None]
        return sorted(scored, key=lambda one: (-one.words.errors, -one.words.rate, -one.characters.rate))

    def _add(self, i: int, utterance: Utterance, found: Transcript) -> None:
        words, characters = (find_edits(utterance.text, found.text, unit) for unit in ("word", "character"))
        one = ScoredUtterance(utterance, found.text, count_edits(words), count_edits(characters), found.n_best)
        self.scored[i] = one
        self.words, self.characters = self.words + one.words, self.characters + one.characters
        self.word_confusions.add(words)
        self.character_confusions.add(characters)
        if found.words is not None and [word.text for word in found.words] == found.text.split():
            self.word_confidence += [word.confidence for word in found.words]
            self.word_correct += [edit.kind == "equal" for edit in words if edit.hypothesis]
        self.audio_s += found.duration_s or 0.0


def evaluate(
    transcriber: Transcriber, utterances: Manifest | Sequence[Utterance], say: Callable[[str], None] = lambda line: None
) -> Evaluation:
    """Recognizes every utterance once and counts the errors, as the validation of a training does.

    Args:
        transcriber: the model, how audio is read and cut, and how it is decoded.
        utterances: with their references.
        say: takes a line for each recording that cannot be read, as soon as it is known.
    """
    found = Evaluation([None] * len(utterances))
    if isinstance(utterances, Manifest):
        found.absent = utterances.absent
        for absent in utterances.absent:
            say(f"error: {absent}")
    # Not those out of vocabulary: a tokenizer that folds capitals takes them, but writes none.
    written = transcriber.model.tokenizer.characters
    for utterance in utterances:
        found.unknown_characters.update(character for character in utterance.text if character not in written)
    if found.unknown_characters:
        table = ", ".join(f"{character!r} {count}" for character, count in found.unknown_characters.most_common())
        total = found.unknown_characters.total()
        say(f"{total} characters of the references are not among the labels and count as errors: {table}")

    # The longest first: a lack of memory shows at once.
    duration_s = utterances.duration_s if isinstance(utterances, Manifest) else [u.duration_s for u in utterances]
    order = np.argsort(-np.asarray(duration_s, np.float64), kind="stable").tolist()
    began = time.monotonic()
    with Progress("evaluating", len(utterances), note=lambda: f"WER {found.words.rate:.2%}") as progress:
        transcripts = transcriber.transcribe_each(utterances[i] for i in order)
        for i, transcript in zip(order, transcripts, strict=True):
            utterance = utterances[i]
            if isinstance(transcript, UserError):
                found.errors[i] = printable(f"{utterance.source}: {transcript}")
                progress.clear()
                say(f"error: {found.errors[i]}")
            else:
                found._add(i, utterance, transcript)
            progress.advance()
    found.elapsed_s = time.monotonic() - began
    return found


def prediction_lines(evaluation: Evaluation, utterances: Sequence[Utterance]) -> list[dict[str, Any]]:
    """Values for a JSON line per utterance, in order: as in a manifest, with pred_text, wer and cer, or error."""
    lines = []
    for i, (utterance, one) in enumerate(zip(utterances, evaluation.scored, strict=True)):
        line = {
            "audio_filepath": utterance.path,
            "offset": utterance.offset_s,
            "duration": utterance.duration_s,
            "text": utterance.text,
        }
        if one is None:
            lines.append(line | {"error": evaluation.errors[i]})
        else:
            line |= {"pred_text": one.text, "wer": one.words.rate, "cer": one.characters.rate}
            if one.n_best is not None:
                line["n_best"] = [asdict(best) for best in one.n_best]
            lines.append(line)
    return lines

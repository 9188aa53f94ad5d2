"""Transcripts in the formats of OpenAI's interface."""

from __future__ import annotations

import math
import zlib
from typing import Any

from jasper_tf.decoding.alignment import WordTiming
from jasper_tf.inference.subtitles import format_transcript
from jasper_tf.inference.transcript import Transcript, n_best_rows
from jasper_tf.text.tokenizer import Tokenizer

_LEAST_PROBABILITY = 1e-10


def json_values(transcript: Transcript, logprobs: bool) -> dict[str, Any]:
    """`response_format=json`: text, usage, and what was asked for of n_best and logprobs."""
    found: dict[str, Any] = {"text": transcript.text, "usage": _usage(transcript)}
    if transcript.n_best is not None:
        found["n_best"] = n_best_rows(transcript.n_best)
    if logprobs:
        found["logprobs"] = word_logprobs(transcript.words or ())
    return found


def verbose_values(
    transcript: Transcript,
    tokenizer: Tokenizer,
    language: str,
    temperature: float,
    words: bool,
    segments: bool,
) -> dict[str, Any]:
    """`response_format=verbose_json`.

    `avg_logprob` is the logarithm of a segment's confidence; `no_speech_prob` is 0, a CTC model gives none.
    `confidence` and `n_best` are not OpenAI's.

    Args:
        transcript: with words.
        tokenizer: of the model, for `tokens`.
        language: as the client named it.
        temperature: as the client gave it.
        words, segments: which of them are wanted.
    """
    found: dict[str, Any] = {
        "task": "transcribe",
        "language": language,
        "duration": round(transcript.duration_s or 0.0, 4),
        "text": transcript.text,
        "usage": _usage(transcript),
    }
    if transcript.confidence is not None:
        found["confidence"] = round(transcript.confidence, 4)
    if segments:
        found_segments = transcript.segments or ()
        # Without the error of `encode`: a text may hold what stands for the unknown.
        labels = tokenizer.encode_batch([one.text for one in found_segments])
        found["segments"] = [
            {
                "id": number,
                "seek": round(100 * one.start_s),  # in frames of 10 ms, as Whisper counts
                "start": round(one.start_s, 4),
                "end": round(one.end_s, 4),
                "text": one.text,
                "tokens": [int(label) for label in tokens],
                "temperature": temperature,
                "avg_logprob": _log(one.confidence),
                "compression_ratio": round(_compression(one.text), 4),
                "no_speech_prob": 0.0,
                "confidence": round(one.confidence, 4),
            }
            for number, (one, tokens) in enumerate(zip(found_segments, labels, strict=True))
        ]
    if words:
        found["words"] = [
            {
                "word": one.text,
                "start": round(one.start_s, 4),
                "end": round(one.end_s, 4),
                "confidence": round(one.confidence, 4),
            }
            for one in transcript.words or ()
        ]
    if transcript.n_best is not None:
        found["n_best"] = n_best_rows(transcript.n_best)
    return found


def text_body(transcript: Transcript, response_format: str) -> str:
    """`response_format` text, srt or vtt; text is one line."""
    return f"{transcript.text}\n" if response_format == "text" else format_transcript(transcript, response_format)


def word_logprobs(words: tuple[WordTiming, ...]) -> list[dict[str, Any]]:
    """OpenAI's `logprobs`, by words: their tokens are those of another model."""
    tokens = [one.text if number == 0 else f" {one.text}" for number, one in enumerate(words)]
    return [
        {"token": token, "logprob": _log(one.confidence), "bytes": list(token.encode("utf-8"))}
        for token, one in zip(tokens, words, strict=True)
    ]


def _usage(transcript: Transcript) -> dict[str, Any]:
    return {"type": "duration", "seconds": math.ceil(transcript.duration_s or 0.0)}


def _log(probability: float) -> float:
    return round(math.log(max(probability, _LEAST_PROBABILITY)), 4)


def _compression(text: str) -> float:
    """Whisper's measure of repetition."""
    content = text.encode("utf-8")
    return len(content) / len(zlib.compress(content)) if content else 0.0

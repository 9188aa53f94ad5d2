"""What every recognizer does with audio, whichever runtime computes its frames."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from jasper_tf.config.sections.decoding_schema import DecodingConfig
from jasper_tf.decoding.beam.hot_word_file import GivenHotWords
from jasper_tf.decoding.hypothesis_decoder import HypothesisDecoder
from jasper_tf.decoding.outputs import TextOutputs
from jasper_tf.text.tokenizer import Tokenizer


class TranscribingModel:
    """Base of JasperCTC and of its exports in their runtimes.

    Attributes:
        tokenizer: of its V labels.
        frame_s: seconds from one frame to the next.
        decoding: the model's own decoder.
    """

    tokenizer: Tokenizer
    frame_s: float
    decoding: HypothesisDecoder

    @abstractmethod
    def frame_scores(self, audio: np.ndarray, audio_len: np.ndarray) -> tuple[Any, Any]:
        """Audio [B,S] float32, audio_len [B] int32 -> logits or log-probabilities [B,T',V+1], valid frames [B]."""

    def recognize_batch(
        self,
        audio: np.ndarray,
        audio_len: np.ndarray,
        words: bool = True,
        decoder: HypothesisDecoder | None = None,
        hot_words: GivenHotWords | None = None,
    ) -> dict[str, np.ndarray]:
        """Recognizes audio [B,S] float32, audio_len [B] int32 -> the outputs of `text_outputs`.

        `decoder` None: the model's own (`decoding`).

        Raises:
            UserError: a runtime fails; hot words that the decoder cannot use.
        """
        decoder = decoder or self.decoding
        hypotheses = decoder.decode(*self.frame_scores(audio, audio_len), hot_words)
        return self._text_outputs(hypotheses, decoder.word_aggregation, words)

    @functools.cached_property
    def _text_outputs(self) -> TextOutputs:
        return TextOutputs(self.tokenizer, self.frame_s)

    def transcribe(
        self,
        recordings: Any,
        batch_size: int = 16,
        sample_rate: int | None = None,
        decoding: DecodingConfig | Mapping[str, Any] | None = None,
        hot_words: GivenHotWords | None = None,
    ) -> Any:
        """Transcribes one recording to a `Transcript`, or several to a list of them in their order.

        `str()` of a transcript is its text; it also has words and segments with times, a confidence and the duration.

            print(model.transcribe("recording.flac"))
            for word in model.transcribe(samples, sample_rate=44100).words:
                print(word.start_s, word.text)

        Args:
            recordings: a path; an array or tensor [S] or [S, channels], floats of full scale 1 or PCM as in a WAV file
                (int16, int32, uint8); an open binary file, or the bytes of one; or an iterable of them.
            batch_size: recordings at a time, at most.
            sample_rate: of arrays, Hz; they are resampled. Default: the model's. Files state their own.
            decoding: as `Transcriber` takes it. A language model is read in each call; for several calls make a
                `Transcriber`. Default: the model's own.
            hot_words: words or phrases with their weights, `{"jasper": 8}`, or a list of them, for a beam search.

        Raises:
            UserError: a recording cannot be read, is empty, has NaN or infinite samples or an impossible rate, shape or
                type. The message names it.
        """
        import jasper_tf  # the public names: what transcribes is above the model

        transcriber = jasper_tf.Transcriber(self, decoding=decoding, batch_size=batch_size)
        return transcriber.transcribe(recordings, sample_rate, hot_words)

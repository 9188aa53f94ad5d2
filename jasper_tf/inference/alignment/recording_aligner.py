"""Aligns recordings of any length with their texts, in batches and in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from jasper_tf.audio.pad_audio import pad_audio
from jasper_tf.data.manifest.line import Utterance
from jasper_tf.errors import UserError
from jasper_tf.inference.alignment.long_alignment import Alignment, align_long
from jasper_tf.inference.alignment.recording_frames import AcousticModel, read_recording_frames
from jasper_tf.inference.alignment.text_aligner import TextAligner
from jasper_tf.inference.long_audio import Chunking
from jasper_tf.inference.recording import Recording, open_recording

_READERS = 4
_BATCH_S = 240.0
"""Seconds of audio in a batch, padding included: it bounds the memory."""


class RecordingAligner:
    """Aligns utterances of a manifest with their texts.

    Args:
        model: a JasperCTC, a SavedModelTranscriber or an EdgeRecognizer, as `load_recognizer` gives them.
        batch_size: largest number of utterances in a batch.
        long_s: recordings longer than this are aligned by `align_long`: parts of the text need not be said. Shorter
            ones say all of it.
        chunking: recordings above its `chunk_s` go through the model in pieces.
    """

    def __init__(
        self, model: AcousticModel, batch_size: int = 16, long_s: float = 180.0, chunking: Chunking | None = None
    ):
        self.model = model
        self.batch_size = batch_size
        self.long_s = long_s
        self.chunking = chunking or Chunking()
        self.aligner = TextAligner(model.tokenizer, model.frame_s)

    def align(
        self, utterances: Sequence[Utterance], on_progress: Callable[[float], object] | None = None
    ) -> list[Alignment | UserError]:
        """Returns the alignment of each utterance, or why there is none: it cannot be read, or `TextAligner.align`.

        Args:
            utterances: with their texts.
            on_progress: called with the seconds that were done.
        """
        report = on_progress or (lambda _: None)
        rate = self.model.sample_rate
        found: dict[int, Alignment | UserError] = {}
        whole: list[tuple[int, Recording]] = []
        for i, utterance in enumerate(utterances):
            try:
                self.aligner.require_labels(" ".join(utterance.text.split()))
                recording = open_recording(utterance, rate)
                if recording.samples > min(self.long_s, self.chunking.chunk_s) * rate:
                    found[i] = self._align_one(recording, utterance.text, report)
                else:
                    whole.append((i, recording))
                    continue
            except UserError as error:
                found[i] = error
                report(utterance.duration_s)
        # The longest first: a shortage of memory shows at once.
        whole.sort(key=lambda one: -one[1].samples)
        with ThreadPoolExecutor(_READERS) as pool:
            while whole:
                rows = max(1, min(self.batch_size, int(_BATCH_S * rate / max(whole[0][1].samples, 1))))
                batch, whole = whole[:rows], whole[rows:]
                audio: dict[int, np.ndarray] = {}
                for (i, _), future in [(one, pool.submit(one[1].whole)) for one in batch]:
                    try:
                        audio[i] = future.result()
                    except UserError as error:
                        found[i] = error
                found |= self._align_batch(audio, [utterances[i].text for i in audio])
                report(sum(utterances[i].duration_s for i, _ in batch))
        return [found[i] for i in range(len(utterances))]

    def _align_batch(self, audio: dict[int, np.ndarray], texts: Sequence[str]) -> dict[int, Alignment | UserError]:
        if not audio:
            return {}
        log_probs, logit_len = self.model.log_probs(*pad_audio([*audio.values()]))
        frames = [row[:size] for row, size in zip(log_probs, logit_len, strict=True)]
        words = self.aligner.align(frames, [" ".join(text.split()) for text in texts])
        results = (one if isinstance(one, UserError) else Alignment(one) for one in words)
        return dict(zip(audio, results, strict=True))

    def _align_one(self, recording: Recording, text: str, report: Callable[[float], object]) -> Alignment:
        frames = read_recording_frames(self.model, recording, self.chunking, report)
        if recording.samples > self.long_s * self.model.sample_rate:
            return align_long(self.aligner, frames, text)
        [words] = self.aligner.align([frames.log_probs], [" ".join(text.split())])
        if isinstance(words, UserError):
            raise words
        return Alignment(words)

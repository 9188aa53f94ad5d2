"""Validation samples in TensorBoard: transcripts, spectrograms, alignments and audio."""

from __future__ import annotations

import time

import keras
import numpy as np
import tensorflow as tf

from jasper_tf.audio.pad_audio import pad_audio
from jasper_tf.data.batches.pipeline import SpeechBatches
from jasper_tf.decoding.alignment import time_labels
from jasper_tf.decoding.greedy.greedy_decoder import GreedyDecoder
from jasper_tf.errors import UserError
from jasper_tf.metrics.edit_table import edit_table, escape_markdown
from jasper_tf.metrics.error_rate import wer
from jasper_tf.plots.speech import alignment_picture, spec_augment_picture
from jasper_tf.training.run.log import RunLog
from jasper_tf.training.run.training_state import TrainingState

_AT_A_TIME = 8
_ALIGNMENTS = 3
_ALIGNED_S = 4.0  # the beginning of a longer utterance: letters must stay legible


class ValidationSamples(keras.callbacks.Callback):
    """Writes sample transcripts to TensorBoard after each validation, the worst first, and details of some utterances.

    The transcripts have marked errors; they are the worst of `candidates`. The details are the CTC posteriors of three
    utterances with the decoded labels, and of one the audio and the features before and after SpecAugment: always of
    the same ones, to see what changes. The audio of one training utterance shows the augmentation.

    Args:
        batches: the validation batches; the candidates are spread over their lengths.
        training: the training batches.
        log: of the run; its `writer` writes TensorBoard's event file.
        state: of the run.
        samples: number of transcripts.
        candidates: number of utterances to choose them from; their audio stays in memory.

    Frequent validations are skipped, except the last of a run, so that samples take at most 5 % of the time.
    """

    def __init__(
        self,
        batches: SpeechBatches,
        training: SpeechBatches,
        log: RunLog,
        state: TrainingState,
        samples: int = 8,
        candidates: int = 64,
    ):
        super().__init__()
        self.log = log
        self.training = training
        self.state = state
        self.samples = samples
        self.of = len(batches.audio_len)
        by_length = np.argsort(batches.audio_len, kind="stable")
        chosen = by_length[_spread(len(by_length), candidates)]
        read = [(batches.utterances[int(i)], _read(batches, int(i))) for i in chosen]
        self.utterances = [utterance for utterance, audio in read if audio is not None]
        self.audio = [audio for _, audio in read if audio is not None]
        self.training_index = int(np.argsort(training.audio_len, kind="stable")[len(training.audio_len) // 2])
        self._decoder = GreedyDecoder()  # as `compile_model`
        self._not_before = 0.0
        self._left_out: int | None = None

    def on_epoch_end(self, epoch, logs=None):
        if not self.audio or not any(key.startswith("val_") for key in logs):
            return
        began = time.monotonic()
        self._left_out = self.state.step if began < self._not_before else None
        if self._left_out is None:
            self._write(epoch)
            self._not_before = time.monotonic() + 20 * (time.monotonic() - began)

    def on_train_end(self, logs=None):
        if self._left_out == self.state.step:
            self._write(self.state.epoch)
            self._left_out = None

    def _write(self, epoch: int) -> None:
        texts: list[str] = []
        log_probs: list[np.ndarray] = []
        for first in range(0, len(self.audio), _AT_A_TIME):
            found, logit_len = self.model.log_probs(*pad_audio(self.audio[first : first + _AT_A_TIME]))
            best = self._decoder(found, logit_len).best()
            texts += [text.decode() for text in self.model.tokenizer.decode_in_graph(best.labels).numpy()]
            log_probs += [x[:n] for x, n in zip(found, logit_len, strict=True)]
        shown = _spread(len(self.audio), _ALIGNMENTS)
        alignments = [self._alignment(self.utterances[k].text, texts[k], log_probs[k]) for k in shown]
        k = len(self.audio) // 2
        with self.log.writer.as_default(step=self.state.step):
            tf.summary.text("validation/transcripts", self._transcripts(texts))
            tf.summary.image("validation/alignment", np.stack(alignments), max_outputs=_ALIGNMENTS)
            tf.summary.image("validation/spec_augment", self._features(self.audio[k], self.utterances[k].text)[None])
            self._write_audio("validation/audio", self.audio[k], self.utterances[k].text)
            augmented = _read(self.training, self.training_index, epoch)
            if augmented is not None:
                self._write_audio(
                    "train/audio_augmented", augmented, self.training.utterances[self.training_index].text
                )
        self.log.writer.flush()

    def _transcripts(self, texts: list[str]) -> str:
        rates = np.array([wer([u.text], [text]) for u, text in zip(self.utterances, texts, strict=True)])
        worst = np.argsort(-rates, kind="stable")[: self.samples]
        table = edit_table([self.utterances[k].text for k in worst], [texts[k] for k in worst])
        number = f"{len(worst)} worst of {len(texts)} utterances"
        return f"{number} (the set has {self.of}), {np.sum(rates == 0)} of them without an error\n\n{table}"

    def _alignment(self, said: str, heard: str, log_probs: np.ndarray) -> np.ndarray:
        model = self.model
        log_probs = log_probs[: int(_ALIGNED_S / model.frame_s)]
        best = self._decoder(log_probs[None], np.array([len(log_probs)])).best()
        [labels] = time_labels(best, model.tokenizer, model.frame_s)
        return alignment_picture(log_probs, model.tokenizer, labels, model.frame_s, f"said: {said}\nheard: {heard}")

    def _features(self, audio: np.ndarray, text: str) -> np.ndarray:
        model = self.model
        padded, audio_len = pad_audio([audio])
        one = {"audio": padded, "audio_len": audio_len}
        clean, _, feature_len = model.spectrograms(one, training=False)
        # Masks advance a random state, and the training must not depend on the samples.
        before = [v.numpy() for v in model.spectrograms.variables]
        _, masked, _ = model.spectrograms(one, training=True)
        for variable, value in zip(model.spectrograms.variables, before, strict=True):
            variable.assign(value)
        shown, hidden = (np.asarray(x[0, : int(feature_len[0])]) for x in (clean, masked))
        band_hz = model.get_layer("log_mel").band_hz
        return spec_augment_picture(shown, hidden, model.hop / model.sample_rate, f"said: {text}", band_hz=band_hz)

    def _write_audio(self, tag: str, audio: np.ndarray, text: str) -> None:
        # Clipped to full scale: louder samples would wrap around in the WAV file.
        samples = np.clip(audio, -1.0, 1.0)[None, :, None]
        tf.summary.audio(tag, samples, self.model.sample_rate, description=f"said: {escape_markdown(text)}")


def _spread(number: int, most: int) -> np.ndarray:
    """Returns at most `most` indices, evenly spread over `number`."""
    return np.linspace(0, number - 1, min(most, number)).astype(int)


def _read(batches: SpeechBatches, index: int, epoch: int | None = None) -> np.ndarray | None:
    """Returns the audio of an utterance; None if it cannot be read and the batches skip such utterances."""
    try:
        return batches.read(index, epoch)
    except UserError:
        if batches.bad_audio is None:
            raise
        return None

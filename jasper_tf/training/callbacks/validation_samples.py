"""Validation samples in TensorBoard: transcripts, spectrograms, alignments and audio."""

from __future__ import annotations

import time

import keras
import numpy as np
import tensorflow as tf

from jasper_tf.data.batches.pipeline import SpeechBatches
from jasper_tf.decoding.alignment import time_labels
from jasper_tf.errors import UserError
from jasper_tf.metrics.edit_table import edit_table, escape_markdown
from jasper_tf.model.jasper_ctc import pad_audio
from jasper_tf.plots.speech import alignment_picture, spec_augment_picture
from jasper_tf.training.run.log import RunLog
from jasper_tf.training.run.training_state import TrainingState


class ValidationSamples(keras.callbacks.Callback):
    """Writes sample transcripts with marked errors to TensorBoard after each validation, and details of one utterance.

    The details are its audio, its features before and after SpecAugment, and the CTC posteriors with the decoded
    labels. The audio of one training utterance shows the augmentation.

    Args:
        batches: the validation batches; the samples are spread over their lengths.
        training: the training batches.
        log: of the run; its `writer` writes TensorBoard's event file.
        state: of the run.
        samples: number of transcripts.

    Frequent validations are skipped, except the last of a run, so that samples take at most 5 % of the time.
    """

    def __init__(
        self,
        batches: SpeechBatches,
        training: SpeechBatches,
        log: RunLog,
        state: TrainingState,
        samples: int = 8,
    ):
        super().__init__()
        self.log = log
        self.training = training
        self.state = state
        by_length = np.argsort(batches.audio_len, kind="stable")
        chosen = by_length[np.linspace(0, len(by_length) - 1, min(samples, len(by_length))).astype(int)]
        read = [(batches.utterances[int(i)], _read(batches, int(i))) for i in chosen]
        self.utterances = [utterance for utterance, audio in read if audio is not None]
        self.audio = [audio for _, audio in read if audio is not None]
        self.training_index = int(np.argsort(training.audio_len, kind="stable")[len(training.audio_len) // 2])
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
        model = self.model
        audio, audio_len = pad_audio(self.audio)
        texts, logits, logit_len = (t.numpy() for t in model.recognize(audio, audio_len))
        k = len(self.utterances) // 2
        one = {"audio": audio[k : k + 1], "audio_len": audio_len[k : k + 1]}
        clean, _, feature_len = model.spectrograms(one, training=False)
        # Masks advance a random state, and the training must not depend on the samples.
        before = [v.numpy() for v in model.spectrograms.variables]
        _, masked, _ = model.spectrograms(one, training=True)
        for variable, value in zip(model.spectrograms.variables, before, strict=True):
            variable.assign(value)
        frames = int(feature_len[0])
        frame_s = model.hop / model.sample_rate
        log_probs = tf.nn.log_softmax(logits[k, : logit_len[k]]).numpy()
        best = model.decoding(log_probs[None], np.array([len(log_probs)])).best()
        [labels] = time_labels(best, model.tokenizer, model.frame_s)
        title = self.utterances[k].text
        features = spec_augment_picture(
            np.asarray(clean[0, :frames]), np.asarray(masked[0, :frames]), frame_s, f"said: {title}"
        )
        alignment = alignment_picture(log_probs, model.tokenizer, labels, model.frame_s, f"said: {title}")
        with self.log.writer.as_default(step=self.state.step):
            table = edit_table([u.text for u in self.utterances], [text.decode() for text in texts])
            tf.summary.text("validation/transcripts", table)
            tf.summary.image("validation/spec_augment", features[None])
            tf.summary.image("validation/alignment", alignment[None])
            self._write_audio("validation/audio", self.audio[k], title)
            augmented = _read(self.training, self.training_index, epoch)
            if augmented is not None:
                self._write_audio(
                    "train/audio_augmented", augmented, self.training.utterances[self.training_index].text
                )
        self.log.writer.flush()

    def _write_audio(self, tag: str, audio: np.ndarray, text: str) -> None:
        # Clipped to full scale: louder samples would wrap around in the WAV file.
        samples = np.clip(audio, -1.0, 1.0)[None, :, None]
        tf.summary.audio(tag, samples, self.model.sample_rate, description=f"said: {escape_markdown(text)}")


def _read(batches: SpeechBatches, index: int, epoch: int | None = None) -> np.ndarray | None:
    """Returns the audio of an utterance; None if it cannot be read and the batches skip such utterances."""
    try:
        return batches.read(index, epoch)
    except UserError:
        if batches.bad_audio is None:
            raise
        return None

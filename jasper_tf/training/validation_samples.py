"""What the model hears and says, as pictures and texts in TensorBoard."""

from __future__ import annotations

import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from jasper_tf.data.pipeline import SpeechBatches
from jasper_tf.decoding.alignment import greedy_letters
from jasper_tf.decoding.greedy import greedy_decode
from jasper_tf.decoding.pictures import alignment_picture, spectrogram_picture
from jasper_tf.jasper_ctc import pad_audio
from jasper_tf.training.checkpoint import Position


class ValidationSamples(keras.callbacks.Callback):
    """After each validation: transcripts of some utterances beside their references, and pictures of one of them.

    The pictures: the features, the features under the training's masks, and the CTC posterior with the decoded letters.

    Args:
        batches: the validation batches; the samples are spread over their lengths.
        folder: of TensorBoard's event files.
        position: where the run stands.
        samples: how many transcripts.

    Where validations follow each other quickly some go without: the pictures take at most a twentieth of the time.
    """

    def __init__(self, batches: SpeechBatches, folder: Path, position: Position, samples: int = 8):
        super().__init__()
        self.writer = tf.summary.create_file_writer(str(folder), filename_suffix=".samples")
        self.position = position
        by_length = np.argsort(batches.audio_len, kind="stable")
        chosen = by_length[np.linspace(0, len(by_length) - 1, min(samples, len(by_length))).astype(int)]
        self.utterances = [batches.utterances[i] for i in chosen]
        self.audio = [batches.read(i) for i in chosen]
        self._not_before = 0.0

    def on_epoch_end(self, epoch, logs=None):
        began = time.monotonic()
        if any(key.startswith("val_") for key in logs) and began >= self._not_before:
            self._write()
            self._not_before = time.monotonic() + 20 * (time.monotonic() - began)

    def _write(self) -> None:
        model = self.model
        audio, audio_len = pad_audio(self.audio)
        texts, logits, logit_len = (t.numpy() for t in model.recognise(audio, audio_len))
        lines = ["| reference | hypothesis |", "|---|---|"]
        lines += [f"| {u.text} | {text.decode()} |" for u, text in zip(self.utterances, texts, strict=True)]
        k = len(self.utterances) // 2
        one = {"audio": audio[k : k + 1], "audio_len": audio_len[k : k + 1]}
        clean, _, feature_len = model.spectrograms(one, training=False)
        # To draw masks moves their random states on; the training must not depend on being watched.
        before = [v.numpy() for v in model.spectrograms.variables]
        _, masked, _ = model.spectrograms(one, training=True)
        for variable, value in zip(model.spectrograms.variables, before, strict=True):
            variable.assign(value)
        frames = int(feature_len[0])
        frame_s = model.hop / model.sample_rate
        log_probs = tf.nn.log_softmax(logits[k, : logit_len[k]]).numpy()
        [letters] = greedy_letters(greedy_decode(log_probs[None], [len(log_probs)]), model.labels, model.frame_s)
        title = self.utterances[k].text
        with self.writer.as_default(step=self.position.step):
            tf.summary.text("validation/transcripts", "\n".join(lines))
            pictures = {
                "features": spectrogram_picture(np.asarray(clean[0, :frames]), frame_s, title),
                "features_masked": spectrogram_picture(np.asarray(masked[0, :frames]), frame_s, title),
                "alignment": alignment_picture(log_probs, model.labels, letters, model.frame_s, title),
            }
            for name, picture in pictures.items():
                tf.summary.image(f"validation/{name}", picture[None])
        self.writer.flush()

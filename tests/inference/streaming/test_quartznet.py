"""Buffered chunks of a deep network with real weights say nearly what it says of whole recordings."""

import json

import numpy as np
import pytest

from jasper_tf.audio.load import load_audio
from jasper_tf.inference.load_model import load_recognizer
from jasper_tf.inference.transcriber import Transcriber
from jasper_tf.metrics.error_rate import wer

RECORDINGS = (18, 19, 22, 25, 26, 29, 30, 35)
"""Of the manifest, among the longest: most of their windows have neither beginning nor end."""


@pytest.mark.slow
def test_words_of_buffered_chunks(shared):
    manifest = shared / "data/librispeech_mini/test_manifest.json"
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    lines = [lines[k] for k in RECORDINGS]
    model = load_recognizer(shared / "pretrained/quartznet15x5_en.nemo")
    transcriber = Transcriber(model)
    audio = [load_audio(manifest.parent / line["audio_filepath"], model.sample_rate) for line in lines]
    texts, found = [line["text"] for line in lines], []
    for one in audio:
        live = transcriber.stream()
        assert live.delay_s == pytest.approx(3.2)
        updates = [update for part in np.array_split(one, 20) for update in live.push(part)] + live.finish()
        found.append(" ".join(update.text for update in updates if update.kind == "final" and update.text))
    offline = [one.text for one in transcriber.transcribe(audio)]
    assert wer(texts, found) <= wer(texts, offline) + 0.005
    assert wer(offline, found) <= 0.01

"""Compares live transcription with that of whole recordings: error rate, words that differ, delay and compute.

    python tests/benchmarks/streaming.py SHARED [--model M] [--data librispeech_mini/test] [--settings 4.8/1.6/1.6 ...]

SHARED holds pretrained/quartznet15x5_en.nemo and data/*/*_manifest.json. Seconds are left/chunk/right context.
`differ` is the word error rate against the text of the whole recording, `compute` the CPU time of `push` and `finish`,
in blocks of 0.1 s, over that of the same graph and the same decoding for whole recordings, one by one; reading files
counts for neither. The last three columns are one stream of all recordings in a row.
"""

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from jasper_tf.audio.load import load_audio
from jasper_tf.inference.load_model import load_recognizer
from jasper_tf.inference.streaming.start_stream import start_decoder
from jasper_tf.inference.transcriber import Transcriber
from jasper_tf.metrics.error_rate import wer

SETTINGS = ("1.2/1.6/1.2", "4.8/0.8/0.8", "4.8/1.6/0.8", "4.8/1.6/1.6", "3.2/3.2/1.6", "8/3.2/3.2")


def stream(transcriber: Transcriber, audio: np.ndarray, seconds: list[float]) -> str:
    live = transcriber.stream(*seconds)
    block = transcriber.model.sample_rate // 10
    updates = [update for at in range(0, len(audio), block) for update in live.push(audio[at : at + block])]
    return " ".join(one.text for one in [*updates, *live.finish()] if one.kind == "final" and one.text)


def whole(transcriber: Transcriber, audio: np.ndarray) -> str:
    """By the parts that a stream uses: `recognize_batch` decodes eagerly, which costs more than it would have to."""
    model = transcriber.model
    log_probs, frames = model.log_probs(audio[None], np.array([len(audio)], np.int32))
    decoder = start_decoder(transcriber.decoder or model.decoding, model)
    return " ".join(word.text for word in [*decoder.push(log_probs[0, : frames[0]]), *decoder.finish()])


def timed(function, *arguments):
    begin = time.process_time()
    found = function(*arguments)
    return found, time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("shared", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--data", default="librispeech_mini/test")
    parser.add_argument("--settings", nargs="+", default=SETTINGS)
    parser.add_argument("--decoding", type=json.loads, help='such as {"strategy": "beam"}')
    arguments = parser.parse_args()
    manifest = arguments.shared / "data" / f"{arguments.data}_manifest.json"
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    model = load_recognizer(arguments.model or arguments.shared / "pretrained/quartznet15x5_en.nemo")
    transcriber = Transcriber(model, decoding=arguments.decoding)
    audio = [load_audio(manifest.parent / line["audio_filepath"], model.sample_rate) for line in lines]
    texts = [line["text"] for line in lines]
    for one in audio[:3]:
        whole(transcriber, one)
        stream(transcriber, one, [4.8, 1.6, 1.6])
    found, whole_s = timed(lambda: [whole(transcriber, one) for one in audio])
    seconds = sum(map(len, audio)) / model.sample_rate
    print(f"whole recordings: WER {wer(texts, found):.2%}, {len(audio)} of {seconds:.0f} s, CPU {whole_s:.1f} s")
    of_each = f"{'WER':>8}{'differ':>8}{'compute':>9}"
    print(f"{'left/chunk/right':<20}{'delay':>8}{of_each}  in a row:{of_each}")
    for setting in arguments.settings:
        parts = [float(one) for one in setting.split("/")]
        live, live_s = timed(lambda parts=parts: [stream(transcriber, one, parts) for one in audio])
        row, row_s = timed(stream, transcriber, np.concatenate(audio), parts)
        delay_s = transcriber.stream(*parts).delay_s
        of_each = f"{wer(texts, live):>8.2%}{wer(found, live):>8.2%}{live_s / whole_s:>9.2f}"
        of_row = f"{wer([' '.join(texts)], [row]):>8.2%}{wer([' '.join(found)], [row]):>8.2%}{row_s / whole_s:>9.2f}"
        print(f"{setting:<20}{delay_s:>6.1f} s{of_each}{'':>11}{of_row}", flush=True)


if __name__ == "__main__":
    main()

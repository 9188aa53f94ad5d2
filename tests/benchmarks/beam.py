"""Times the beam search against pyctcdecode: the same log-probabilities, language model and weights, one core.

    python tests/benchmarks/beam.py SHARED [rounds]

SHARED holds decoding/golden and decoding/lm. Needs pyctcdecode and kenlm. The candidates take turns, so that a busy
machine slows all of them; printed are the medians of CPU seconds. pyctcdecode decodes one utterance after the other, as
it always does; the beam takes 16 or one.
"""

import gzip
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from pyctcdecode import build_ctcdecoder

from jasper_tf.decoding.beam.beam_decoder import BeamDecoder
from jasper_tf.decoding.beam.language_model import LanguageModel
from jasper_tf.text.tokenizer import CharacterTokenizer

FRAME_S = 0.02
UTTERANCES = 32


def _batches(arrays, size):
    for at in range(0, len(arrays), size):
        some = arrays[at : at + size]
        lengths = np.array([len(array) for array in some], np.int32)
        batch = np.zeros((len(some), max(lengths), some[0].shape[1]), np.float32)
        for row, array in zip(batch, some, strict=True):
            row[: len(array)] = array
        yield tf.constant(batch), tf.constant(lengths)


def main(shared: Path, rounds: int) -> None:
    logging.disable(logging.WARNING)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    golden = shared / "decoding/golden"
    arrays = np.load(golden / "log_probs_mini_dev_snr0.npz")
    lines = json.loads((golden / "log_probs_mini_dev_snr0.json").read_text())[:UTTERANCES]
    log_probs = sorted((arrays[line["key"]].astype(np.float32) for line in lines), key=len)
    audio_s = sum(map(len, log_probs)) * FRAME_S
    tokenizer = CharacterTokenizer(arrays["labels"].tolist())
    arpa = shared / "decoding/lm/word_3gram.arpa.gz"
    begin = time.process_time()
    model = LanguageModel.read(arpa, tokenizer)
    size = sum(array.nbytes for array in model.tables.arrays.values()) / 2**20
    print(f"{arpa.name}: {time.process_time() - begin:.1f} s to read, {size:.0f} MB of tables")
    with tempfile.NamedTemporaryFile(suffix=".arpa") as unpacked:
        unpacked.write(gzip.decompress(arpa.read_bytes()))
        unpacked.flush()
        words = [word for word in model.tables.vocabulary if not word.startswith("<")]
        theirs = build_ctcdecoder([*tokenizer.pieces, ""], unpacked.name, words, alpha=0.35, beta=1.2)

    signature = [tf.TensorSpec((None, None, len(tokenizer) + 1)), tf.TensorSpec((None,), tf.int32)]
    for beam_size in (16, 64):
        decoder = BeamDecoder(tokenizer, {"beam_size": beam_size}, model)
        # Times and confidences are not computed.
        texts = partial(_texts, decoder=decoder, tokenizer=tokenizer)
        graph = tf.function(texts, input_signature=signature, autograph=False)
        candidates = {
            "pyctcdecode": partial(_each, partial(theirs.decode, beam_width=beam_size), [(one,) for one in log_probs]),
            "batches of 16": partial(_each, graph, list(_batches(log_probs, 16))),
            "one at a time": partial(_each, graph, list(_batches(log_probs, 1))),
        }
        for run in candidates.values():
            run()
        seconds: dict[str, list[float]] = {name: [] for name in candidates}
        for _ in range(rounds):
            for name, run in candidates.items():
                begin = time.process_time()
                run()
                seconds[name].append(time.process_time() - begin)
        print(f"beam {beam_size}, {len(log_probs)} utterances of {audio_s / len(log_probs):.1f} s")
        for name, taken in seconds.items():
            median = 1000 * statistics.median(taken)
            print(f"  {name:15s} {median / len(log_probs):6.1f} ms an utterance, {median / audio_s:5.2f} ms a second")


def _each(function, arguments):
    for some in arguments:
        function(*some)


def _texts(log_probs, length, decoder, tokenizer):
    return tokenizer.decode_in_graph(decoder(log_probs, length).best().labels)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 5)

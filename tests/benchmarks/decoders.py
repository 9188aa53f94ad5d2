"""Compares decoders on the same log-probabilities: word error rates, and milliseconds an utterance.

    python tests/benchmarks/decoders.py SHARED [processors]

SHARED holds decoding/golden (log-probabilities of QuartzNet 15x5, clean and with noise) and decoding/lm. The weights
were fitted on mini_dev_snr0. Counted are also the hot words that were heard where they were said, and elsewhere.
Batches of 16; the time is the wall clock's over all sets, the first call of a decoder left out.
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from jasper_tf.config.sections.decoding_schema import DecodingConfig
from jasper_tf.decoding.beam.language_model import LanguageModel
from jasper_tf.decoding.build_decoder import build_decoder
from jasper_tf.metrics.error_rate import wer
from jasper_tf.text.tokenizer import CharacterTokenizer
from jasper_tf.tuning.log_prob_file import LogProbFile

SETS = ("mini_dev", "mini_test", "mini_dev_snr0", "mini_test_snr0")
HOT_WORDS = ("ronicky", "doone", "tolliver", "barberini", "fatty coon", "singsong")
"""Said 13 times in mini_dev, and with noise in mini_dev_snr0."""
WORD = {"ngram_lm_alpha": 0.35, "beam_beta": 1.2}
LABEL = {"ngram_lm_alpha": 0.3, "beam_beta": 0.3}
DECODERS = (
    ("greedy", None, {}),
    ("beam 16", None, {"beam_size": 16}),
    ("beam 16, word_3gram", "word_3gram", {"beam_size": 16, **WORD}),
    ("beam 64, word_3gram", "word_3gram", {"beam_size": 64, **WORD}),
    ("beam 16, word_4gram", "word_4gram", {"beam_size": 16, **WORD}),
    ("beam 16, char_6gram", "char_6gram", {"beam_size": 16, **LABEL}),
    ("beam 64, char_6gram", "char_6gram", {"beam_size": 64, **LABEL}),
    (
        "beam 16, word_3gram, hot words",
        "word_3gram",
        {"beam_size": 16, "hot_words": dict.fromkeys(HOT_WORDS, 8.0), **WORD},
    ),
)


def read_set(golden: Path, name: str) -> tuple[CharacterTokenizer, LogProbFile, list[str]]:
    arrays = np.load(golden / f"log_probs_{name}.npz")
    lines = json.loads((golden / f"log_probs_{name}.json").read_text())
    tokenizer = CharacterTokenizer(arrays["labels"].tolist())
    log_probs = LogProbFile(len(tokenizer) + 1)
    for line in lines:
        log_probs.append(arrays[line["key"]])
    return tokenizer, log_probs, [line["text"] for line in lines]


def main(shared: Path, processors: int) -> None:
    tf.config.threading.set_intra_op_parallelism_threads(processors)
    tf.config.threading.set_inter_op_parallelism_threads(processors)
    sets = {name: read_set(shared / "decoding/golden", name) for name in SETS}
    tokenizer = sets[SETS[0]][0]
    models: dict[str | None, LanguageModel | None] = {None: None}
    print(f"{'':<32}" + "".join(f"{name:>16}" for name in SETS) + f"{'ms/utterance':>16}{'hot words':>12}{'false':>7}")
    for name, lm, beam in DECODERS:
        if lm not in models:
            models[lm] = LanguageModel.read(shared / f"decoding/lm/{lm}.arpa.gz", tokenizer)
        config = DecodingConfig(strategy="beam" if beam else "greedy", beam=beam)
        decoder = build_decoder(config, tokenizer, models[lm])
        shape = [None, None, len(tokenizer) + 1]

        @tf.function(input_signature=[tf.TensorSpec(shape), tf.TensorSpec([None], tf.int32)], autograph=False)
        def decode(log_probs, logit_len, decoder=decoder):
            return tokenizer.decode_in_graph(decoder(log_probs, logit_len).best().labels)

        decode(np.zeros((16, 40, shape[2]), np.float32), np.full(16, 40, np.int32))
        rates, spent, count, expected, right, false = [], 0.0, 0, 0, 0, 0
        for _, log_probs, references in sets.values():
            texts = [""] * len(references)
            for numbers, batch, logit_len in log_probs.batches(16):
                began = time.perf_counter()
                decoded = decode(batch, logit_len).numpy()
                spent += time.perf_counter() - began
                for number, text in zip(numbers, decoded, strict=True):
                    texts[number] = text.decode()
            count += len(texts)
            rates.append(wer(references, texts))
            for word in HOT_WORDS:
                for said, heard in zip(references, texts, strict=True):
                    wanted, found = (f" {text} ".count(f" {word} ") for text in (said, heard))
                    expected += wanted
                    right += min(wanted, found)
                    false += max(0, found - wanted)
        row = "".join(f"{rate:>16.2%}" for rate in rates)
        print(f"{name:<32}{row}{1000 * spent / count:>16.1f}{f'{right} of {expected}':>12}{false:>7}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)

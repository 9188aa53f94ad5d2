"""Small models of word pieces, made, saved and run by NVIDIA NeMo itself; in the environment of `make nemo-parity`.

    python make_word_pieces.py TEXTS

TEXTS has a text a line. Writes unigram.nemo and wpe.nemo beside this file (gzip tars, as of NeMo 1.x), and
word_pieces.json: round trips of texts, and log-probabilities of noise, every fifth frame. NeMo 3.0.0, float32, CPU.
"""

import gzip
import json
import os
import sys
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"

import numpy as np
import sentencepiece
import tokenizers
import torch
from nemo.collections.asr.models import EncDecCTCModelBPE
from nemo.utils import logging
from omegaconf import OmegaConf

logging.setLevel(logging.ERROR)
HERE = Path(__file__).resolve().parent
TEXTS = Path(sys.argv[1]).resolve()
BLOCK = {"filters": 8, "repeat": 1, "kernel": [5], "stride": [2], "dilation": [1], "dropout": 0.0, "residual": False}
MODULES = "nemo.collections.asr.modules"
ODD = ["", "don't", "abc, def. ok?", "qqq zzz", "Enter SIX"]


def train(kind: str, folder: Path) -> None:
    if kind == "wpe":
        tokenizer = tokenizers.BertWordPieceTokenizer(lowercase=True)
        tokenizer.train(str(TEXTS), vocab_size=60)
        tokenizer.save_model(str(folder))
        # What NeMo asks the hub for; `vocab_file` takes the place of its vocabulary.
        hub = Path("bert-base-cased")
        hub.mkdir()
        (hub / "config.json").write_text('{"model_type": "bert"}')
        (hub / "tokenizer_config.json").write_text('{"do_lower_case": false, "model_max_length": 512}')
        return
    sentencepiece.SentencePieceTrainer.train(
        input=str(TEXTS), model_prefix=str(folder / "tokenizer"), vocab_size=60, model_type=kind, bos_id=-1, eos_id=-1,
        normalization_rule_name="identity", num_threads=1, minloglevel=2,
    )  # fmt: skip
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    pieces = [processor.id_to_piece(i) for i in range(1, processor.get_piece_size())]
    (folder / "vocab.txt").write_text("".join(f"{p[1:] or p if p[0] == '▁' else '##' + p}\n" for p in pieces))


def make(kind: str, folder: Path) -> dict:
    train(kind, folder)
    config = {
        "sample_rate": 16000,
        "tokenizer": {"dir": str(folder), "type": "wpe" if kind == "wpe" else "bpe"},
        "preprocessor": {"_target_": f"{MODULES}.AudioToMelSpectrogramPreprocessor", "features": 8, "dither": 0.0},
        "encoder": {
            "_target_": f"{MODULES}.ConvASREncoder",
            "feat_in": 8,
            "activation": "relu",
            "conv_mask": True,
            "jasper": [BLOCK, BLOCK | {"separable": True, "se": True}],
        },
        "decoder": {"_target_": f"{MODULES}.ConvASRDecoder", "feat_in": 8, "num_classes": -1, "vocabulary": []},
        "optim": {"name": "novograd", "lr": 0.01},
    }
    torch.manual_seed(0)
    model = EncDecCTCModelBPE(cfg=OmegaConf.create(config)).eval()
    model.save_to(str(folder / "model.nemo"))
    (HERE / f"{kind}.nemo").write_bytes(gzip.compress((folder / "model.nemo").read_bytes(), mtime=0))
    audio = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 8000)).astype(np.float32) * 0.1)
    with torch.no_grad():
        log_probs, _, _ = model(input_signal=audio, input_signal_length=torch.tensor([8000]))
    texts = [*TEXTS.read_text().splitlines()[:12], *ODD]
    ids = [model.tokenizer.text_to_ids(text) for text in texts]
    back = [model.tokenizer.ids_to_text(row) for row in ids]
    return {
        "round_trip": [{"text": t, "ids": i, "back": b} for t, i, b in zip(texts, ids, back, strict=True)],
        "log_probs": np.round(log_probs[0, ::5].numpy().astype(float), 4).tolist(),
        "classes": model.decoder.num_classes_with_blank,
    }


with tempfile.TemporaryDirectory() as temporary:
    os.chdir(temporary)
    found = {}
    for kind in ("unigram", "wpe"):
        Path(kind).mkdir()
        found[kind] = make(kind, Path(kind).resolve())
(HERE / "word_pieces.json").write_text(json.dumps(found, ensure_ascii=False, separators=(",", ":")) + "\n")

"""Archives written by export-nemo, run by NVIDIA NeMo itself: `make nemo-parity`."""

import json
import os
import re
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml

from jasper_tf.__main__ import main
from jasper_tf.audio.load import load_audio
from jasper_tf.audio.pad_audio import pad_audio
from jasper_tf.config import config_from_dict
from jasper_tf.data.manifest.columns import read_manifest
from jasper_tf.inference.load_model import load_model
from jasper_tf.interop.nemo.model import import_nemo
from jasper_tf.metrics.error_rate import count_errors
from jasper_tf.model.jasper_ctc import build_model
from jasper_tf.text.tokenizer import CharacterTokenizer
from jasper_tf.text.train_sentencepiece import SentencePieceOptions, train_sentencepiece
from jasper_tf.text.word_piece_tokenizer import WordPieceTokenizer

pytestmark = [pytest.mark.nemo, pytest.mark.slow]

REPOSITORY = Path(__file__).parents[3]
LABELS = list(" abcdefghijklmnopqrstuvwxyz'")
FIRST = {"filters": 32, "repeat": 1, "kernel": [11], "stride": [2], "dilation": [1], "dropout": 0.1, "residual": False}
BODY = FIRST | {"filters": 48, "repeat": 2, "stride": [1], "residual": True}
LAST = FIRST | {"filters": 64, "kernel": [1], "stride": [1]}
DENSE = BODY | {"residual_dense": True, "se": True}
CERTAIN = FIRST | {"filters": 32, "stride": [1], "dropout": 0.0}
SEPARABLE = BODY | {"separable": True, "filters": 32}
ENCODERS = {
    "dense_se": {"jasper": [FIRST, DENSE, DENSE | {"filters": 40}, FIRST | {"stride": [1], "dilation": [2]}, LAST]},
    "separable": {"jasper": [FIRST | {"separable": True}, SEPARABLE, SEPARABLE | {"heads": 8}, LAST]},
    "other": {
        "activation": "swish",
        "normalization_mode": "group",
        "norm_groups": 8,
        "residual_mode": "stride_add",
        "jasper": [
            FIRST,
            SEPARABLE | {"repeat": 1, "stride": [2], "kernel_size_factor": 0.5, "se": True, "se_reduction_ratio": 4},
            BODY | {"residual_mode": "max", "groups": 4},
            LAST,
        ],
    },
    "interctc": {"jasper": [CERTAIN, CERTAIN | {"repeat": 2, "residual": True, "se": True}, CERTAIN, CERTAIN]},
}
INTERCTC = {"loss_weights": [0.2, 0.3], "apply_at_layers": [2, 0]}
PIECES = {"bpe": SEPARABLE, "unigram": DENSE, "wpe": BODY | {"se": True}}
"""Models of word pieces, with their second block."""
LOSSES = ("inter_ctc_loss_l2", "inter_ctc_loss_l0", "final_loss")


def make_tokenizer(name: str, texts: list[str], folder: Path) -> None:
    """The folder of a tokenizer."""
    if name == "wpe":
        letters = [*"abcdefghijklmnopqrstuvwxyz'"]
        words = sorted({word for text in texts for word in text.split() if "'" not in word})
        lines = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters), *words]
        files = WordPieceTokenizer([*dict.fromkeys(lines)]).files()
    else:
        files = train_sentencepiece(texts, SentencePieceOptions(60, name)).files()
    folder.mkdir()
    for file, content in files.items():
        (folder / file).write_bytes(content)


def save_model(name: str, folder: Path, texts: list[str]) -> None:
    """A run's folder: model.keras with random weights and statistics, config.yaml with every training section.

    `interctc` draws no random numbers in training: its step is compared too.
    """
    certain = name == "interctc"
    what = {"labels": LABELS}
    encoder = ENCODERS.get(name)
    if name in PIECES:
        make_tokenizer(name, texts, folder.with_name(f"{name}_tokenizer"))
        what = {
            "tokenizer": {"dir": str(folder.with_name(f"{name}_tokenizer")), "type": "wpe" if name == "wpe" else "bpe"}
        }
        encoder = {"jasper": [FIRST, PIECES[name], LAST]}
    spec_augment = {"freq_masks": 1, "time_masks": 1, "time_width": 0.05}
    config = config_from_dict(
        {
            "name": name,
            "model": {
                **what,
                "train_ds": {"manifest_filepath": "absent.json", "shuffle": True, "augmentor": None},
                "validation_ds": {"manifest_filepath": "absent.json"},
                # NeMo's transcribe sets pad_to to 0, its forward does not; group norm sees the difference.
                "preprocessor": {
                    "normalize": "per_feature",
                    "pad_to": 0 if name == "other" else 16,
                    "dither": 0.0 if certain else 1e-5,
                },
                "spec_augment": None if certain else spec_augment,
                "interctc": INTERCTC if certain else None,
                "encoder": {"feat_in": 64, **encoder},
                "decoder": {},
                "optim": {"lr": 0.01, "sched": {"name": "CosineAnnealing", "warmup_steps": 7}},
            },
        }
    )
    model = build_model(config)
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if variable.path.endswith(("gamma", "moving_variance")):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif variable.path.endswith(("beta", "moving_mean")):
            variable.assign(rng.normal(0.0, 0.3, variable.shape))
    folder.mkdir()
    model.save(folder / "model.keras")
    (folder / "config.yaml").write_text(yaml.safe_dump(config.to_dict(), sort_keys=False))


@pytest.fixture(scope="module")
def an4_dev(shared):
    return read_manifest(shared / "data" / "an4" / "dev_manifest.json")


@pytest.fixture(scope="module")
def batch(an4_dev):
    return pad_audio([load_audio(u.path) for u in an4_dev[:6]])


@pytest.fixture(scope="module")
def spelled(an4_dev):
    """The labels [B,U] and label_len [B] of `batch`."""
    labels = [CharacterTokenizer(LABELS).encode(u.text) for u in an4_dev[:6]]
    size = max(map(len, labels))
    return np.stack([np.pad(row, (0, size - len(row))) for row in labels]), np.array([len(row) for row in labels])


@pytest.fixture(scope="module")
def nemo(shared, an4_dev, batch, spelled, tmp_path_factory):
    """Folder of NAME/ (ours), NAME.nemo (exported from it) and NAME.npz (what NeMo makes of that)."""
    python = Path(os.environ.get("NEMO_PYTHON") or REPOSITORY / ".venv-nemo" / "bin" / "python")
    if not python.is_file():
        pytest.skip(f"no {python}; `make nemo-parity` makes it")
    folder = tmp_path_factory.mktemp("nemo_parity")
    anchor = shared / "pretrained" / "an4_anchor.nemo"
    for name in (*ENCODERS, *PIECES):
        save_model(name, folder / name, [u.text for u in an4_dev])
    # What NeMo asks Hugging Face's hub for when the labels are a WordPiece vocabulary.
    (folder / "bert-base-cased").mkdir()
    (folder / "bert-base-cased" / "config.json").write_text('{"model_type": "bert"}')
    (folder / "bert-base-cased" / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert main(["import-nemo", str(anchor), "--output", str(folder / "an4_anchor")]) == 0
    names = [*ENCODERS, *PIECES, "an4_anchor"]
    for name in names:
        assert main(["export-nemo", "--model", str(folder / name), "--output", str(folder / f"{name}.nemo")]) == 0
    (folder / "original.nemo").symlink_to(anchor)
    paths = np.array([u.path for u in an4_dev])
    given = {
        "audio": batch[0],
        "audio_len": batch[1],
        "labels": spelled[0],
        "label_len": spelled[1],
        "paths": paths,
        "given": np.array([u.text for u in an4_dev]),
    }
    np.savez(folder / "input.npz", **given)
    archives = [folder / f"{name}.nemo" for name in [*names, "original"]]
    script = Path(__file__).with_name("nemo_reference.py")
    subprocess.run([python.absolute(), script, folder / "input.npz", *archives], check=True, cwd=folder)
    return folder


def written(text: str, name: str) -> str:
    """NeMo's transcript, of a WordPiece model without special labels and without the marks of a first piece."""
    return re.sub(r"\s*\[(PAD|UNK|CLS|SEP|MASK)\]", "", text).strip().removeprefix("##") if name == "wpe" else text


def as_nemo(text: str) -> str:
    """Our transcript without the spaces that NeMo 3 removes before a punctuation mark of the vocabulary."""
    return text.replace(" '", "'")


def margins(log_probs: np.ndarray, lengths: np.ndarray) -> float:
    """The smallest lead of a frame's winner."""
    scores = np.sort(np.concatenate([rows[:n] for rows, n in zip(log_probs, lengths, strict=True)]))
    return float(np.min(scores[:, -1] - scores[:, -2]))


@pytest.mark.parametrize("name", [*ENCODERS, *PIECES, "an4_anchor"])
def test_nemo_computes_what_we_compute(nemo, batch, an4_dev, name):
    model, theirs = load_model(nemo / name), np.load(nemo / f"{name}.npz")
    x = {"audio": batch[0], "audio_len": batch[1]}
    features, _, feature_len = model.spectrograms(x)
    y = model(x, training=False)
    log_probs, length = np.asarray(keras.ops.log_softmax(y["logits"])), np.asarray(y["logit_len"])
    texts = [*map(str, model.transcribe([u.path for u in an4_dev], batch_size=1))]

    apart = {
        "features": float(np.max(np.abs(np.transpose(features, (0, 2, 1)) - theirs["features"]))),
        "log_probs": max(
            float(np.max(np.abs(a[:n] - b[:n]))) for a, b, n in zip(log_probs, theirs["log_probs"], length, strict=True)
        ),
    }
    odd = [
        i
        for i, (ours, text) in enumerate(zip(texts, theirs["texts"], strict=True))
        if as_nemo(ours) != written(text, name)
    ]
    print(
        f"\n{name}: features {apart['features']:.1e}, log-probabilities {apart['log_probs']:.1e} apart, "
        f"closest winner {margins(log_probs, length):.1e}, {len(texts) - len(odd)} of {len(texts)} transcripts equal, "
        f"{sum(map(len, texts))} characters"
    )
    np.testing.assert_array_equal(feature_len, theirs["feature_len"])
    np.testing.assert_array_equal(length, theirs["log_prob_len"])
    assert apart["features"] < 5e-4
    assert apart["log_probs"] < 1e-4
    assert len(set(texts)) > 30
    # The anchor has one frame where the two best differ by less than float32 resolves.
    assert len(odd) <= (1 if name == "an4_anchor" else 0), [(texts[i], str(theirs["texts"][i])) for i in odd]


@pytest.mark.parametrize("name", PIECES)
def test_what_nemo_saves_is_imported(nemo, batch, name):
    ours, again = load_model(nemo / name), import_nemo(nemo / f"{name}.saved.nemo").model
    assert again.tokenizer.get_config() == ours.tokenizer.get_config()
    np.testing.assert_allclose(again.log_probs(*batch)[0], ours.log_probs(*batch)[0], rtol=0, atol=1e-6)
    theirs = np.load(nemo / f"{name}.npz")
    for text, ids, back in zip(theirs["given"], theirs["ids"], theirs["back"], strict=True):
        assert list(ours.tokenizer.encode_batch([str(text)])[0]) == json.loads(str(ids))
        assert ours.tokenizer.decode(json.loads(str(ids))) == str(back)


def test_a_training_step_with_interctc_is_nemos(nemo, batch, spelled):
    model, theirs = load_model(nemo / "interctc"), np.load(nemo / "interctc.npz")
    model.compile(keras.optimizers.SGD(0.0))
    x, y = {"audio": batch[0], "audio_len": batch[1]}, {"labels": spelled[0], "label_len": spelled[1]}
    ours = model.train_on_batch(x, y, return_dict=True)
    ours |= {metric.name: float(metric.result()) for metric in model.metrics}
    names = ("loss", *LOSSES, "grad_norm")
    print("\n" + ", ".join(f"{name} {ours[name]:.6g} (NeMo {theirs[name]:.6g})" for name in names))
    for name in names:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, err_msg=name)


def test_nemo_cannot_tell_the_anchor_from_its_export(nemo, shared, an4_dev):
    ours, original = np.load(nemo / "an4_anchor.npz"), np.load(nemo / "original.npz")
    recorded = json.loads((shared / "pretrained" / "nemo_hyp_an4_dev.json").read_text())
    texts = ours["texts"].tolist()
    wer = count_errors([u.text for u in an4_dev], texts, "word").rate
    as_original = sum(a == b for a, b in zip(texts, original["texts"], strict=True))
    as_recorded = sum(a == u["hyp"] for a, u in zip(texts, recorded, strict=True))
    apart = np.max(np.abs(ours["log_probs"] - original["log_probs"]))
    print(
        f"\nan4_anchor exported, in NeMo: dev WER {wer:.2%}, of {len(texts)} transcripts {as_original} equal to the "
        f"original's and {as_recorded} to the recorded ones, log-probabilities {apart:.1e} apart"
    )
    np.testing.assert_allclose(ours["features"], original["features"], rtol=0, atol=5e-4)
    np.testing.assert_allclose(ours["log_probs"], original["log_probs"], rtol=0, atol=1e-4)
    assert as_original >= len(texts) - 1  # one frame is a tie

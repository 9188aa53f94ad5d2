"""The work that all competitors get: the same sizes and the same numbers. NumPy only."""

import functools
import json
import os
from pathlib import Path

import numpy as np

BEAM = {"ngram_lm_alpha": 0.35, "beam_beta": 1.2}
RATE = 16000
CLASSES = 28
ROOT = Path(__file__).resolve().parents[3]
THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@functools.cache
def recordings(batch: int, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Noise: audio [B,S] float32, audio_len [B] int32."""
    samples = round(seconds * RATE)
    audio = np.random.default_rng(0).normal(scale=0.1, size=(batch, samples)).astype(np.float32)
    return audio, np.full(batch, samples, np.int32)


@functools.cache
def labels(batch: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels [B,U] int32, label_len [B] int32."""
    drawn = np.random.default_rng(1).integers(0, CLASSES, (batch, size)).astype(np.int32)
    return drawn, np.full(batch, size, np.int32)


@functools.cache
def logits(batch: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits [B,T',V+1] float32, logit_len [B] int32."""
    drawn = np.random.default_rng(2).normal(size=(batch, frames, CLASSES + 1)).astype(np.float32)
    return drawn, np.full(batch, frames, np.int32)


@functools.cache
def spoken_log_probs(batch: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities as of a trained model: a label for one or two frames, blanks between, nearly certain."""
    random = np.random.default_rng(3)
    values = random.normal(size=(batch, frames, CLASSES + 1)).astype(np.float32)
    best = np.where(random.random((batch, frames)) < 0.4, random.integers(0, CLASSES, (batch, frames)), CLASSES)
    best[:, 1::4] = best[:, ::4][:, : best[:, 1::4].shape[1]]
    np.put_along_axis(values, best[..., None], 12.0, axis=-1)
    values -= np.log(np.exp(values).sum(-1, keepdims=True))
    return values, np.full(batch, frames, np.int32)


def flac_corpus(files: int, seconds: float) -> Path:
    """Manifest of a folder of FLAC files, colored noise, which is harder for FLAC than speech; written once a run."""
    import soundfile

    folder = Path(os.environ["BENCH_FOLDER"], f"flac_{files}_{seconds:g}")
    manifest = folder / "manifest.jsonl"
    if manifest.exists():
        return manifest
    folder.mkdir()
    random, lines = np.random.default_rng(0), []
    for number in range(files):
        audio = np.cumsum(random.normal(0, 0.02, round(seconds * RATE)))
        audio -= np.convolve(audio, np.ones(400) / 400, "same")
        soundfile.write(folder / f"{number}.flac", audio.clip(-1, 1), RATE)
        lines.append(json.dumps({"audio_filepath": f"{number}.flac", "duration": seconds, "text": "a b c"}) + "\n")
    manifest.write_text("".join(lines))
    return manifest


def noisy_log_probs() -> tuple[list[str], list[np.ndarray]]:
    """The labels, and log-probabilities [T',V+1] of 32 noisy utterances by their length, of the reference data."""
    golden = _reference("decoding/golden")
    arrays = np.load(golden / "log_probs_mini_dev_snr0.npz")
    lines = json.loads((golden / "log_probs_mini_dev_snr0.json").read_text())[:32]
    return arrays["labels"].tolist(), sorted((arrays[line["key"]].astype(np.float32) for line in lines), key=len)


def word_3gram() -> Path:
    """A language model of 1.4 million n-grams, of the reference data."""
    return _reference("decoding/lm/word_3gram.arpa.gz")


def _reference(path: str) -> Path:
    found = Path(os.environ.get("JASPER_SHARED") or ROOT.parent / "shared", path)
    if not found.exists():
        raise FileNotFoundError(f"no reference data at {found}; JASPER_SHARED names their folder")
    return found

"""Measures training, inference, features, CTC and decoding on one accelerator under JAX, without TensorFlow.

    PYTHONPATH=. python tests/benchmarks/gpu.py [--output gpu_benchmark] [--part NAME ...] [--limit_s 540] [--tiny]

Needs jax (for the device), keras, numpy and pyyaml. Writes `gpu.json` and `gpu.md` after each part, so that what was
measured remains if the run is ended. A part that fails is reported and the others go on; nothing begins after
`--limit_s`. `--tiny` runs every part with small shapes, on a CPU in less than a minute.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import functools
import json
import os
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.92")

import jax
import jax.numpy as jnp
import keras
import numpy as np

from jasper_tf.config import load_config
from jasper_tf.decoding.beam.beam_decoder import BeamDecoder
from jasper_tf.decoding.greedy.greedy_decoder import GreedyDecoder
from jasper_tf.features.log_mel import LogMelSpectrogram
from jasper_tf.features.normalize import FeatureNormalization
from jasper_tf.features.spec_cutout import SpecCutout
from jasper_tf.losses.ctc import CTCLoss, ctc_loss
from jasper_tf.model.decoder import ConvASRDecoder
from jasper_tf.model.encoder import ConvASREncoder
from jasper_tf.model.flops import forward_flops, training_flops
from jasper_tf.optim.novograd import NovoGrad
from jasper_tf.text.tokenizer import CharacterTokenizer

ROOT = Path(__file__).resolve().parents[2]
SAMPLE_RATE = 16000
LABELS = " abcdefghijklmnopqrstuvwxyz'"
GOALS = {"jasper bf16": "240 sequences/s (H200); DeepLearningExamples, A100: 75.6", "latency": "15 ms (A100: 33)"}

Row = dict[str, Any]
parts: dict[str, Callable[[SimpleNamespace], Iterator[Row]]] = {}


def part(function: Callable) -> Callable:
    parts[function.__name__] = function
    return function


class Recognizer:
    """The layers of a configuration as pure functions of their variables; with `float32` masters in both precisions."""

    def __init__(self, config: str, precision: str, tiny: bool, classes: int = len(LABELS)):
        keras.config.set_dtype_policy({"bf16": "mixed_bfloat16", "float32": "float32"}[precision])
        cfg = load_config(ROOT / "configs" / f"{config}.yaml", cross_check=False)
        p, encoder = cfg.model.preprocessor, cfg.model.encoder
        blocks = [{k: v for k, v in vars(block).items() if v is not None} for block in encoder.jasper]
        if tiny:
            blocks = [{**block, "filters": 8, "repeat": min(2, block["repeat"])} for block in blocks[:3]]
        framing = {"window_size_s": p.window_size, "window_stride_s": p.window_stride, "n_fft": p.n_fft}
        log_mel = LogMelSpectrogram(SAMPLE_RATE, **framing, features=p.features, dither=p.dither, name="log_mel")
        normalization = FeatureNormalization(p.normalize, pad_to=p.pad_to, name="normalization")
        self.encoder = ConvASREncoder(p.features, blocks, activation=encoder.activation, conv_mask=encoder.conv_mask)
        self.decoder = ConvASRDecoder(classes)
        audio, audio_len = keras.Input((None,), dtype="float32"), keras.Input((), dtype="int32")
        features, feature_len = normalization(*log_mel(audio, audio_len))
        encoded, logit_len = self.encoder([SpecCutout(5)(features, feature_len), feature_len])
        self.model = keras.Model([audio, audio_len], [self.decoder(encoded), logit_len])
        self.layers = [log_mel, normalization]  # with encoder and decoder what the count of operations reads
        self.optimizer = NovoGrad(1e-3, betas=(0.95, 0.5), weight_decay=1e-3)
        self.optimizer.build(self.model.trainable_variables)
        keras.config.set_dtype_policy("float32")

    def state(self) -> tuple:
        """(trainable, other, optimizer's), as copies that a step may consume."""
        groups = (self.model.trainable_variables, self.model.non_trainable_variables, self.optimizer.variables)
        return tuple([jnp.array(v.value) for v in group] for group in groups)

    def forward(self, trainable, others, audio, audio_len, training=False):
        outputs, others = self.model.stateless_call(trainable, others, [audio, audio_len], training=training)
        return outputs, others

    def loss(self, trainable, others, audio, audio_len, labels, label_len):
        (logits, logit_len), others = self.forward(trainable, others, audio, audio_len, training=True)
        y = {"labels": labels, "label_len": label_len}
        return CTCLoss()(y, {"logits": logits, "logit_len": logit_len}), others

    def gradients(self, trainable, others, *batch):
        return jax.value_and_grad(self.loss, has_aux=True)(trainable, others, *batch)

    def step(self, state, *batch):
        trainable, others, slots = state
        (loss, others), gradients = self.gradients(trainable, others, *batch)
        trainable, slots = self.optimizer.stateless_apply(slots, gradients, trainable)
        return (trainable, others, slots), loss


def random_batch(size: int, seconds: float, labels_per_s: float = 14.0, classes: int = len(LABELS)) -> tuple:
    """(audio [B,S], audio_len [B], labels [B,U], label_len [B]) on the device: noise, the first row of full length."""
    draw = np.random.default_rng(0)
    samples, width = int(seconds * SAMPLE_RATE), max(1, int(seconds * labels_per_s))
    audio = draw.normal(0, 0.1, (size, samples)).astype("float32")
    share = np.append(1.0, draw.uniform(0.8, 1.0, size - 1))
    labels = draw.integers(0, classes, (size, width)).astype("int32")
    return tuple(map(jnp.asarray, (audio, (samples * share).astype("int32"), labels, (width * share).astype("int32"))))


def timed(function: Callable, *arguments, rounds: int = 10, limit_s: float = 20.0, feed: bool = False) -> Row:
    """Times a jitted function, its compilation apart; `feed` gives it its first result as its first argument again."""
    begin = time.perf_counter()
    result = jax.block_until_ready(function(*arguments))
    compile_s = time.perf_counter() - begin
    seconds: list[float] = []
    while len(seconds) < rounds and (len(seconds) < 2 or sum(seconds) < limit_s):
        arguments = (result[0], *arguments[1:]) if feed else arguments
        begin = time.perf_counter()
        result = jax.block_until_ready(function(*arguments))
        seconds.append(time.perf_counter() - begin)
    ordered = sorted(seconds)
    row = {"ms": 1000 * statistics.median(ordered), "p95_ms": 1000 * ordered[int(0.95 * (len(ordered) - 1))]}
    return {**row, "rounds": len(ordered), "first_call_s": compile_s, "result": result}


def reported(name: str, row: Row, **more) -> Row:
    return {"name": name, **{key: value for key, value in row.items() if key != "result"}, **more}


def peak_memory() -> Row:
    stats = jax.devices()[0].memory_stats() or {}
    return {"peak_gib": stats["peak_bytes_in_use"] / 2**30} if "peak_bytes_in_use" in stats else {}


@part
def matmul_peak(o) -> Iterator[Row]:
    """What the device reaches in one large matrix product: the measure of all shares below."""
    size = 256 if o.tiny else 8192
    for precision, dtype in (("bf16", "bfloat16"), ("float32", "float32")):
        a = jax.random.normal(jax.random.key(0), (size, size), dtype)
        row = timed(jax.jit(jnp.matmul), a, a)
        o.peak[precision] = 2 * size**3 / (row["ms"] / 1000)
        yield reported(f"{size}^3 {precision}", row, flop_per_s=o.peak[precision])


def train(o, config: str, precision: str, size: int, classes: int = len(LABELS)) -> Iterator[Row]:
    seconds = 1.0 if o.tiny else 16.7
    size = 2 if o.tiny else size
    recognizer = Recognizer(config, precision, o.tiny, classes)
    flops = training_flops(recognizer, int(seconds * SAMPLE_RATE))
    while True:
        batch = random_batch(size, seconds, classes=classes)
        try:
            step = jax.jit(recognizer.step, donate_argnums=0)
            row = timed(step, recognizer.state(), *batch, feed=True)
            break
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error) or size == 1:
                raise
            size //= 2  # the reported batch is the one that fits
    rate = size / (row["ms"] / 1000)
    share = rate * flops / o.peak[precision] if precision in o.peak else None
    more = {"sequences_per_s": rate, "flop_per_s": rate * flops, "of_matmul_peak": share, **peak_memory()}
    yield reported(f"{config} {precision}, step, {size} x {seconds} s", row, **more, loss=float(row["result"][1]))
    state = row.pop("result")[0]
    if config == "jasper":
        yield from profile(step, state, batch)
        del state
        yield from pieces_of_step(recognizer, precision, batch, size, seconds)


def profile(step: Callable, state, batch) -> Iterator[Row]:
    """The operations of three training steps by their share of the device's time."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(3):
                state, loss = step(state, *batch)
            jax.block_until_ready(loss)
        spent: collections.Counter = collections.Counter()
        for file in Path(folder).rglob("*.xplane.pb"):
            for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
                on_device = plane.name.startswith("/device:")
                for line in plane.lines:
                    # A GPU has a line for each stream, a CPU one for each thread of XLA.
                    if ("Stream" in line.name) if on_device else ("XLA" in line.name and "host" in plane.name):
                        for event in line.events:
                            spent[kind_of(event.name)] += event.duration_ns / 3e6
    total = sum(spent.values())
    for name, ms in spent.most_common(25):
        yield {"name": f"profile: {name}", "ms": ms, "share": ms / total}


def kind_of(operation: str) -> str:
    """The name of an operation without its number; kernels of a library keep the part that tells what they compute."""
    return operation.split("(")[0].rstrip("0123456789").rstrip("._")[:90]


def pieces_of_step(recognizer: Recognizer, precision: str, batch, size: int, seconds: float) -> Iterator[Row]:
    trainable, others, slots = recognizer.state()
    flops = forward_flops(recognizer, int(seconds * SAMPLE_RATE)) * size
    forward = jax.jit(lambda t, n, *b: recognizer.forward(t, n, *b[:2])[0][0])
    for name, function, passes in (("forward", forward, 1), ("gradients", jax.jit(recognizer.gradients), 3)):
        row = timed(function, trainable, others, *batch, rounds=5)
        rate = flops * passes / (row["ms"] / 1000)
        yield reported(f"jasper {precision}, {name}, {size} x {seconds} s", row, flop_per_s=rate)
    gradients = [jnp.ones_like(t) for t in trainable]
    apply = jax.jit(lambda tr, g, s: recognizer.optimizer.stateless_apply(s, g, tr))
    row = timed(apply, trainable, gradients, slots, rounds=5)
    moved = 5 * sum(t.nbytes for t in trainable)  # reads weight, gradient and momentum, writes weight and momentum
    yield reported(f"NovoGrad, {len(trainable)} tensors", row, gib_per_s=moved / 2**30 / (row["ms"] / 1000))


@part
def jasper_bf16(o) -> Iterator[Row]:
    yield from train(o, "jasper", "bf16", 64)


@part
def latency(o) -> Iterator[Row]:
    """One recording from audio on the device to labels on the device."""
    seconds = 1.0 if o.tiny else 16.7
    for config, precision in (("jasper", "bf16"), ("jasper", "float32"), ("quartznet", "bf16")):
        recognizer = Recognizer(config, precision, o.tiny)
        audio, audio_len, *_ = random_batch(1, seconds)
        trainable, others, _ = recognizer.state()
        if precision == "bf16":  # as stored for inference: half of the reading
            trainable = [t.astype("bfloat16") for t in trainable]

        def recognize(t, n, audio, audio_len, recognizer=recognizer):
            (logits, logit_len), _ = recognizer.forward(t, n, audio, audio_len)
            return GreedyDecoder()(logits, logit_len).best().labels

        row = timed(jax.jit(recognize), trainable, others, audio, audio_len, rounds=50, limit_s=5)
        yield reported(f"{config} {precision}, 1 x {seconds} s to labels", row)


@part
def features(o) -> Iterator[Row]:
    size, seconds = (2, 1.0) if o.tiny else (64, 16.7)
    audio, audio_len, *_ = random_batch(size, seconds)
    layer = LogMelSpectrogram(SAMPLE_RATE, 0.02, 0.01, n_fft=512, features=64, dither=0.0)
    row = timed(jax.jit(lambda a, n: layer(a, n)[0]), audio, audio_len)
    yield reported(f"log-mels, {size} x {seconds} s", row, times_real_time=size * seconds * 1000 / row["ms"])


@part
def ctc(o) -> Iterator[Row]:
    shapes = [(2, 30, 8, 28)] if o.tiny else [(16, 500, 200, 28), (64, 840, 230, 28), (16, 500, 200, 1024)]
    for size, frames, width, classes in shapes:
        draw = np.random.default_rng(0)
        logits = jnp.asarray(draw.normal(size=(size, frames, classes + 1)), "float32")
        labels = draw.integers(0, classes, (size, width)).astype("int32")
        lengths = np.full(size, width, "int32"), np.full(size, frames, "int32")
        total = functools.partial(lambda x, y, n, t: ctc_loss(y, n, x, t).sum(), y=labels, n=lengths[0], t=lengths[1])
        row = timed(jax.jit(jax.value_and_grad(total)), logits)
        yield reported(f"loss and gradient, B{size} T{frames} U{width} V{classes}", row)


@part
def decoding(o) -> Iterator[Row]:
    size, frames = (2, 30) if o.tiny else (64, 840)
    draw = np.random.default_rng(0)
    # A blank in two frames of three, as trained models have.
    logits = 4 * draw.normal(size=(size, frames, len(LABELS) + 1))
    logits[:, :, -1] += 12 * (draw.uniform(size=(size, frames)) < 0.67)
    logits, logit_len = jnp.asarray(logits, "float32"), jnp.full(size, frames, "int32")
    decoders = {"greedy": GreedyDecoder()}
    for width in (4,) if o.tiny else (16, 64):
        config = {"beam_size": width, "hot_words": {"jasper": 5.0}}
        decoders[f"beam {width}, hot words"] = BeamDecoder(CharacterTokenizer(LABELS), config)
    for name, decoder in decoders.items():
        run = jax.jit(lambda x, n, decoder=decoder: decoder(x, n).score)
        row = timed(run, logits, logit_len, rounds=5)
        yield reported(f"{name}, {size} x {frames} frames", row, ms_per_utterance=row["ms"] / size)


parts["quartznet_bf16"] = functools.partial(train, config="quartznet", precision="bf16", size=64)
parts["citrinet_bf16"] = functools.partial(train, config="citrinet", precision="bf16", size=32, classes=1024)
parts["jasper_float32"] = functools.partial(train, config="jasper", precision="float32", size=64)


def write(folder: Path, report: Row) -> None:
    (folder / "gpu.json").write_text(json.dumps(report, indent=1))
    lines = [f"# {report['device']}, jax {report['jax']}, keras {report['keras']}, {report['date']}", ""]
    lines += [f"Goal of {name}: {goal}." for name, goal in GOALS.items()]
    for name, found in report["parts"].items():
        lines += ["", f"## {name} ({found['seconds']:.0f} s)", ""]
        if "error" in found:
            lines += [f"Failed: {found['error']}"]
        keys = list(dict.fromkeys(key for row in found["rows"] for key in row))
        if keys:
            lines += [f"| {' | '.join(keys)} |", "|" + " --- |" * len(keys)]
        for row in found["rows"]:
            cells = [row.get(key, "") for key in keys]
            lines.append(f"| {' | '.join(f'{c:.4g}' if isinstance(c, float) else str(c) for c in cells)} |")
    (folder / "gpu.md").write_text("\n".join(lines) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(os.environ.get("OUT", "gpu_benchmark")))
    parser.add_argument("--part", nargs="+", choices=list(parts), default=list(parts))
    parser.add_argument("--limit_s", type=float, default=540.0)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    options.peak = {}
    report: Row = {
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "keras": keras.__version__,
        "date": datetime.date.today().isoformat(),
        "parts": {},
    }
    began = time.monotonic()
    for name in options.part:
        found = report["parts"][name] = {"rows": [], "seconds": 0.0}
        start = time.monotonic()
        if start - began > options.limit_s:
            found["error"] = f"not begun: the limit of {options.limit_s:.0f} s is over"
        else:
            try:
                for row in parts[name](options):
                    found["rows"].append(row)
                    print(name, *(f"{k}={v:.4g}" if isinstance(v, float) else v for k, v in row.items()), flush=True)
                    if time.monotonic() - began > options.limit_s:
                        found["error"] = f"ended: the limit of {options.limit_s:.0f} s is over"
                        break
            except Exception as error:  # the other parts go on
                traceback.print_exc()
                found["error"] = f"{type(error).__name__}: {str(error)[:300]}"
        found["seconds"] = time.monotonic() - start
        jax.clear_caches()
        write(options.output, report)
    return int(any("error" in found for found in report["parts"].values()))


if __name__ == "__main__":
    sys.exit(main())

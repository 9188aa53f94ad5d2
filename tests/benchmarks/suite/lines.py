"""The lines of the table: what is measured, and who does it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
TURN_S = 0.25
"""Shorter work is repeated for that long in each round."""
TINY = "tests/benchmarks/suite/tiny.yaml"
JASPER_5X5 = "tests/benchmarks/suite/jasper5x5.yaml"


@dataclass(frozen=True)
class Competitor:
    """Who does a line's work.

    Attributes:
        name: in the table; of this package's the first word is jasper_tf.
        function: of `file`, see `worker.py`.
        prepare, run: its arguments, and those of the `run` that it returns. Lines with the same `prepare` use the same
            process.
        file: with `function`.
        environment: "NeMo" or "TensorFlowASR", whose Python runs it; else this one.
    """

    name: str
    function: str
    prepare: dict[str, Any] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)
    file: str = str(FOLDER / "ours.py")
    environment: str = ""

    @property
    def ours(self) -> bool:
        return self.name.split(",")[0] == "jasper_tf"


@dataclass(frozen=True)
class Line:
    """One piece of work.

    Attributes:
        name: `make bench ONLY=name`.
        title: of the table.
        competitors: this package's first.
        audio_s: seconds of audio in it; None where the speed is not given as a multiple of real time.
    """

    name: str
    title: str
    competitors: tuple[Competitor, ...]
    audio_s: float | None = None


def matmul(quick: bool = False) -> Competitor:
    """The machine's peak, measured in every round."""
    return Competitor("matmul", "matmul", {"size": 256 if quick else 3072})


def lines(quick: bool = False) -> list[Line]:
    """All lines; `quick`: of tiny sizes, to see that they work."""
    found = [
        _step(quick, "an4_anchor", batch=8, seconds=3, size=18),
        _step(quick, "quartznet", batch=4, seconds=8, size=100),
        _step(quick, "jasper", batch=1, seconds=8, size=100),
        _jasper5x5_step(quick),
    ]
    for name in ("an4_anchor", "quartznet", "jasper"):
        found += [_inference(quick, name, batch) for batch in (1, 8)]
    batch, seconds = (1, 1) if quick else (16, 10)
    config = {"config": _config(quick, "an4_anchor")}
    size = {"batch": batch, "seconds": seconds}
    found.append(
        Line(
            "features",
            f"normalized log-mels, 64 bands, {batch} x {seconds} s",
            (Competitor("jasper_tf", "features", config, size), _peer("NeMo", "nemo_features", config, size)),
            audio_s=batch * seconds,
        )
    )
    size = {"batch": 2, "frames": 40, "size": 5} if quick else {"batch": 16, "frames": 500, "size": 200}
    found.append(
        Line(
            "ctc",
            "CTC loss and gradient, B {batch}, T' {frames}, U {size}".format(**size),
            (
                Competitor("jasper_tf", "ctc", run=size),
                Competitor("jasper_tf, XLA", "ctc", {"jit_compile": True}, size),
                _peer("torch", "torch_ctc", {}, size),
            ),
        )
    )
    size = {"batch": 2, "frames": 40} if quick else {"batch": 16, "frames": 500}
    found.append(
        Line(
            "greedy",
            "greedy decoding to text, B {batch}, T' {frames}".format(**size),
            (Competitor("jasper_tf", "greedy", run=size), _peer("NeMo", "nemo_greedy", {}, size)),
            audio_s=0.02 * size["batch"] * size["frames"],
        )
    )
    for beam_size in (2,) if quick else (16, 64):
        size = {"beam_size": beam_size}
        competitors = (
            Competitor("jasper_tf, batches of 16", "beam", size | {"batch": 16}),
            Competitor("jasper_tf, one at a time", "beam", size | {"batch": 1}),
            Competitor("pyctcdecode", "pyctcdecode_beam", size, file=str(FOLDER / "peers.py")),
        )
        title = f"beam {beam_size} with a word 3-gram, 32 noisy utterances of 11.8 s, one thread"
        found.append(Line(f"beam/{beam_size}", title, competitors, 378.0))
    size = {"files": 32, "seconds": 1} if quick else {"files": 200, "seconds": 12}
    found.append(
        Line(
            "batches",
            "FLAC files to shuffled batches of 16, two epochs of {files} x {seconds} s".format(**size),
            (Competitor("jasper_tf", "batches", size), _peer("torch DataLoader", "torch_batches", size)),
            audio_s=2 * size["files"] * size["seconds"],
        )
    )
    for format in ("saved_model", "litert", "onnx"):
        ours = Competitor("jasper_tf", "exporting", config | {"format": format})
        peer = (_peer("NeMo, network alone", "nemo_onnx_export", config),) if format == "onnx" else ()
        found.append(Line(f"export/{format}", f"export and verification, `{config['config']}`", (ours, *peer)))
    return found


def _config(quick: bool, name: str) -> str:
    return TINY if quick else f"configs/{name}.yaml"


def _peer(name: str, function: str, prepare: dict[str, Any], run: dict[str, Any] | None = None) -> Competitor:
    return Competitor(name, function, prepare, run or {}, str(FOLDER / "peers.py"), "NeMo")


def _step(quick: bool, name: str, **size: Any) -> Line:
    size = {"config": _config(quick, name), **({"batch": 1, "seconds": 1, "size": 5} if quick else size)}
    title = "training step, `{config}`, {batch} x {seconds} s, U {size}".format(**size)
    competitors = (*_our_steps(size, with_bf16=name != "jasper"), _peer("NeMo", "nemo_step", size))
    return Line(f"step/{name}", title, competitors, size["batch"] * size["seconds"])


def _jasper5x5_step(quick: bool) -> Line:
    size = {"config": JASPER_5X5, "batch": 4, "seconds": 8, "size": 100}
    if quick:
        size |= {"batch": 1, "seconds": 1, "size": 5}
    title = "training step, Jasper 5x5 with Adam, {batch} x {seconds} s, U {size}".format(**size)
    peer = Competitor(
        "TensorFlowASR", "tensorflow_asr_step", size, file=str(FOLDER / "peers.py"), environment="TensorFlowASR"
    )
    return Line("step/jasper5x5", title, (*_our_steps(size), peer), size["batch"] * size["seconds"])


def _our_steps(size: dict[str, Any], with_bf16: bool = True) -> list[Competitor]:
    """In float32, and in bfloat16 where the processor multiplies it: elsewhere that takes many times as long."""
    ours = [Competitor("jasper_tf", "step", size)]
    if with_bf16 and _multiplies_bfloat16():
        ours.append(Competitor("jasper_tf, bf16", "step", size | {"precision": "bf16-mixed"}))
    return ours


def _multiplies_bfloat16() -> bool:
    try:
        facts = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in facts or "amx_bf16" in facts


def _inference(quick: bool, name: str, batch: int) -> Line:
    config, size = {"config": _config(quick, name)}, {"batch": batch, "seconds": 1 if quick else 8}
    ours = [Competitor("jasper_tf", "inference", config, size)]
    if name != "jasper":  # an export of 1.3 GB takes minutes
        ours += [
            Competitor("jasper_tf, SavedModel", "saved_model", config, size),
            Competitor("jasper_tf, LiteRT", "edge", config | {"format": "litert"}, size),
            Competitor("jasper_tf, ONNX", "edge", config | {"format": "onnx"}, size),
        ]
    title = f"audio to log-probabilities, `{config['config']}`, {batch} x {size['seconds']} s"
    peer = _peer("NeMo", "nemo_inference", config, size)
    return Line(f"inference/{name}_{batch}", title, (*ours, peer), batch * size["seconds"])

"""Peak memory of a training step for each second of its batch: float32, bf16-mixed, recomputed blocks, and both.

    python tests/benchmarks/memory.py configs/jasper.yaml configs/quartznet.yaml

Each measurement is a process of its own, which trains a step of one and of `--rows` recordings of `--seconds` seconds
of noise: the difference of their peaks is what the batch takes. Prints a table in Markdown.
"""

import argparse
import subprocess
import sys

VARIANTS = {
    "float32": [],
    "bf16-mixed": ["trainer.precision=bf16-mixed"],
    "recompute": ["model.encoder.recompute=true"],
    "both": ["trainer.precision=bf16-mixed", "model.encoder.recompute=true"],
}


def measure(config: str, overrides: list[str], seconds: float, rows: int) -> None:
    """Prints bytes of a second of a batch, and of the process in a step of one recording."""
    from jasper_tf.config import load_config
    from jasper_tf.training.auto_batch_duration import Trial
    from jasper_tf.training.distributed.devices import set_precision

    cfg = load_config(config, ["model.train_ds.manifest_filepath=none", *overrides])
    set_precision(cfg.trainer.precision)
    trial = Trial(cfg, round(seconds * cfg.model.sample_rate), 50)
    first, last = trial.peak_memory(1), trial.peak_memory(rows)
    print((last - first) / ((rows - 1) * seconds), first)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="+")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rows", type=int, default=3)
    parser.add_argument("--variant", choices=VARIANTS, help="measures this one only, in this process")
    arguments = parser.parse_args()
    if arguments.variant:
        measure(arguments.configs[0], VARIANTS[arguments.variant], arguments.seconds, arguments.rows)
        return
    print("| configuration | | MiB for a second | of float32 | one recording, GiB |")
    print("|---|---|---|---|---|")
    for config in arguments.configs:
        whole = None
        for name in VARIANTS:
            options = ["--variant", name, "--seconds", str(arguments.seconds), "--rows", str(arguments.rows)]
            done = subprocess.run([sys.executable, __file__, config, *options], check=True, stdout=subprocess.PIPE)
            row, first = (float(value) for value in done.stdout.split()[-2:])
            whole = whole or row
            cells = [config, name, f"{row / 2**20:.1f}", f"{row / whole:.0%}", f"{first / 2**30:.2f}"]
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()

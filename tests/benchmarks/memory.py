"""Peak memory of a training step for each second of its batch: float32, bf16-mixed, recomputed blocks, and both.

    python tests/benchmarks/memory.py configs/quartznet.yaml configs/jasper.yaml --seconds 4

Each measurement is a process of its own, which trains steps of one and of `--rows` recordings of `--seconds` seconds of
noise, on the CPU: the difference of their peaks is what the batch takes. One that takes longer than `--limit-s` is left
out. Prints a table in Markdown, each row when it is found; what is measured now and the time left go to stderr.
"""

import argparse
import logging
import subprocess
import sys
import time

from jasper_tf.io.progress import clock

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
    trial.step(1)  # the first one allocates more than the batch
    first, last = trial.peak_memory(1), trial.peak_memory(rows)
    print((last - first) / ((rows - 1) * seconds), first)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="+")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--limit-s", type=float, default=90.0, help="of one measurement (default: %(default)g)")
    parser.add_argument("--variant", choices=VARIANTS, help="measures this one only, in this process")
    arguments = parser.parse_args()
    if arguments.variant:
        measure(arguments.configs[0], VARIANTS[arguments.variant], arguments.seconds, arguments.rows)
        return 0
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    print("| configuration | | MiB for a second | of float32 | one recording, GiB |")
    print("|---|---|---|---|---|", flush=True)
    measurements = [(config, name) for config in arguments.configs for name in VARIANTS]
    began, whole, failed = time.monotonic(), {}, False
    for done, (config, name) in enumerate(measurements):
        each = (time.monotonic() - began) / done if done else arguments.limit_s
        left = clock((len(measurements) - done) * each)
        logging.info("%s, %s: %d of %d, %s left", config, name, done + 1, len(measurements), left)
        options = ["--variant", name, "--seconds", str(arguments.seconds), "--rows", str(arguments.rows)]
        command = [sys.executable, __file__, config, *options]
        try:
            found = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=arguments.limit_s).stdout
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            logging.error("%s, %s: not measured: %s", config, name, error)
            failed = True
            continue
        row, first = (float(value) for value in found.split()[-2:])
        whole.setdefault(config, row if name == "float32" else None)
        share = f"{row / whole[config]:.0%}" if whole[config] else ""
        print(f"| {config} | {name} | {row / 2**20:.1f} | {share} | {first / 2**30:.2f} |", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

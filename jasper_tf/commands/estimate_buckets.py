"""python -m jasper_tf estimate-buckets: shows the padding for each number of buckets."""

from __future__ import annotations

import argparse

import numpy as np

from jasper_tf.data.augment import sped_length
from jasper_tf.data.batches.plan import Buckets, batch_sizes, plan_epoch
from jasper_tf.data.manifest.columns import read_manifest
from jasper_tf.errors import UserError
from jasper_tf.features.framing import hop_samples

HELP = "the padding ratio for each number of buckets, from a manifest's lengths"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--manifest", required=True, nargs="+", metavar="F", help="JSON lines as NeMo's")
    parser.add_argument("--buckets", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32], metavar="N")
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="utterances (%(default)s)")
    parser.add_argument("--batch-duration", type=float, metavar="S", help="seconds, in place of --batch-size")
    parser.add_argument("--min-duration", type=float, default=0.0, metavar="S", help="leave out shorter ones")
    parser.add_argument("--max-duration", type=float, metavar="S", help="leave out longer ones, as training does")
    parser.add_argument("--speed", type=float, nargs=2, default=(1.0, 1.0), metavar=("MIN", "MAX"), help="augmentation")
    parser.add_argument("--sample-rate", type=int, default=16000, metavar="HZ", help="(%(default)s)")
    parser.add_argument("--window-stride", type=float, default=0.01, metavar="S", help="(%(default)s)")
    parser.add_argument("--pad-to", type=int, default=16, metavar="N", help="(%(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Prints a line for each number: padding ratio of one shuffled epoch, its steps, the lengths in seconds."""
    a, (slow, fast) = arguments, arguments.speed
    for option in ("batch_size", "batch_duration", "sample_rate", "window_stride"):
        value = getattr(a, option)
        if value is not None and not value > 0:
            raise UserError(f"--{option.replace('_', '-')} {value:g}: must be above 0")
    hop = hop_samples(a.window_stride, a.sample_rate)
    if min(a.buckets) < 1 or a.pad_to < 0:
        raise UserError("--buckets: at least 1; --pad-to: at least 0")
    if not 0 < slow <= 1 <= fast:
        raise UserError(f"--speed {slow:g} {fast:g}: needs 0 < MIN <= 1 <= MAX")
    manifest = read_manifest(a.manifest)
    duration_s, label_len = manifest.duration_s, manifest.characters
    wanted = (duration_s >= a.min_duration) & (duration_s <= (a.max_duration or np.inf))
    if not wanted.any():
        raise UserError(f"{a.manifest[0]}: no utterance is within --min-duration and --max-duration")
    audio_len = np.maximum(1, np.rint(duration_s[wanted] * a.sample_rate)).astype(np.int64)
    rates = np.random.default_rng(0).uniform(slow, fast, len(audio_len))
    sped, longest = sped_length(audio_len, rates), None
    if a.max_duration:
        longest = round(a.max_duration * a.sample_rate)
        sped = np.minimum(sped, np.maximum(audio_len, longest))
    print(f"{len(audio_len)} utterances, {audio_len.sum() / a.sample_rate / 3600:.2f} h")
    print("buckets  padding   steps  lengths in s (utterances in a batch)")
    most = 0
    for buckets in sorted(set(a.buckets)):
        fitted = Buckets.fit(
            audio_len, label_len[wanted], buckets, hop=hop, pad_to=a.pad_to, speeds=(slow, fast), max_samples=longest
        )
        if len(fitted.samples) == most:
            print(f"these recordings have no more than {most} lengths: {buckets} buckets are the same")
            continue
        most = len(fitted.samples)
        sizes = np.full(most, a.batch_size)
        if a.batch_duration:
            sizes = batch_sizes(fitted, a.batch_duration, a.sample_rate)
        plan = plan_epoch(sped, fitted, sizes, shuffle=True)
        padding = 1 - sped.sum() / sum(batch.samples * len(batch.index) for batch in plan)
        lengths = " ".join(
            f"{samples / a.sample_rate:.2f} ({size})" for samples, size in zip(fitted.samples, sizes, strict=True)
        )
        print(f"{len(fitted.samples):7d}  {padding:7.1%}  {len(plan):6d}  {lengths}")
    print("set model.train_ds.buckets; XLA (trainer.jit_compile) compiles a step for each length")
    return 0

"""python -m jasper_tf shard: packs recordings into TFRecord shards, or verifies finished ones."""

from __future__ import annotations

import argparse

from jasper_tf.commands._runner import add_runner_arguments, read_runner
from jasper_tf.data.storage.shard_check import verify_shards
from jasper_tf.data.storage.shard_index import read_index
from jasper_tf.data.storage.shard_plan import ShardSettings
from jasper_tf.data.storage.shard_writer import write_shards
from jasper_tf.errors import UserError
from jasper_tf.io.progress import Progress

HELP = "pack the recordings of a manifest into TFRecord shards that the trainer reads faster, or verify such shards"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Exit status: 0 done, also where --on-bad-audio skip left recordings out (they are named and counted); 1 a "
        "recording cannot be read, more than --max-bad-audio cannot, or --verify finds damage; 2 wrong use."
    )
    parser.add_argument("--manifest", metavar="FILE", help="manifests to pack, separated by commas")
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="folder of the shards; an interrupted run is resumed"
    )
    parser.add_argument(
        "--verify", action="store_true", help="only look for damaged files among the shards in --output"
    )
    parser.add_argument("--codec", default="pcm", help="pcm: fastest (default); flac: about half the size")
    parser.add_argument("--sample-rate", type=int, default=16000, metavar="HZ", help="the model's rate (default 16000)")
    parser.add_argument(
        "--channel-selector", default="average", metavar="C", help="average (default), or a channel's number, from 0"
    )
    parser.add_argument("--shard-size", type=float, default=256, metavar="MB", help="about, of each (default 256)")
    parser.add_argument(
        "--on-bad-audio", choices=("error", "skip"), default="error", help="stop (default), or leave out and name"
    )
    parser.add_argument(
        "--max-bad-audio", type=float, default=0.01, metavar="SHARE", help="that may be left out (default 0.01)"
    )
    add_runner_arguments(parser, "are shards", work_dir=False)


def run(arguments: argparse.Namespace) -> int:
    """Prints where the shards are and what was done to the samples; status 1 when --verify finds a fault."""
    runner = read_runner(arguments)
    if arguments.verify:
        if runner.engine:
            raise UserError("--runner, --verify: one of them; shards are verified on one machine")
        if arguments.manifest:
            raise UserError("--verify looks at the shards in --output only; leave --manifest out")
        return verify(arguments.output, runner.workers)
    if not arguments.manifest:
        raise UserError("--manifest is missing: name the manifest whose recordings are packed")

    channel = arguments.channel_selector
    settings = ShardSettings(
        arguments.sample_rate, int(channel) if channel.isdecimal() else channel, arguments.codec, arguments.shard_size
    )
    with Progress("packing", None) as shown:

        def progress(done: int, total: int) -> None:
            shown.total = total
            # More than one utterance at a time: a shard that was finished before.
            (shown.skip if done - shown.done > 1 else shown.advance)(done - shown.done)

        index = write_shards(
            arguments.manifest,
            arguments.output,
            settings,
            workers=runner.workers,
            on_bad_audio=arguments.on_bad_audio,
            max_bad_audio=arguments.max_bad_audio,
            progress=progress,
            runner=runner,
        )
    size = sum(shard.bytes for shard in index.shards) / 1e6
    shards = _counted(len(index.shards), "shard")
    print(f"{index.utterances} utterances, {index.hours:.2f} h, in {shards}, {size:.1f} MB: {arguments.output}")
    if index.skipped:
        print(f"{_counted(index.skipped, 'recording')} left out: cannot be read")
    print(
        f"{index.rounded} rounded to 16 bit (resampled, mixed, or finer before), {index.clipped_samples} samples "
        "clipped at full scale; the others are the same bit for bit"
    )
    print(f"next: model.train_ds.manifest_filepath={arguments.output}")
    return 0


def verify(folder: str, workers: int) -> int:
    """Prints the faults of finished shards, or what they hold; returns 1 if there is a fault."""
    faults = verify_shards(folder, workers)
    for fault in faults:
        print(fault)
    if faults:
        print(f"{folder}: damaged, {_counted(len(faults), 'fault')}; a damaged file can be named again for its records")
        return 1
    index = read_index(folder)
    assert index is not None
    print(f"{folder}: intact, {index.utterances} utterances in {_counted(len(index.shards), 'shard')}")
    return 0


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"

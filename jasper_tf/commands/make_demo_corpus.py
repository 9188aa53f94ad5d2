"""python -m jasper_tf make-demo-corpus: synthesizes the corpus of the demo."""

import argparse

from jasper_tf.commands._arguments import local_path
from jasper_tf.data.corpora.synthesis import corpus_files, make_corpus
from jasper_tf.errors import UserError
from jasper_tf.io.validate_outputs import Output, add_overwrite_argument, validate_outputs

HELP = "synthesize a small spoken corpus: digits and short commands, test voices unheard in training"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output", type=local_path, required=True, metavar="DIR", help="folder for WAV files and manifests"
    )
    for split, count in (("train", 2400), ("dev", 160), ("test", 240)):
        parser.add_argument(f"--{split}", type=int, default=count, metavar="N", help=f"utterances (default {count})")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another corpus (default 0)")
    add_overwrite_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    counts = {split: getattr(arguments, split) for split in ("train", "dev", "test")}
    manifests, audio = corpus_files(arguments.output, counts)
    outputs = [Output("--output", path) for path in manifests] + [Output("--output", path, "wav") for path in audio]
    validate_outputs(outputs, [], arguments.overwrite, makes_folders=True)
    try:
        made = make_corpus(arguments.output, **counts, seed=arguments.seed)
    except OSError as error:
        raise UserError(f"--output {arguments.output}: cannot write there: {error}") from None
    for manifest in made.values():
        print(manifest)
    return 0

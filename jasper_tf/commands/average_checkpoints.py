"""`python -m jasper_tf average-checkpoints`: averages checkpoints of a run into a model.keras."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from jasper_tf.commands._arguments import local_path
from jasper_tf.commands._program import program_name
from jasper_tf.config import load_config
from jasper_tf.errors import UserError
from jasper_tf.inference.model_path import describe_path
from jasper_tf.io.atomic_write import atomic_path
from jasper_tf.io.validate_outputs import Output, add_overwrite_argument, validate_outputs

if TYPE_CHECKING:
    from jasper_tf.training.run.checkpoint_manager import CheckpointManager

HELP = "average the weights of a run's checkpoints, as a model that evaluate, transcribe and export read"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=local_path, metavar="RUN", help="a run's folder, with config.yaml and checkpoints/")
    parser.add_argument("checkpoints", nargs="*", metavar="CHECKPOINT", help="names of checkpoints; default: all")
    parser.add_argument("--output", required=True, type=local_path, metavar="FILE.keras", help="the model")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--last", type=int, metavar="N", help="the newest N instead of all")
    which.add_argument("--best", type=int, metavar="N", help="the best N by the metric that the run monitors")
    add_overwrite_argument(parser)
    # So that names may follow the options, which plain parse_args does not allow.
    parser.parse_args = parser.parse_intermixed_args  # type: ignore[method-assign, assignment]  # a method of this parser only


def run(arguments: argparse.Namespace) -> int:
    """Averages the checkpoints; writes nothing unless all can be read."""
    folder, output = arguments.run, arguments.output
    if output.suffix != ".keras":
        raise UserError(f"--output {output}: not a .keras file; give a name that ends in .keras")
    validate_outputs([Output("--output", output, "keras")], [folder / "config.yaml"], arguments.overwrite)
    if not (folder / "config.yaml").is_file():
        raise UserError(f"{folder}: {describe_path(folder)}; give a run's folder, with config.yaml and checkpoints/")
    if arguments.checkpoints and (arguments.last is not None or arguments.best is not None):
        raise UserError("--last and --best choose among all checkpoints; give either one of them or names")
    cfg = load_config(folder / "config.yaml")

    # After the checks of the arguments, which need no TensorFlow.
    from jasper_tf.model.jasper_ctc import build_model
    from jasper_tf.training.run.average_checkpoints import average_checkpoints
    from jasper_tf.training.run.checkpoint_manager import CheckpointManager

    params = cfg.exp_manager.checkpoint_callback_params
    checkpoints = CheckpointManager(folder / "checkpoints", monitor=params.monitor, mode=params.mode)
    paths = choose(checkpoints, arguments.checkpoints, arguments.last, arguments.best)
    model = build_model(cfg)
    average_checkpoints(model, checkpoints, paths)
    with atomic_path(output) as temporary:
        model.save(temporary)
    print(f"mean of {len(paths)} checkpoints: {output}")
    print(f"next: {program_name()} evaluate --model {output} --manifest MANIFEST")
    return 0


def choose(checkpoints: CheckpointManager, names: list[str], last: int | None, best: int | None) -> list[Path]:
    """Returns the chosen checkpoints, the oldest first; UserError if one does not exist."""
    existing = checkpoints.paths()
    if not existing:
        raise UserError(f"{checkpoints.folder}: no checkpoints; train the run first")
    if names:
        known = {path.name: path for path in existing}
        chosen = []
        for name in names:
            path = known.get(Path(name).name)
            if path is None:
                raise UserError(f"{name}: not a checkpoint of this run; it has {', '.join(known)}")
            if path in chosen:
                raise UserError(f"{name}: named twice; name it once")
            chosen.append(path)
        return sorted(chosen)
    number, among, option = last, existing[::-1], "--last"
    if best is not None:
        number, among, option = best, checkpoints.ranked(), "--best"
        if not among:
            raise UserError(f"--best {best}: no checkpoint has a {checkpoints.monitor}; use --last")
    if number is None:
        return existing
    if not 1 <= number <= len(among):
        raise UserError(
            f"{option} {number}: this run has {len(among)} to choose from; give 1 to {len(among)}, or train with a "
            "larger exp_manager.checkpoint_callback_params.save_top_k"
        )
    return sorted(among[:number])

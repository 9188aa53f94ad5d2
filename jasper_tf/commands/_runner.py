"""The options of commands whose work is done in parts: on processes of this machine, or on an engine."""

from __future__ import annotations

import argparse
import hashlib
import os
import pickle
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jasper_tf.commands._arguments import local_path
from jasper_tf.data.jobs.run_parts import is_unfinished, work_folder
from jasper_tf.data.jobs.runner import ENGINES, Runner
from jasper_tf.errors import UserError
from jasper_tf.io.object_storage import list_remote
from jasper_tf.io.remote import is_remote

_UNFINISHED = ".unfinished"


def add_runner_arguments(
    parser: argparse.ArgumentParser, what: str, workers: int | None = None, work_dir: bool = True
) -> None:
    """Adds `--workers`, `--runner`, `--runner-options` and, unless the output folder serves for it, `--work-dir`.

    Args:
        parser: of the command.
        what: is done in parts, for the help.
        workers: the default. Default: one for each CPU core.
        work_dir: whether to add `--work-dir`.
    """
    group = parser.add_argument_group(f"many recordings: the parts {what}")
    add = group.add_argument
    shown = "one for each CPU core" if workers is None else str(workers)
    add("--workers", type=int, metavar="N", help=f"processes or threads of this machine (default: {shown})")
    add("--runner", choices=ENGINES, help="an engine in place of them: Apache Beam's runners, or Spark (docs/scale.md)")
    add(
        "--runner-options", metavar="OPTIONS", help="of the engine, such as '--parallelism=4' or '--master=spark://H:P'"
    )
    if work_dir:
        text = "keeps finished parts until the end: the same command goes on"
        add("--work-dir", type=local_path, metavar="DIR", help=text)
    parser.set_defaults(default_workers=workers)


def read_runner(arguments: argparse.Namespace, work_dir: bool = False) -> Runner:
    """Where the parts are computed.

    Args:
        arguments: of `add_runner_arguments`.
        work_dir: whether an engine needs `--work-dir`, as the command has no folder of its own.

    Raises:
        UserError: options that do not go together.
    """
    workers, engine = arguments.workers, arguments.runner
    if workers is not None and workers < 1:
        raise UserError(f"--workers {workers}: give 1 or more")
    if workers is not None and engine not in (None, "direct"):
        raise UserError(f"--workers: are processes of this machine; --runner {engine} has --runner-options for it")
    if arguments.runner_options is not None and engine is None:
        raise UserError("--runner-options: are those of an engine; name it with --runner")
    if engine and work_dir and arguments.work_dir is None:
        raise UserError(f"--runner {engine}: name a folder that every worker sees for finished parts, with --work-dir")
    try:
        options = shlex.split(arguments.runner_options or "")
    except ValueError as error:
        raise UserError(f"--runner-options: {error}; close the quotes") from None
    if wrong := next((option for option in options if option.startswith("--runner")), None):
        raise UserError(f"--runner-options {wrong}: the engine is named by --runner")
    if options and not options[0].startswith("-"):
        raise UserError(f"--runner-options {options[0]}: is no option; they begin with --, such as --{options[0]}")
    return Runner(engine, options, workers or arguments.default_workers or os.cpu_count() or 1)


def describe_job(verb: str, arguments: argparse.Namespace, items: Any) -> dict[str, Any]:
    """What the results of the parts depend on: the options, the model's file and the items (picklable)."""
    where = ("workers", "runner", "runner_options", "work_dir", "overwrite")
    options = {key: str(value) for key, value in vars(arguments).items() if key not in where}
    model = getattr(arguments, "model", None)
    changed = 0 if not model else list_remote(model) if is_remote(model) else os.stat(model).st_mtime_ns
    inputs = hashlib.sha256(pickle.dumps(items)).hexdigest()
    return {"verb": verb, "options": options, "model": changed, "inputs": inputs}


@contextmanager
def parts_folder(
    arguments: argparse.Namespace, job: Mapping[str, Any], output: str | Path | None = None
) -> Iterator[Path]:
    """The folder of the results: `--work-dir`, else one in `output`, else a temporary one; deleted when all is done.

    Args:
        arguments: of `add_runner_arguments`.
        job: of `describe_job`.
        output: the command's folder; where it is in object storage the temporary folder is taken.

    Raises:
        UserError: as `work_folder`.
    """
    folder = arguments.work_dir or unfinished_folder(output)
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="jasper-tf-parts-") as temporary:
            yield Path(temporary)
    else:
        with work_folder(folder, "--work-dir" if arguments.work_dir else "--output", job) as kept:
            yield kept


def goes_on(arguments: argparse.Namespace, output: str | Path) -> bool:
    """Whether finished parts of an interrupted run are there: then the files it wrote are written again.

    Args:
        arguments: of `add_runner_arguments`.
        output: the command's folder.
    """
    folder = arguments.work_dir or unfinished_folder(output)
    parts = arguments.runner or arguments.work_dir or (arguments.workers or 1) > 1
    return bool(parts and folder is not None and is_unfinished(folder))


def unfinished_folder(output: str | Path | None) -> Path | None:
    """The folder of finished parts in the folder of a command's outputs; None where that is in object storage."""
    return None if output is None or is_remote(os.fspath(output)) else Path(output, _UNFINISHED)

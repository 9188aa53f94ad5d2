"""`jasper-tf VERB ...`, or `python -m jasper_tf VERB ...`: each verb is one file in jasper_tf/commands.

A verb's module holds `HELP` (one line, a literal), `add_arguments(parser)` and `run(arguments) -> exit status`; with
`INTERMIXED = True` options may stand between its positional arguments.
Only the chosen verb is imported, so the list of verbs never waits for TensorFlow.
"""

import ast
import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from jasper_tf import __version__
from jasper_tf.commands._parser import OneLineParser
from jasper_tf.commands._program import program_name
from jasper_tf.errors import UserError
from jasper_tf.io.log import log_to_stderr
from jasper_tf.io.process_exit import discard_stdout, exit_with


def find_verbs() -> dict[str, Path]:
    """The verbs as they are typed (`make-demo-corpus`), with their files."""
    folder = Path(__file__).with_name("commands")
    return {file.stem.replace("_", "-"): file for file in sorted(folder.glob("*.py")) if not file.stem.startswith("_")}


def read_help(file: Path) -> str:
    """The value of `HELP` in a verb's file, without importing it."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "HELP" for t in node.targets):
            return str(ast.literal_eval(node.value))
    raise LookupError(f"{file} has no HELP")


def usage(verbs: dict[str, Path]) -> str:
    """The lines that list the verbs."""
    program, width = program_name(), max(map(len, verbs))
    lines = [f"  {verb:<{width}}  {read_help(file)}" for verb, file in verbs.items()]
    rest = f"{program} VERB --help tells the rest, {program} --version the version"
    return "\n".join([f"usage: {program} VERB ...", "", *lines, "", rest])


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; see `run_verb` for the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    verbs = find_verbs()
    if argv and argv[0] in ("-h", "--help"):
        print(usage(verbs))
        return 0
    if argv and argv[0] == "--version":
        print(f"jasper-tf {__version__}")
        return 0
    if not argv:
        print(usage(verbs), file=sys.stderr)
        return 2
    verb = argv[0]
    if verb not in verbs:
        near = difflib.get_close_matches(verb, verbs, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the verbs are {', '.join(verbs)}"
        print(f"error: unknown verb {verb!r}: {hint}", file=sys.stderr)
        return 2
    return run_verb(verb, argv[1:], f"{program_name()} {verb}")


def _join_runner_options(argv: Sequence[str]) -> list[str]:
    """Makes `--runner-options=--a=1` of `--runner-options --a=1`, where argparse takes --a for an option of its own."""
    joined = list(argv)
    if "--runner-options" in joined[:-1]:
        i = joined.index("--runner-options")
        joined[i : i + 2] = [f"--runner-options={joined[i + 1]}"]
    return joined


def run_verb(verb: str, argv: Sequence[str] | None, program: str) -> int:
    """Runs one verb as `program`, the name in its usage line; `argv` None means `sys.argv[1:]`.

    Exit status: the verb's own, an error's `exit_status`, 130 when interrupted, 141 when nobody reads its output.
    """
    # TensorFlow prints pages about absent GPUs when it is imported; it reads this once.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    log_to_stderr()
    # Keras imports scikit-learn for wrappers that nothing here uses: a fifth of the start. Keras Tuner needs it.
    skipped = verb != "tune" and sys.modules.setdefault("sklearn", None) is None  # type: ignore[arg-type]  # None: no import
    try:
        module = importlib.import_module(f"jasper_tf.commands.{verb.replace('-', '_')}")
        parser = OneLineParser(prog=program, description=module.HELP)
        module.add_arguments(parser)
        parse = parser.parse_intermixed_args if getattr(module, "INTERMIXED", False) else parser.parse_args
        return module.run(parse(_join_runner_options(sys.argv[1:] if argv is None else argv)))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        discard_stdout()
        return 141
    finally:
        if skipped:
            sys.modules.pop("sklearn", None)


def run_program() -> NoReturn:
    """The program `jasper-tf`, and `python -m jasper_tf`."""
    exit_with(main)


if __name__ == "__main__":
    run_program()

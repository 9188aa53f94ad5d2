"""`python -m jasper_tf VERB ...`: each verb is one file in jasper_tf/commands.

A verb's module holds `HELP` (one line, a literal), `add_arguments(parser)` and `run(arguments) -> exit status`.
Only the chosen verb is imported, so the list of verbs never waits for TensorFlow.
"""

import argparse
import ast
import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from jasper_tf.errors import UserError
from jasper_tf.io.log import log_to_stderr
from jasper_tf.io.process_exit import discard_stdout, exit_with

PROGRAM = "python -m jasper_tf"


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
    width = max(map(len, verbs))
    lines = [f"  {verb:<{width}}  {read_help(file)}" for verb, file in verbs.items()]
    return "\n".join([f"usage: {PROGRAM} VERB ...", "", *lines, "", f"{PROGRAM} VERB --help tells the rest"])


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb.

    Exit status: the verb's own, an error's `exit_status`, 130 when interrupted, 141 when nobody reads its output.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    verbs = find_verbs()
    if argv and argv[0] in ("-h", "--help"):
        print(usage(verbs))
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
    # TensorFlow prints pages about absent GPUs when it is imported; it reads this once.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    log_to_stderr()
    try:
        module = importlib.import_module(f"jasper_tf.commands.{verbs[verb].stem}")
        parser = argparse.ArgumentParser(prog=f"{PROGRAM} {verb}", description=module.HELP)
        module.add_arguments(parser)
        return module.run(parser.parse_args(argv[1:]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        discard_stdout()
        return 141


if __name__ == "__main__":
    exit_with(main)

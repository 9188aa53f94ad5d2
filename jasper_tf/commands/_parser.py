"""The parser of every command line."""

from __future__ import annotations

import argparse
import difflib
import re
from typing import Any, NoReturn

from jasper_tf.errors import UserError


class OneLineParser(argparse.ArgumentParser):
    """An `ArgumentParser` that says what is wrong in one line, with the nearest known option or choice.

    Raises:
        UserError: in `parse_args`, where the standard parser prints its usage and leaves the program.
    """

    def error(self, message: str) -> NoReturn:
        message = re.sub(r"^argument (?=-)", "", message)
        raise UserError(f"{message}; {self._hint(message)}{self.prog} --help lists the options")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            near = difflib.get_close_matches(str(value), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            name = action.metavar or action.dest if not action.option_strings else action.option_strings[-1]
            raise UserError(f"{name}: {value!r} is not known; {hint}")

    def _hint(self, message: str) -> str:
        unknown = re.match(r"unrecognized arguments: (-\S+)", message)
        known = [option for option in self._option_string_actions if option.startswith("--")]
        near = difflib.get_close_matches(unknown[1].split("=")[0], known, n=1) if unknown else []
        return f"did you mean {near[0]}? " if near else ""

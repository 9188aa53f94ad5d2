"""Selects variables by patterns of their paths, for `model.freeze` and `exclude_from_weight_decay`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

import keras

from jasper_tf.errors import UserError


def match_variables(variables: Sequence[keras.Variable], patterns: Iterable[str], key: str) -> list[keras.Variable]:
    """Returns the `variables` whose path matches a pattern of the `fnmatch` module, such as `*norm_*/*` or `*/bias`.

    Args:
        variables: trainable ones.
        patterns: of their paths: `block_0/conv_0/kernel`, `block_0/norm_0/gamma`, `decoder/bias`.
        key: of the configuration, for the message.

    Raises:
        UserError: a pattern matches nothing.
    """
    chosen: set[int] = set()
    for pattern in patterns:
        found = [id(v) for v in variables if fnmatchcase(v.path, pattern)]
        if not found:
            like = f"; their paths are like {variables[0].path} and {variables[-1].path}" if variables else ""
            raise UserError(f"{key}: '{pattern}' matches no trainable variable{like}")
        chosen.update(found)
    return [v for v in variables if id(v) in chosen]

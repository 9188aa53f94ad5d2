"""Validates the values of a model's weights."""

from __future__ import annotations

from collections.abc import Iterable

import keras
import numpy as np

from jasper_tf.errors import UserError


def validate_weights(variables: Iterable[keras.Variable], source: str) -> None:
    """Checks that every value is finite and no running variance below 0.

    Raises:
        UserError: names the first wrong variable, and their number.
    """
    wrong = [variable.path for variable in variables if not _is_valid(variable)]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise UserError(
            f"{source}: NaN, infinite or negative values where none can be, in {wrong[0]}{more}; train or get it again"
        )


def _is_valid(variable: keras.Variable) -> bool:
    values = np.asarray(variable)  # convert_to_numpy warns with NumPy 2
    if values.dtype.kind != "f":
        return True
    return bool(np.isfinite(values).all() and (variable.name != "moving_variance" or (values >= 0).all()))

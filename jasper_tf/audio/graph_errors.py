"""Finds the UserError that caused the error of a TensorFlow graph that called Python."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from jasper_tf.errors import DataError, UserError

F = TypeVar("F", bound=Callable)

_raised: deque[UserError] = deque(maxlen=256)
"""The latest ones: several threads may fail before TensorFlow reports the first."""


def keeps_errors(function: F) -> F:
    """Decorator of the function of a `tf.numpy_function`: `user_error_in` then finds the UserErrors that it raises.

    TensorFlow turns an exception into a `tf.errors.OpError` that has its text, and neither its class nor its fields.
    """

    @functools.wraps(function)
    def call(*arguments):
        try:
            return function(*arguments)
        except UserError as error:
            _raised.append(error)
            raise

    return call  # type: ignore[return-value]  # `wraps` keeps the signature, mypy does not see it


def user_error_in(error: BaseException) -> UserError | None:
    """A DataError for the UserError that a function with `keeps_errors` raised and that TensorFlow wrapped.

    Its cause is that UserError. None if there is none; a UserError itself is returned.
    """
    if isinstance(error, UserError):
        return error
    text = str(error)
    raised = next((raised for raised in reversed(_raised) if str(raised) in text), None)
    if raised is None:
        return None
    found = DataError(raised)
    found.__cause__ = raised
    return found

"""The one exception that a user's mistake raises."""


class UserError(ValueError):
    """Something the user gave is wrong: a file, a key, a value.

    The message is one line that names the place (file, line or key), says what is wrong and what to do.
    Command lines print it as `error: ...` and leave with status 2, without a traceback.
    """


class DivergedError(UserError):
    """The loss of a training is no longer a finite number; in a search it ends the trial, not the search."""

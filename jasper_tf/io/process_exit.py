"""Ends the process of a command."""

import atexit
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn


def discard_stdout() -> None:
    """Lets what is printed from now on disappear: the reader of the output (`| head`) has left.

    Python would fail once more when it flushes at the end.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def exit_with(main: Callable[[], int]) -> NoReturn:
    """Calls `main` and ends the process with the status it returns; 1 after an exception, whose traceback is printed.

    Python's own shutdown waits for every thread and finalizes the interpreter while TensorFlow's threads still run: one
    that then calls Python hangs or aborts the process. So the functions registered with `atexit` are run, the outputs
    are flushed, and the process ends at once, as children of `multiprocessing` do. Files must have been closed before.

    A `SystemExit` of `main` (argparse's) ends it with its own status. 141 (SIGPIPE) when the output's reader is gone;
    130 after a Ctrl-C that `main` did not handle, without a traceback.
    """
    try:
        status = main()
    except SystemExit as stop:
        if not isinstance(stop.code, int | None):
            print(stop.code, file=sys.stderr)
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:
        status = 130
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    atexit._run_exitfuncs()
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None where a descriptor was closed before the start
        try:
            stream.flush()
        except BrokenPipeError:
            status = status or 141
        except OSError as error:
            status = status or 1
            if stream is sys.stdout:
                print(f"error: standard output: {error.strerror}", file=sys.stderr, flush=True)
    os._exit(status)

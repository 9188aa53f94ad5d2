"""A worker process of `--runner direct`: Beam's own, which ends with the process that started it.

Beam's alone would first compute all that it was sent, which may take hours, beside the run that goes on.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading
import time

_LOOK_EVERY_S = 1.0


def end_with(parent: int) -> None:
    """Ends this process when `parent` does, which started it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_EVERY_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    end_with(int(sys.argv[1]))
    runpy.run_module("apache_beam.runners.worker.sdk_worker_main", run_name="__main__")

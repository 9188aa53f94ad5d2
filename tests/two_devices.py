"""A process with two CPU devices that runs one script after the other: TensorFlow starts in it once."""

import contextlib
import io
import json
import os
import subprocess
import sys
import threading
import traceback
from pathlib import Path

LIMIT_S = 300


class TwoDevices:
    """Logical devices must be named before TensorFlow starts: not in the process of the tests."""

    def __enter__(self):
        root = Path(__file__).parents[1]
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        return self

    def __exit__(self, *exception):
        self.process.kill()
        self.process.communicate()

    def run(self, script: str, *arguments: str) -> str:
        """What `script` prints; fails with its traceback, or when it takes too long."""
        timer = threading.Timer(LIMIT_S, self.process.kill)
        timer.start()
        print(json.dumps([script, *arguments]), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        timer.cancel()
        assert answer, f"the process has ended, or took longer than {LIMIT_S} s"
        printed, failure = json.loads(answer)
        assert not failure, printed + failure
        return printed


def main() -> None:
    # What TensorFlow itself prints must not stand between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    for line in sys.stdin:
        script, *sys.argv[1:] = json.loads(line)
        printed, failure = io.StringIO(), ""
        with contextlib.redirect_stdout(printed):
            try:
                # As "__main__" its functions would be this file's to AutoGraph, which reads their source.
                exec(compile(script, "<script>", "exec"), {"__name__": "script"})
            except Exception:
                failure = traceback.format_exc()
        print(json.dumps([printed.getvalue(), failure]), file=answers, flush=True)


if __name__ == "__main__":
    main()

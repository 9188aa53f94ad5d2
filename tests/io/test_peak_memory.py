"""The peak of a process's memory is its own, not that of the process that started it."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_the_peak_is_that_of_the_process_itself():
    child = (
        "from jasper_tf.io.peak_memory import peak_memory_bytes as p; a = p(); b = bytearray(80 << 20); print(a, p())"
    )
    parent = (
        "import os, sys; large = bytearray(400 << 20); os.execv(sys.executable, [sys.executable, '-c', sys.argv[1]])"
    )
    done = subprocess.run(
        [sys.executable, "-c", parent, child], cwd=REPOSITORY, capture_output=True, text=True, timeout=60
    )
    before, after = map(int, done.stdout.split())
    assert before < 200 << 20
    assert after - before > 70 << 20

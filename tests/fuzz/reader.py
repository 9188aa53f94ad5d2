"""Reads hostile files in a process of its own, which may crash, hang or run out of memory."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
from pathlib import Path

from tests.fuzz.worker import tree

REPOSITORY = Path(__file__).resolve().parents[2]
_LONGEST_WAIT_S = 300  # processor time has its own, shorter limit; this one is for a process that sleeps

# Of MP3 files that are damaged or longer than they say; nothing that libsndfile offers keeps libmpg123 quiet.
_OF_LIBMPG123 = re.compile(r"(\[src/libmpg123/[^]]*\] )?(?i:warning|note|error): [ -~]*(\n|$)")


class HostileReader:
    """A `worker` that is started again when an example ended it.

    Args:
        folder: of the worker; `home` in it is its home, its current folder and that of temporary files. Examples go to
            `input`.
    """

    def __init__(self, folder: Path):
        self.folder, self.input, self.home = folder, folder / "input", folder / "home"
        self.home.mkdir()
        self._process: subprocess.Popen | None = None

    def read(self, kind: str, path: Path, watched: tuple[Path, ...] = ()) -> tuple[str, str]:
        """What came of it, "read" or "refused", and the message.

        Args:
            watched: folders that must be left as they were.

        Raises:
            AssertionError: it was neither; says why.
        """
        before = {name: found for each in watched for name, found in tree(each).items()}
        process = self._start() if self._process is None or self._process.poll() is not None else self._process
        assert process.stdin and process.stdout
        process.stdin.write(json.dumps([kind, str(path)]) + "\n")
        process.stdin.flush()
        reply = ""
        if select.select([process.stdout], [], [], _LONGEST_WAIT_S)[0]:
            reply = process.stdout.readline()
        if not reply:
            process.kill()
            status = process.wait()
            shown = (self.folder / "printed").read_text(errors="replace")[-3000:]
            raise AssertionError(f"{kind}: it ended the process or took too long (status {status}):\n{shown}")
        outcome, said, printed = json.loads(reply)
        assert outcome in ("read", "refused"), f"{kind}: {said}"
        printed = _OF_LIBMPG123.sub("", printed)
        assert not printed, f"{kind}: printed {printed!r}"
        after = {name: found for each in watched for name, found in tree(each).items()}
        odd = sorted(name for name in before | after if before.get(name) != after.get(name))
        assert not odd, f"{kind}: files were written, changed or removed: {odd[:5]}"
        return outcome, said

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _start(self) -> subprocess.Popen:
        path = os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(REPOSITORY)]).strip(os.pathsep)
        environment = os.environ | {
            **{"HOME": str(self.home), "TMPDIR": str(self.home), "PATH": "", "PYTHONPATH": path},
            # What their first use writes is not of interest.
            **{"KERAS_HOME": str(self.folder), "MPLCONFIGDIR": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"},
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.worker"],
            cwd=self.home,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self._process

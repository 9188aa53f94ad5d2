"""`fuzz`: damaged files of one kind for a share of `FUZZ_SECONDS` (20), read in a process with bounds.

`make test` tries the same examples each time, as many as the time allows; with `FUZZ_RANDOM=1` (`make fuzz`) others.
"""

import itertools
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.reader import REPOSITORY, HostileReader

# Without shrinking: the example's file is what one looks at, and a hang would be waited for again and again.
ROUND = settings(
    max_examples=100,
    deadline=None,
    database=None,
    print_blob=False,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="session")
def hostile_reader(tmp_path_factory: pytest.TempPathFactory):
    reader = HostileReader(tmp_path_factory.mktemp("fuzz"))
    yield reader
    reader.close()


@pytest.fixture
def fuzz(request: pytest.FixtureRequest, hostile_reader: HostileReader):
    """`fuzz(kind, examples, write, valid)`: each example is read, or refused in one line.

    `write(folder, example)` makes the example's files in an empty folder and returns the path to read; `valid` is an
    example that must be read. `may_write` is for readers that go on writing to what they read.
    """
    shares = sum("fuzz" in getattr(item, "fixturenames", ()) for item in request.session.items)
    seconds = float(os.environ.get("FUZZ_SECONDS", "20")) / shares
    first_seed = random.randrange(1 << 32) if os.environ.get("FUZZ_RANDOM") else 0

    def fuzz(
        kind: str,
        examples: st.SearchStrategy[Any],
        write: Callable[[Path, Any], Path],
        valid: Any,
        may_write: bool = False,
    ) -> None:
        outcomes: Counter[str] = Counter()
        failed = False

        def read(example: Any, watched: tuple[Path, ...]) -> str:
            nonlocal failed
            shutil.rmtree(hostile_reader.input, ignore_errors=True)
            hostile_reader.input.mkdir()
            try:
                outcome, message = hostile_reader.read(kind, write(hostile_reader.input, example), watched)
            except AssertionError:
                if not failed:
                    failed = True
                    saved = REPOSITORY / "build" / "fuzz" / kind
                    shutil.rmtree(saved, ignore_errors=True)
                    saved.mkdir(parents=True)
                    print(f"the failing example: {write(saved, example)}")
                raise
            outcomes[outcome] += 1
            return f"{outcome} {message}"

        # The first use of TensorFlow leaves files behind: not watched.
        assert read(valid, ()) == "read "
        watched = (hostile_reader.home,) if may_write else (hostile_reader.home, hostile_reader.input)
        end = time.monotonic() + seconds

        def each(example: Any) -> None:
            if failed or time.monotonic() < end:
                read(example, watched)

        for number in itertools.count(first_seed):
            if time.monotonic() >= end:
                break
            seed(number)(ROUND(given(examples)(each)))()
        print(f"{kind}: {outcomes.total()} tried, {outcomes['read']} read, {outcomes['refused']} refused")

    return fuzz

"""Progress: what is shown, with a clock of the test's own, and how a terminal of 80 columns shows it."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jasper_tf.io.progress import Progress, megabytes


@pytest.fixture
def lines(monkeypatch, caplog):
    """`lines(**options)`: what is logged of half a million bytes every 15 s, four times."""

    def run(**options):
        now = 100.0
        monkeypatch.setattr("time.monotonic", lambda: now)
        with caplog.at_level(logging.INFO, "jasper_tf"), Progress("fetching", **options) as progress:
            for _ in range(4):
                now += 15
                progress.advance(500_000)
        return caplog.messages

    return run


def test_a_line_each_time_where_there_is_no_terminal(lines):
    assert lines(total=4_000_000, amount=megabytes) == [
        "fetching: 1.0 MB of 4.0 MB, 25%, 0:01:30 left",
        "fetching: 2.0 MB of 4.0 MB, 50%, 0:01:00 left",
    ]


def test_what_was_there_before_does_not_count_for_the_speed(lines):
    found = lines(total=1_004_000_000, amount=megabytes, done=1_000_000_000)
    assert found[0] == "fetching: 1.00 GB of 1.00 GB, 100%, 0:01:30 left"


def test_without_a_total_there_is_no_time_left(lines):
    assert lines(total=None) == ["fetching: 1000000", "fetching: 2000000"]


def test_a_note_and_a_time_left_of_the_callers_own(lines):
    assert lines(total=None, note=lambda: "WER 3%", left_s=lambda: 3661.2)[0] == (
        "fetching: 1000000, 1:01:01 left, WER 3%"
    )


def test_nothing_is_shown_of_short_work(capsys, caplog):
    with caplog.at_level(logging.INFO, "jasper_tf"), Progress("fetching", 3) as progress:
        progress.advance(3)
    assert capsys.readouterr() == ("", "") and not caplog.messages


SCRIPT = """
import time
from jasper_tf.io.progress import Progress, megabytes
with Progress("unpacking train-clean-100.tar.gz", 123_390_000_000, megabytes, note=lambda: "n" * 100) as progress:
    for _ in range(3):
        time.sleep(0.25)
        progress.advance(123_456_789)
    print("a result")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_eighty_columns_show_the_time_left_and_stdout_holds_results_only():
    reader, terminal = os.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=terminal, text=True, timeout=60)
    os.close(terminal)
    shown = os.read(reader, 1 << 16).decode()
    os.close(reader)
    assert done.returncode == 0 and done.stdout == "a result\n"
    assert "370.4 MB of 123.39 GB" in shown and " left" in shown and "n…" in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h")  # the cursor is hidden, and there again

"""ProgressLine: what the line shows, with a clock of the test's own."""

import itertools
import sys

from jasper_tf.io.progress import ProgressLine, megabytes


def run(monkeypatch, capsys, terminal, **options):
    clock = itertools.count(100, 30)
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with ProgressLine("fetching", **options) as progress:
        progress.advance(1_000_000)
        progress.advance(1_000_000)
    return capsys.readouterr().err


def test_a_line_each_time_where_there_is_no_terminal(monkeypatch, capsys):
    assert run(monkeypatch, capsys, False, total=4_000_000, amount=megabytes) == (
        "fetching: 1.0 MB of 4.0 MB, 25%, 0:01:30 left\nfetching: 2.0 MB of 4.0 MB, 50%, 0:01:00 left\n"
    )


def test_what_was_there_before_does_not_count_for_the_speed(monkeypatch, capsys):
    lines = run(monkeypatch, capsys, False, total=1_004_000_000, amount=megabytes, done=1_000_000_000).splitlines()
    assert lines[0] == "fetching: 1.00 GB of 1.00 GB, 100%, 0:01:30 left"


def test_without_a_total_there_is_no_time_left(monkeypatch, capsys):
    assert run(monkeypatch, capsys, False, total=None).splitlines() == ["fetching: 1000000", "fetching: 2000000"]


def test_a_terminal_keeps_one_line_and_clears_it(monkeypatch, capsys):
    printed = run(monkeypatch, capsys, True, total=4_000_000)
    assert "\n" not in printed and printed.count("\r") == 2 and printed.endswith("\x1b[K")

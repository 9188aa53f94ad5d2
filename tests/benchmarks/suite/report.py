"""The results of a run: kept as JSON, shown as a table, compared with those of an earlier one."""

from __future__ import annotations

import datetime
import json
import statistics
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- make bench: begin -->", "<!-- make bench: end -->"
TOLERANCE = 1.1


class ReportError(Exception):
    """A file of results cannot be used; the sentence says which and why."""


def summarize(seconds: dict[str, list[float]], flop: dict[str, int], ours: set[str]) -> dict[str, Any]:
    """What is kept of a line.

    Args:
        seconds: of each round, by competitor, "matmul" among them; the same rounds for all.
        flop: floating point operations, by competitor, where they are known.
        ours: the competitors of this package.

    Returns:
        "matmul_flop_per_s", "rounds", and "times": by competitor "s", the median; "spread", half of the interquartile
        range over the median; of ours also "against", how many times as fast as each other competitor, the median of
        the rounds' ratios; "cost", seconds times the matmul's FLOP/s of the same round: what a slower machine leaves
        as it is.
    """
    peak = [flop["matmul"] / s for s in seconds["matmul"]]
    times: dict[str, Any] = {}
    for name, taken in seconds.items():
        if name == "matmul":
            continue
        median = statistics.median(taken)
        quartiles = statistics.quantiles(taken, n=4) if len(taken) > 1 else [median] * 3
        times[name] = {"s": median, "spread": (quartiles[2] - quartiles[0]) / 2 / median}
        if name in ours:
            others = [other for other in seconds if other not in ours and other != "matmul"]
            times[name]["against"] = {other: _median_ratio(seconds[other], taken) for other in others}
            times[name]["cost"] = statistics.median(s * p for s, p in zip(taken, peak, strict=True))
    known = next((flop[name] for name in times if flop.get(name)), None)  # the peers compute the same network
    kept = {"matmul_flop_per_s": statistics.median(peak), "rounds": len(peak), "flop": known, "times": times}
    return kept


def worse(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Sentences on every number of ours in `new` that is more than 10 % worse than in `old`, both whole results.

    Compared are the ratios to a competitor that both have, else the costs (see `summarize`): load changes neither.
    Another processor does, so it is named.
    """
    found = []
    for name in (name for name in new if name in old):
        machine = old[name]["machine"]
        elsewhere = "" if machine == new[name]["machine"] else f" on another processor, {machine}"
        for ours, time in new[name]["times"].items():
            before = old[name]["times"].get(ours)
            if "cost" not in time or before is None or "cost" not in before:
                continue
            shared = [peer for peer in time["against"] if peer in before["against"]]
            for peer in shared:
                ratio, was = time["against"][peer], before["against"][peer]
                if ratio * TOLERANCE < was:
                    found.append(f"{name}: {ours} is {ratio:.2f} times as fast as {peer}, was {was:.2f}{elsewhere}")
            if not shared and time["cost"] > TOLERANCE * before["cost"]:
                slower = time["cost"] / before["cost"] - 1
                found.append(
                    f"{name}: {ours} takes {slower:.0%} longer than before, against a matrix multiplication{elsewhere}"
                )
    return found


def table(lines: dict[str, Any]) -> str:
    """The results as Markdown."""
    places: dict[str, list[dict[str, Any]]] = {}
    for line in lines.values():
        places.setdefault(_where(line), []).append(line)
    rows = []
    for name, line in lines.items():
        number = 1 + list(places).index(_where(line))
        for place, (competitor, time) in enumerate(line["times"].items()):
            speed = line["flop"] / time["s"] if line["flop"] else None
            against = [f"{ratio:.2f} x {other}" for other, ratio in time.get("against", {}).items()]
            if competitor == "jasper_tf, bf16":
                against.insert(0, f"{line['times']['jasper_tf']['s'] / time['s']:.2f} x float32")
            cells = [
                "" if place else f"`{name}`: {line['title']}",
                competitor,
                _duration(time["s"]),
                f"{time['spread']:.0%}",
                _multiple(line["audio_s"] / time["s"]) if line["audio_s"] else "",
                f"{speed / 1e9:,.0f}" if speed else "",
                f"{speed / line['matmul_flop_per_s']:.0%}" if speed else "",
                ", ".join(against),
                "" if place else str(number),
            ]
            rows.append(f"| {' | '.join(cells)} |")
    head = "| work | run by | median | ± | x real time | GFLOP/s | of the peak | speed | where |"
    notes = [f"{number}. {where}, {_about(measured)}" for number, (where, measured) in enumerate(places.items(), 1)]
    return "\n".join([head, "|---|---|---:|---:|---:|---:|---:|---|---|", *rows, "", *notes])


def read_results(folder: Path) -> dict[str, Any]:
    """The lines of the folder's benchmarks.json by name; none if there is no such file.

    Raises:
        ReportError: it is damaged, or benchmarks.md has no place for the table.
    """
    file = folder / "benchmarks.json"
    _around_table(folder / "benchmarks.md")
    try:
        return json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ReportError(f"{file}: no results of the benchmarks ({error}); delete it or put it back") from None


def write_results(folder: Path, lines: dict[str, Any]) -> None:
    """Writes benchmarks.json, and the table into benchmarks.md between its two marks.

    Raises:
        ReportError: the page has no marks.
    """
    before, after = _around_table(folder / "benchmarks.md")
    (folder / "benchmarks.json").write_text(json.dumps(lines, indent=1) + "\n")
    (folder / "benchmarks.md").write_text(f"{before}{BEGIN}\n{table(lines)}\n{END}{after}")


def _around_table(page: Path) -> tuple[str, str]:
    text = page.read_text() if page.exists() else f"{BEGIN}{END}\n"
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ReportError(f"{page}: lacks the lines {BEGIN} and {END}; put them where the table belongs")
    return text.split(BEGIN)[0], text.split(END)[1]


def _median_ratio(theirs: list[float], ours: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(theirs, ours, strict=True))


def _duration(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def _where(line: dict[str, Any]) -> str:
    date = datetime.date.fromisoformat(line["date"])
    return f"{date.day} {date:%B %Y}, {line['machine']}"


def _about(lines: list[dict[str, Any]]) -> str:
    """The peaks and versions of lines."""
    peaks = [line["matmul_flop_per_s"] / 1e9 for line in lines if line["flop"]]
    versions = {f"{package} {version}" for line in lines for package, version in line["versions"].items()}
    peak = f"peak {min(peaks):.0f} to {max(peaks):.0f} GFLOP/s; " if peaks else ""
    return f"{peak}{', '.join(sorted(versions))}"


def _multiple(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.3g}"

"""Formats the faults as a table."""

from __future__ import annotations

from collections.abc import Sequence

from jasper_tf.data.checks.checked_manifest import CheckedManifest
from jasper_tf.data.checks.faults import KINDS, FaultLog
from jasper_tf.errors import printable


def table(log: FaultLog) -> str:
    """A line for each kind that was found: its name, lines, hours and the first one, notes last."""
    kinds = [kind for kind in KINDS if kind in log.tallies]
    kinds.sort(key=lambda kind: kind in log.notes)
    if not kinds:
        return ""
    names = {kind: f"{kind} (no fault)" if kind in log.notes else kind for kind in kinds}
    width = max(map(len, names.values()))
    rows = [f"{'kind':<{width}}  {'lines':>8}  {'hours':>8}  first"]
    for kind in kinds:
        tally = log.tallies[kind]
        # A broken line has no length.
        hours = f"{tally.duration_s / 3600:.3f}" if tally.duration_s else "-"
        rows.append(printable(f"{names[kind]:<{width}}  {tally.count:>8}  {hours:>8}  {tally.example}"))
    return "\n".join(rows)


def summary(manifests: Sequence[CheckedManifest], log: FaultLog) -> list[str]:
    """For each manifest: its lines, hours, and how many lines are faulty."""
    rows = []
    for manifest in manifests:
        faulty = log.count_faulty(manifest.path)
        found = f"{faulty} with a fault" if faulty else "no fault"
        hours = sum(manifest.duration_s) / 3600
        lines = f"{manifest.lines} line{'s' * (manifest.lines != 1)}"
        rows.append(f"{printable(manifest.path)}: {lines}, {hours:.2f} h: {found}")
    return rows

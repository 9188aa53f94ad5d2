"""Finds recordings that occur twice in a set, or in the training set and in a held-out set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jasper_tf.data.checks.checked_manifest import CheckedManifest
from jasper_tf.data.checks.faults import FaultLog


def check_duplicates(
    training: Sequence[CheckedManifest],
    held_out: Sequence[CheckedManifest],
    log: FaultLog,
    keys: Sequence[np.ndarray] | None = None,
    what: str = "the same part of the same file",
) -> None:
    """Logs "duplicate" for a line that repeats an earlier one of its set, "leak" for a training line that is held out.

    The first of equal lines is never logged. A leak is logged at the training line: removing that one leaves the
    held-out set as it was.

    Args:
        training: manifests of one set.
        held_out: manifests of sets that measure what is trained; duplicates are looked for in each alone.
        log: takes the faults.
        keys: for each manifest, training before held out, [utterances] uint64, equal for equal audio, 0 for unknown.
            Default: `CheckedManifest.part`.
        what: what equal keys mean, for messages.
    """
    manifests = [*training, *held_out]
    if keys is None:
        keys = [np.array(manifest.part) for manifest in manifests]
    groups = [list(range(len(training)))] + [[i] for i in range(len(training), len(manifests))]
    for group in groups:
        _log_repeats([manifests[i] for i in group], [keys[i] for i in group], log, what)
    if not training or not held_out:
        return
    outside = np.concatenate([keys[i] for i in range(len(training), len(manifests))])
    order = np.argsort(outside, kind="stable")
    outside_sorted = outside[order]
    first = np.cumsum([0] + [len(manifest) for manifest in held_out])
    for manifest, own in zip(training, keys, strict=False):
        at = np.searchsorted(outside_sorted, own)
        found = np.flatnonzero((own != 0) & (at < len(outside)))
        for i in found[outside_sorted[at[found]] == own[found]]:
            k = int(order[at[i]])
            n = int(np.searchsorted(first, k, "right")) - 1
            other = f"{held_out[n].path}:{held_out[n].line[k - first[n]]}"
            _log(log, "leak", manifest, int(i), f"{what} as {other}, which is not to be trained on")


def _log_repeats(group: Sequence[CheckedManifest], keys: Sequence[np.ndarray], log: FaultLog, what: str) -> None:
    if not group:
        return
    every = np.concatenate(keys)
    order = np.argsort(every, kind="stable")
    new = np.ones(len(every), bool)
    new[1:] = every[order][1:] != every[order][:-1]
    # Equal keys are adjacent, the earliest first.
    earliest = np.empty(len(every), np.int64)
    if len(every):
        earliest[order] = order[np.maximum.accumulate(np.where(new, np.arange(len(every)), 0))]
    first = np.cumsum([0] + [len(manifest) for manifest in group])
    for k in np.flatnonzero((earliest != np.arange(len(every))) & (every != 0)):
        n, n0 = (int(np.searchsorted(first, x, "right")) - 1 for x in (k, earliest[k]))
        other = f"{group[n0].path}:{group[n0].line[int(earliest[k] - first[n0])]}"
        _log(log, "duplicate", group[n], int(k - first[n]), f"{what} as {other}")


def _log(log: FaultLog, kind: str, manifest: CheckedManifest, i: int, detail: str) -> None:
    log.add(manifest.path, manifest.line[i], kind, detail, manifest.duration_s[i])

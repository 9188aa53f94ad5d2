"""Counts the recordings that training leaves out because they cannot be read (`on_bad_audio: skip`)."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from jasper_tf.data.manifest.line import Utterance
from jasper_tf.errors import UserError


class BadAudio:
    """Counts the utterances that are left out, each once, and raises when there are too many.

    Args:
        utterances: of the dataset.
        share: of these that may be left out, 0 to 1.
        name: of the dataset, for messages ("model.train_ds").
    """

    def __init__(self, utterances: Sequence[Utterance], share: float, name: str):
        self.utterances = utterances
        self.share = share
        self.name = name
        self.reasons: dict[int, str] = {}
        self._reported = 0
        self._lock = threading.Lock()

    def add(self, index: int, reason: str) -> None:
        """Notes that utterance `index` cannot be read.

        Raises:
            UserError: more than `share` of all utterances are bad.
        """
        with self._lock:
            self.reasons.setdefault(index, reason)
            count, total = len(self.reasons), len(self.utterances)
        if count > self.share * total:
            raise UserError(
                f"{self.name}: {count} of {total} recordings cannot be read, more than max_bad_audio {self.share:g} "
                f"allows; the last: {self.utterances[index].source}: {reason}"
            )

    def require_rest(self, members: Iterable[int]) -> None:
        """Checks that not all of the utterances `members`, those of an epoch, are bad.

        Raises:
            UserError: they are.
        """
        with self._lock:
            if any(index not in self.reasons for index in members):
                return
            first, reason = min(self.reasons.items())
        raise UserError(
            f"{self.name}: not one of its recordings can be read; the first: {self.utterances[first].source}: {reason}"
        )

    def news(self) -> list[str]:
        """A line for each one found since the last call, and how many there are in all."""
        with self._lock:
            found = list(self.reasons.items())
        fresh, self._reported = found[self._reported :], len(found)
        lines = [f"{self.name}: left out {self.utterances[i].source}: {reason}" for i, reason in fresh]
        if fresh:
            lines.append(f"{self.name}: {len(found)} of {len(self.utterances)} recordings left out, unreadable")
        return lines

"""BPE-dropout (Provilkov et al. 2020, arXiv 1910.13267): the merges of BPE, some of them left out."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush


def merge_randomly(
    symbols: Sequence[str], scores: Mapping[str, float], fixed: frozenset[str], dropout: float, seed: int
) -> list[str]:
    """Joins neighbors to pieces, the best piece first, as SentencePiece does.

    SentencePiece itself draws other numbers in each process, whatever its seed.

    Args:
        symbols: the characters of a text, and the pieces that are `fixed`.
        scores: of the pieces.
        fixed: pieces that are not joined with their neighbors.
        dropout: probability of each merge that is left out.
        seed: the result is a function of the arguments.
    """
    draw = random.Random(seed).random
    parts: list[str] = list(symbols)  # an empty one was joined to the one before
    before, behind = [*range(-1, len(parts) - 1)], [*range(1, len(parts) + 1)]

    def candidate(left: int, right: int) -> tuple[float, int, int, str] | None:
        if left < 0 or right >= len(parts) or parts[left] in fixed or parts[right] in fixed:
            return None
        piece = parts[left] + parts[right]
        return (-scores[piece], left, right, piece) if piece in scores else None

    found = [one for left in range(len(parts) - 1) if (one := candidate(left, left + 1))]
    heapify(found)
    while found:
        _, left, right, piece = heappop(found)
        if not parts[left] or not parts[right] or parts[left] + parts[right] != piece or draw() < dropout:
            continue
        parts[left], parts[right] = piece, ""
        behind[left] = after = behind[right]
        if after < len(parts):
            before[after] = left
        for one in (candidate(before[left], left), candidate(left, after)):
            if one:
                heappush(found, one)
    return [part for part in parts if part]

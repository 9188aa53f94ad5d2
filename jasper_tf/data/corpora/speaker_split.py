"""Splits a corpus into training, validation and test sets without a common speaker."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np

from jasper_tf.errors import UserError


def parse_shares(text: str) -> dict[str, float]:
    """Parses "dev=0.1,test=0.1" into {"dev": 0.1, "test": 0.1}; the rest is the training set.

    Raises:
        UserError: it is not written like that, a share is not between 0 and 1, or they are more than 1 together.
    """
    shares: dict[str, float] = {}
    for piece in text.split(","):
        name, _, value = piece.strip().partition("=")
        try:
            share = float(value)
        except ValueError:
            share = float("nan")
        if not name or not name.replace("-", "").replace("_", "").isalnum() or not 0 < share <= 1:
            raise UserError(f"--split {text!r}: {piece.strip()!r} is not NAME=SHARE, as in dev=0.1,test=0.1")
        if name in shares or name == "train":
            raise UserError(f"--split {text!r}: {name} is there twice or is the rest; name the other sets only")
        shares[name] = share
    if sum(shares.values()) > 1 + 1e-9:
        raise UserError(f"--split {text!r}: the shares are more than 1 together")
    return shares


def split_by_group(
    groups: Sequence[Hashable], weights: Sequence[float], shares: dict[str, float], seed: int
) -> list[str]:
    """Assigns each item to a set: items of a group (a speaker) stay together. The same arguments give the same sets.

    Groups are taken in an order drawn from `seed`; a set takes each that brings its weight nearer to its share, and at
    least one. What no set takes is "train", which gets at least one group unless the shares are 1 together.

    Args:
        groups: of each item.
        weights: of each item, e.g. seconds.
        shares: of the whole weight, by set.
        seed: of the order.

    Returns:
        The name of the set for each item.

    Raises:
        UserError: there are fewer groups than sets.
    """
    weights_of: dict[Hashable, list[float]] = {}
    for group, weight in zip(groups, weights, strict=True):
        weights_of.setdefault(group, []).append(weight)
    # fsum: a sum that depends on the order of the items could turn a tie.
    weight_of = {group: math.fsum(members) for group, members in weights_of.items()}
    train_needed = sum(shares.values()) < 1 - 1e-9
    if len(weight_of) < len(shares) + train_needed:
        sets = ", ".join([*shares, *(["train"] if train_needed else [])])
        raise UserError(f"--split: {len(weight_of)} speakers cannot be split into {sets} without one in two sets")
    names = sorted(weight_of, key=str)
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    total = math.fsum(weight_of.values())
    chosen: dict[Hashable, str] = {}
    for place, (name, share) in enumerate(shares.items()):
        left = [group for group in order if group not in chosen]
        still_needed = len(shares) - place - 1 + train_needed
        if not still_needed:
            taken = left
        else:
            taken, weight = [], 0.0
            for group in left:
                nearer = abs(weight + weight_of[group] - share * total) < abs(weight - share * total)
                if nearer and len(left) - len(taken) > still_needed:
                    taken.append(group)
                    weight += weight_of[group]
            taken = taken or [min(left, key=lambda group: weight_of[group])]
        chosen |= dict.fromkeys(taken, name)
    return [chosen.get(group, "train") for group in groups]

"""Nested configurations as dotted keys."""

from __future__ import annotations

from typing import Any


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Maps dotted keys to values: `{"a": {"b": 1}, "c": [{"d": 2}]}` becomes `{"a.b": 1, "c.0.d": 2}`.

    A list is one value unless it holds a mapping or a list; an empty mapping has no key.
    """
    if isinstance(tree, dict):
        return {k: v for key, value in tree.items() for k, v in flatten(value, f"{prefix}{key}.").items()}
    if isinstance(tree, list) and any(isinstance(item, (dict, list)) for item in tree):
        return {k: v for i, value in enumerate(tree) for k, v in flatten(value, f"{prefix}{i}.").items()}
    return {prefix[:-1]: tree}


def differences(before: Any, now: Any) -> list[tuple[str, Any, Any]]:
    """Lists (key, value before, value now) for each dotted key that differs, "(absent)" where there is none.

    None and an absent key are equal.
    """
    old, new = flatten(before), flatten(now)
    differing = (key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key))
    return [(key, old.get(key, "(absent)"), new.get(key, "(absent)")) for key in differing]

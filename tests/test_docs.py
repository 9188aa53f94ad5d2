"""What docs/ says of the code."""

import importlib
import re
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def test_the_bounds_are_those_of_the_code():
    stated = re.findall(r"`([a-z_.]+)\.(_?[A-Z_]+)` = ([\d,]*\d)", (DOCS / "security.md").read_text(encoding="utf-8"))
    assert len(stated) > 20
    for module, name, value in stated:
        found = getattr(importlib.import_module(f"jasper_tf.{module}"), name)
        assert found == int(value.replace(",", "")), f"{module}.{name}"

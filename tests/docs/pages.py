"""The fenced blocks and the inline code of README.md and docs/."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
_FENCED = re.compile(r"(?ms)^( *)```([^\n]*)\n(.*?)\n\1```$")


class Block(NamedTuple):
    """A fenced block: where it stands, its language ("" for a shell's), its text."""

    place: str
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, without the indentation of the list that they are in."""
    content = page.read_text(encoding="utf-8")
    return [
        Block(f"{page.name}:{content.count(chr(10), 0, found.start()) + 1}", found[2], textwrap.dedent(found[3]))
        for found in _FENCED.finditer(content)
    ]


def inline_code(page: Path) -> list[str]:
    """What stands between single backticks, on one line or two."""
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    return [" ".join(code.split()) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]

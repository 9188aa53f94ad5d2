"""Normalizes transcripts: one spelling for what sounds the same."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from jasper_tf.text.spoken_numbers import SpokenNumbers

Case = Literal["lower", "upper", "keep"]

_SINGLE_QUOTES = "\u2018\u2019\u201a\u201b\u2032\u02bc\u02b9\u00b4`\uff07\u2039\u203a"
_DOUBLE_QUOTES = "\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb"
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2043"
_TYPOGRAPHY = {
    **dict.fromkeys(map(ord, _SINGLE_QUOTES), "'"),
    **dict.fromkeys(map(ord, _DOUBLE_QUOTES), '"'),
    **dict.fromkeys(map(ord, _DASHES), "-"),
}
_JOINERS = "\u200c\u200d"
"""Invisible, but part of the spelling of Persian and of Indic scripts."""

_SYMBOLS = {
    "en": {"&": "and", "+": "plus", "=": "equals", "@": "at", "°": "degrees"},
    "de": {"&": "und", "+": "plus", "=": "gleich", "@": "at", "°": "Grad"},
    "fr": {"&": "et", "+": "plus", "=": "égale", "@": "arobase", "°": "degrés"},
    "es": {"&": "y", "+": "más", "=": "igual a", "@": "arroba", "°": "grados"},
    "it": {"&": "e", "+": "più", "=": "uguale", "@": "chiocciola", "°": "gradi"},
    "pt": {"&": "e", "+": "mais", "=": "igual a", "@": "arroba", "°": "graus"},
    "nl": {"&": "en", "+": "plus", "=": "is", "@": "at", "°": "graden"},
}
_TAG = re.compile(r"<[^<>]*>|\[[^\[\]]*\]")
_NO_WORD = re.compile(r"[^\w\s]|_")
"""Without a match there is neither punctuation nor a symbol, as in most texts: a fast path."""

_MOST_ROUNDS = 10


@dataclass(frozen=True)
class Normalized:
    """A normalized text and the changes that made it.

    Attributes:
        text: the result.
        changes: (kind, text before, text after) of every step that changed something, in their order.
    """

    text: str
    changes: tuple[tuple[str, str, str], ...]


class TextNormalizer:
    """Normalizes texts to the words that are spoken. Normalized texts stay as they are.

    The steps, each a kind of change: "unicode form" (NFKC), "invisible characters" (controls, soft hyphens, marks of
    direction), "tags" (`<noise>`, `[laughter]`), "quotes and dashes" (typographic ones become ' " -), "numbers" (see
    `SpokenNumbers`), "spoken symbols" (& + = @ ° in the language's words), "accents", "case", "punctuation",
    "symbols", "spaces". Punctuation and symbols become spaces, but for the apostrophe of a word: between letters, and
    at either end of it when it is not half of a pair of quotes.

    Args:
        language: a code of num2words; it also decides the words for symbols, and the case of i and ı.
        case: "lower" (default), "upper" or "keep".
        keep_punctuation: leaves punctuation and symbols, in their typewriter form.
        keep_numbers: leaves digits.
        strip_accents: letters without their accents (é becomes e), but for those in `labels`.
        labels: a model's characters: punctuation and symbols among them stay. Default: none.

    Raises:
        UserError: num2words does not know the language.
    """

    def __init__(
        self,
        language: str = "en",
        *,
        case: Case = "lower",
        keep_punctuation: bool = False,
        keep_numbers: bool = False,
        strip_accents: bool = False,
        labels: Iterable[str] = (),
    ):
        self.labels = frozenset(labels)
        self._family = language.replace("-", "_").split("_")[0]
        self._keep_numbers = keep_numbers
        self._typography = {code: to for code, to in _TYPOGRAPHY.items() if chr(code) not in self.labels}
        steps: list[tuple[str, Callable[[str], str]]] = [
            ("unicode form", _unicode_form),
            ("invisible characters", _without_invisible),
            ("tags", _without_tags),
            ("quotes and dashes", self._typewriter),
        ]
        if not keep_numbers:
            steps.append(("numbers", SpokenNumbers(language)))
        if not keep_punctuation:
            steps.append(("spoken symbols", self._spoken_symbols))
        if strip_accents:
            steps.append(("accents", self._without_accents))
        if case != "keep":
            steps.append(("case", self._lower if case == "lower" else self._upper))
        if not keep_punctuation:
            steps += [("punctuation", self._without_punctuation), ("symbols", self._without_symbols)]
        self._steps = [*steps, ("spaces", _single_spaces)]

    def __call__(self, text: str) -> Normalized:
        changes: list[tuple[str, str, str]] = []
        # A step can make an earlier one apply again (a mark that meets a letter is composed): until nothing changes.
        for _ in range(_MOST_ROUNDS):
            before = len(changes)
            for kind, step in self._steps:
                changed = step(text)
                if changed != text:
                    changes.append((kind, text, changed))
                    text = changed
            if len(changes) == before:
                break
        return Normalized(text, tuple(changes))

    def _typewriter(self, text: str) -> str:
        return text.translate(self._typography)

    def _spoken_symbols(self, text: str) -> str:
        for symbol, word in _SYMBOLS.get(self._family, {}).items():
            if symbol in text and symbol not in self.labels:
                text = text.replace(symbol, f" {word} ")
        return text

    def _without_accents(self, text: str) -> str:
        return "".join(c if c in self.labels else _base(c) for c in text)

    def _lower(self, text: str) -> str:
        if self._family in ("tr", "az"):
            text = text.replace("I", "ı").replace("İ", "i")
        return text.lower()

    def _upper(self, text: str) -> str:
        if self._family in ("tr", "az"):
            text = text.replace("i", "İ")
        return text.upper()

    def _without_punctuation(self, text: str) -> str:
        if not _NO_WORD.search(text):
            return text
        quotes = _paired_quotes(text)

        def stays(i: int, c: str) -> bool:
            if c in self.labels and c != "'":
                return True
            before, after = text[i - 1 : i], text[i + 1 : i + 2]
            if c == "'":
                return i not in quotes and (_is_letter(before) or _is_letter(after))
            return self._keep_numbers and c in ".,:" and before.isdigit() and after.isdigit()

        return "".join(c if unicodedata.category(c)[0] != "P" or stays(i, c) else " " for i, c in enumerate(text))

    def _without_symbols(self, text: str) -> str:
        if not _NO_WORD.search(text):
            return text
        return "".join(c if unicodedata.category(c)[0] != "S" or c in self.labels else " " for c in text)


def _unicode_form(text: str) -> str:
    if text.isascii():
        return text
    # NFKC would join digits: 2½ to 21/2, 10² to 102. Spaces that only group digits are removed.
    text = re.sub(r"(?<=\d)(?=[\u00bc-\u00be\u2150-\u215e\u00b2\u00b3\u00b9\u2070-\u2089])", " ", text)
    text = re.sub(r"(?<=\d)[\u00a0\u202f\u2009](?=\d{3}(?!\d))", "", text)
    return unicodedata.normalize("NFKC", text)


def _single_spaces(text: str) -> str:
    return " ".join(text.split())


def _without_invisible(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text

    def visible(c: str) -> str:
        category = unicodedata.category(c)
        if category == "Cc":
            return " "
        return "" if category in ("Cf", "Cs") and c not in _JOINERS else c

    return "".join(map(visible, text))


def _without_tags(text: str) -> str:
    return _TAG.sub(" ", text)


def _base(c: str) -> str:
    parts = "".join(part for part in unicodedata.normalize("NFKD", c) if unicodedata.category(part) != "Mn")
    return unicodedata.normalize("NFC", parts) or c  # a Korean syllable comes apart into letters, not into accents


def _is_letter(c: str) -> bool:
    return c != "" and unicodedata.category(c)[0] in "LM"


def _paired_quotes(text: str) -> set[int]:
    """Where ' opens before a word and closes after one; what stays alone is an apostrophe ('tis, the boys')."""
    paired: set[int] = set()
    open_at: list[int] = []
    for i, c in enumerate(text):
        if c != "'":
            continue
        before, after = _is_letter(text[i - 1 : i]), _is_letter(text[i + 1 : i + 2])
        if after and not before:
            open_at.append(i)
        elif before and not after and open_at:
            paired |= {open_at.pop(), i}
    return paired

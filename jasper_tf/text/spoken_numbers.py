"""Spells out numbers: finds them in a text, num2words gives the words."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from decimal import Decimal

from num2words import CONVERTER_CLASSES, num2words

from jasper_tf.errors import UserError

_DECIMAL_COMMA = set("az be ca cs da de es fi fr hu id is it kz lt lv nl no pl pt ro ru sk sl sr sv tr uk vi".split())
_UNSPACED = {"ja", "th"}
_YEARS = {"en": (1100, 1999, 2010, 2099), "de": (1100, 1999, 1100, 1999)}
"""Four digits in either range are read as a year: "nineteen eighty-four", "neunzehnhundertvierundachtzig"."""

_ORDINAL_ENDINGS = {"en": "st|nd|rd|th", "fr": "er|re|ère|ème|eme|e"}
_PERCENT = {
    "en": "percent",
    "de": "Prozent",
    "fr": "pour cent",
    "es": "por ciento",
    "it": "per cento",
    "pt": "por cento",
    "nl": "procent",
    "pl": "procent",
    "sv": "procent",
}
_CURRENCIES = {"$": "USD", "£": "GBP", "€": "EUR", "¥": "JPY"}
_DIGIT = re.compile(r"\d")
_LONGEST = 15
"""More digits than this are spelled one by one, like those of a telephone number."""


class SpokenNumbers:
    """Writes the numbers of a text in words.

    `SpokenNumbers("en")("In 1984, 3rd: $5.50")` is "In nineteen eighty-four, third: five dollars fifty cents".

    Every language: whole numbers with the language's thousands separators, decimals, a minus sign, percent, currencies
    (as far as num2words knows them), numbers that begin with 0 or have more than 15 digits digit by digit.
    English also: years, decades, ordinals, times of day, fractions, "$3 million". German also: years. French also:
    ordinals. The same digits may mean something else in a text: callers report what was changed.

    Args:
        language: a code of num2words: "en", "de", "fr", "pt_BR", ...; a region that it does not know is ignored.

    Raises:
        UserError: num2words does not know the language.
    """

    def __init__(self, language: str = "en"):
        self._family = language.replace("-", "_").split("_")[0]
        codes = (language.replace("-", "_"), self._family)
        found = next((code for code in codes if code in CONVERTER_CLASSES), None)
        if found is None:
            known = ", ".join(sorted(CONVERTER_CLASSES))
            raise UserError(f"--language {language}: numbers can be spelled out in {known}; or --keep-numbers")
        self.language = found
        comma = self._family in _DECIMAL_COMMA
        self._thousands, self._point = (".", ",") if comma else (",", ".")
        number = rf"\d{{1,3}}(?:{re.escape(self._thousands)}\d{{3}})+(?!\d)(?:{re.escape(self._point)}\d+)?"
        number = rf"(?:{number}|\d+(?:{re.escape(self._point)}\d+)?)"
        rules: list[tuple[str, Callable[[re.Match], str]]] = []
        if self._family == "en":
            rules += [
                (r"(?:(?P<whole>\d+) )?(?P<upper>\d+)\u2044(?P<lower>\d+)", self._fraction),
                (r"(?<![\d:])(?P<hour>[01]?\d|2[0-4]):(?P<minute>[0-5]\d)(?![\d:])", self._time),
                (r"(?<!\d)'?(?P<decade>(?:[12]\d)?\d0)s\b", self._decade),
            ]
        if endings := _ORDINAL_ENDINGS.get(self._family):
            rules.append((rf"(?<!\d)(?P<ordinal>\d{{1,{_LONGEST}}})(?:{endings})\b", self._ordinal))
        scale = r"(?: (?P<scale>thousand|million|billion|trillion)\b)?" if self._family == "en" else ""
        rules += [
            (rf"(?P<sign>[$£€¥]) ?(?P<amount>{number}){scale}", self._currency),
            (rf"(?P<amount_before>{number}) ?(?P<sign_after>[$£€¥])", self._currency),
            (rf"(?P<minus>(?<!\S)-)?(?P<number>{number})(?P<percent> ?%)?", self._number),
        ]
        self._rules = [(re.compile(pattern, re.IGNORECASE), spell) for pattern, spell in rules]

    def __call__(self, text: str) -> str:
        if not _DIGIT.search(text):
            return text
        for pattern, spell in self._rules:
            text = pattern.sub(functools.partial(self._spaced, spell), text)
        return text

    def _spaced(self, spell: Callable[[re.Match], str], match: re.Match) -> str:
        """Words apart from what the digits touched: "mp3" becomes "mp three"."""
        words = spell(match).replace(",", "")
        if words == match.group() or self._family in _UNSPACED:
            return words
        before, after = match.string[: match.start()][-1:], match.string[match.end() :][:1]
        return (" " if before.isalnum() else "") + words + (" " if after.isalnum() else "")

    def _value(self, number: str) -> str:
        """As Python writes it: no thousands separators, a decimal point."""
        return number.replace(self._thousands, "").replace(self._point, ".")

    def _words(self, value: str | int, to: str = "cardinal") -> str:
        try:
            plain = Decimal(value)
            whole = int(plain) if plain == plain.to_integral_value() and "." not in str(value) else plain
            words = num2words(whole, lang=self.language, to=to)
        except (NotImplementedError, OverflowError, TypeError, ValueError, IndexError, KeyError):
            words = ""
        if words:
            return str(words)
        if to != "cardinal":
            return self._words(value)
        return " ".join(str(num2words(int(digit), lang=self.language)) for digit in str(value) if digit.isdigit())

    def _cardinal(self, number: str) -> str:
        value = self._value(number)
        whole, _, decimals = value.partition(".")
        if not decimals and (len(whole) > _LONGEST or (len(whole) > 1 and int(whole[0]) == 0)):
            return " ".join(self._words(int(digit)) for digit in whole)
        if not decimals:
            return self._words(int(whole))
        if len(value) > _LONGEST:
            return " ".join((self._cardinal(whole), *(self._words(int(digit)) for digit in decimals)))
        # num2words drops the zeros at the end, and with them how exact the number is.
        zeros = len(decimals) - len(decimals.rstrip("0")) if self._family == "en" else 0
        if zeros == len(decimals):
            return " ".join((self._words(int(whole)), "point", *[self._words(0)] * zeros))
        return " ".join((self._words(value), *[self._words(0)] * zeros))

    def _number(self, match: re.Match) -> str:
        number = match["number"]
        first, last, then, until = _YEARS.get(self._family, (1, 0, 1, 0))
        plain_year = len(number) == 4 and number.isdecimal() and not match["minus"] and not match["percent"]
        if plain_year and (first <= int(number) <= last or then <= int(number) <= until):
            return self._words(int(number), "year")
        words = self._cardinal(number)
        if match["minus"]:
            # The language's own word for minus, found by comparing.
            negative, positive = self._words(-7), self._words(7)
            words = negative.removesuffix(positive).strip() + " " + words if negative.endswith(positive) else words
        if match["percent"]:
            words += f" {_PERCENT[self._family]}" if self._family in _PERCENT else match["percent"]
        return words

    def _ordinal(self, match: re.Match) -> str:
        return self._words(int(match["ordinal"]), "ordinal")

    def _currency(self, match: re.Match) -> str:
        groups = match.groupdict()
        sign, number = groups.get("sign") or groups["sign_after"], groups.get("amount") or groups["amount_before"]
        value, scale = self._value(number), groups.get("scale")
        whole, _, decimals = value.partition(".")
        try:
            if len(whole) > _LONGEST:
                raise NotImplementedError
            if scale or len(decimals) not in (0, 2):
                unit = self._money(sign, Decimal(2))[0].removeprefix(self._words(2)).strip()
                return f"{self._cardinal(number)} {scale + ' ' if scale else ''}{unit}"
            pieces = self._money(sign, Decimal(value))
            return " ".join(pieces if decimals.strip("0") else pieces[:1])
        except (NotImplementedError, TypeError, ValueError, OverflowError, KeyError):
            return match.group()  # the number is spelled by the rule after this one, the sign stays

    def _money(self, sign: str, value: Decimal) -> list[str]:
        """["five dollars", "fifty cents"]."""
        code = _CURRENCIES[sign]
        # With a whole number num2words counts cents.
        said = num2words(value + Decimal("0.00"), lang=self.language, to="currency", currency=code, separator="|")
        return [piece.replace(" sterling", "").strip() for piece in str(said).split("|")]

    def _time(self, match: re.Match) -> str:
        hour, minute = self._words(int(match["hour"])), int(match["minute"])
        if minute == 0:
            return f"{hour} o'clock"
        return f"{hour} {'oh ' if minute < 10 else ''}{self._words(minute)}"

    def _decade(self, match: re.Match) -> str:
        words = self._words(int(match["decade"]), "year")
        return words[:-1] + "ies" if words.endswith("y") else words + "s"

    def _fraction(self, match: re.Match) -> str:
        upper, lower = int(match["upper"]), int(match["lower"])
        name = {2: "half", 4: "quarter"}.get(lower) or self._words(lower, "ordinal")
        if upper != 1:
            name = "halves" if lower == 2 else f"{name}s"
        whole = f"{self._words(int(match['whole']))} and " if match["whole"] else ""
        return f"{whole}{self._words(upper)} {name}"

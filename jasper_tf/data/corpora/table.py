"""Reads tables of recordings: CSV or TSV with a header."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from jasper_tf.errors import UserError

AUDIO_COLUMNS = (
    "audio_filepath",
    "audio",
    "path",
    "file",
    "filename",
    "file_name",
    "wav",
    "wav_filename",
    "audio_path",
)
TEXT_COLUMNS = ("text", "sentence", "transcript", "transcription", "transcripts", "normalized_text")
SPEAKER_COLUMNS = ("speaker", "speaker_id", "client_id", "spk", "reader")

_DELIMITERS = (",", "\t", ";", "|")
_LONGEST_FIELD = 1 << 20


class _Unquoted(csv.excel):
    quoting = csv.QUOTE_NONE


class Table:
    """A table's rows as dictionaries.

    Args:
        path: the file: UTF-8, with or without a byte order mark, or UTF-16 with one.
        delimiter: between the fields. Default: the one of comma, tab, semicolon and bar that gives the most columns.
        quoted: whether "..." holds a field together. Common Voice's sentences may begin with a quotation mark.

    Raises:
        UserError: the file cannot be read, or has no header.
    """

    def __init__(self, path: Path, delimiter: str | None = None, quoted: bool = True):
        self.path = path
        text = _read_text(path)
        first = text.lstrip("\r\n").partition("\n")[0]
        if not first.strip():
            raise UserError(f"{path}: is empty; its first line must name the columns")
        self._delimiter = delimiter or max(_DELIMITERS, key=first.count)
        self._quoted = quoted
        self._text = text
        self.columns = [name.strip() for name in next(self._fields())[1]]

    def column(self, option: str, chosen: str | None, usual: Sequence[str], needed: bool = True) -> str | None:
        """The column chosen with `option`, else the first usual name that is there (in any case).

        Raises:
            UserError: the chosen one is missing, or one is needed and none has a usual name.
        """
        if chosen is not None:
            if chosen not in self.columns:
                near = difflib.get_close_matches(chosen, self.columns, n=1)
                hint = f"did you mean {near[0]}?" if near else f"the columns are {', '.join(self.columns)}"
                raise UserError(f"{self.path}: no column {chosen!r} ({option}); {hint}")
            return chosen
        by_name = {name.lower(): name for name in self.columns}
        found = next((by_name[name] for name in usual if name in by_name), None)
        if found is None and needed:
            raise UserError(f"{self.path}: which column? its columns are {', '.join(self.columns)}; name it: {option}")
        return found

    def rows(self) -> Iterator[tuple[int, dict[str, str] | None, str]]:
        """(line, row, "") or (line, None, what is wrong with it); blank lines are skipped."""
        fields = self._fields()
        next(fields)
        for line, row in fields:
            if len(row) != len(self.columns):
                yield line, None, f"line {line}: {len(row)} fields, the header has {len(self.columns)}"
            else:
                yield line, dict(zip(self.columns, row, strict=True)), ""

    def _fields(self) -> Iterator[tuple[int, list[str]]]:
        csv.field_size_limit(_LONGEST_FIELD)
        dialect = csv.excel if self._quoted else _Unquoted
        reader = csv.reader(io.StringIO(self._text, newline=""), dialect, delimiter=self._delimiter, strict=True)
        try:
            for row in reader:
                if any(field.strip() for field in row):
                    yield reader.line_num, row
        except csv.Error as error:
            raise UserError(
                f'{self.path}:{reader.line_num}: {error}; a quotation mark inside "..." is written twice'
            ) from None


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        # No file has a NUL in its name, and Python refuses to look for one.
        return content.decode(encoding).replace("\0", "\ufffd")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"{path}:{line}: is not UTF-8; save the table as UTF-8") from None

"""Mozilla Common Voice: train.tsv, dev.tsv, test.tsv and clips/, as its archive of one language unpacks (CC0).

The speaker is `client_id`; the official splits hold speakers apart. Its archives are given only to those who agree to
its terms, so nothing is downloaded here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jasper_tf.data.corpora.corpus_entry import CorpusEntry
from jasper_tf.data.corpora.table import Table
from jasper_tf.errors import UserError

SPLITS = ("train", "dev", "test")


def read_common_voice(folders: Sequence[Path], parts: Sequence[str]) -> dict[str, list[CorpusEntry]]:
    """The utterances of the parts.

    Args:
        folders: the first one is or holds the folder of clips/ and the TSVs, at most three levels down.
        parts: names of TSVs: "train", "dev", "test", "validated", "other". Empty: the first three.

    Raises:
        UserError: clips/ is missing or found several times (several languages), or a TSV is missing or broken.
    """
    root = _find_root(folders[0])
    splits = {}
    for part in parts or SPLITS:
        table = Table(root / f"{part}.tsv", delimiter="\t", quoted=False)
        audio = table.column("its usual name is path", None, ("path",))
        text = table.column("its usual name is sentence", None, ("sentence",))
        speaker = table.column("", None, ("client_id",), needed=False)
        assert audio and text
        recordings = []
        for line, row, trouble in table.rows():
            if row is None:
                recordings.append(CorpusEntry(table.path, None, None, trouble))
                continue
            name = row[audio] if Path(row[audio]).suffix else f"{row[audio]}.mp3"
            who = row[speaker] or None if speaker else None
            if Path(name).name != name:
                recordings.append(
                    CorpusEntry(table.path, None, who, f"line {line}: {name!r} is not the name of a clip")
                )
            else:
                recordings.append(CorpusEntry(root / "clips" / name, _unquoted(row[text]), who))
        splits[part] = recordings
    return splits


def common_voice_language(folder: Path) -> str:
    """The code in the column `locale` of the first TSV that has one; else the name of the language's folder."""
    root = _find_root(folder)
    for split in SPLITS:
        if (root / f"{split}.tsv").is_file():
            for _, row, _ in Table(root / f"{split}.tsv", delimiter="\t", quoted=False).rows():
                if row and row.get("locale"):
                    return row["locale"]
    return root.resolve().name


def _find_root(folder: Path) -> Path:
    for depth in ("clips", "*/clips", "*/*/clips", "*/*/*/clips"):
        roots = [clips.parent for clips in sorted(folder.glob(depth)) if clips.is_dir()]
        if len(roots) > 1:
            names = ", ".join(str(root.relative_to(folder)) for root in roots)
            raise UserError(f"{folder}: holds several languages ({names}); give the folder of one as --source")
        if roots:
            return roots[0]
    raise UserError(f"{folder}: no clips/ in there; give the folder of one language, which holds clips/ and train.tsv")


def _unquoted(text: str) -> str:
    """Some releases quote a sentence that holds quotation marks, as CSV does."""
    if len(text) > 1 and text[0] == text[-1] == '"' and text[1:-1].count('"') == 2 * text[1:-1].count('""'):
        return text[1:-1].replace('""', '"')
    return text

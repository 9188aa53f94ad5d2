"""Reads an n-gram model, whichever format it is in."""

from __future__ import annotations

from pathlib import Path

from jasper_tf.language_model.arpa import read_arpa
from jasper_tf.language_model.kenlm_binary import is_kenlm_binary, read_kenlm_trie
from jasper_tf.language_model.ngram_model import NGramModel


def read_model(path: str | Path) -> NGramModel:
    """Reads an ARPA file, plain or gzip, or KenLM's binary `trie`.

    Raises:
        UserError: as `read_arpa` and `read_kenlm_trie`.
    """
    return read_kenlm_trie(path) if is_kenlm_binary(path) else read_arpa(path)

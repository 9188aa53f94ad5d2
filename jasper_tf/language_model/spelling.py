"""How the words of a language model are written with the labels of an acoustic model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jasper_tf.language_model.ngram_model import END, START, UNKNOWN

SPACE = "|"
"""Stands for the space among the words of a model over labels, as ARPA separates its words by spaces."""

_FIRST_CODE = 100
"""NeMo's DEFAULT_TOKEN_OFFSET."""

_SPECIAL = frozenset({UNKNOWN, "<UNK>", START, END})


def is_over_labels(vocabulary: Sequence[str], labels: Sequence[str]) -> bool:
    """Whether the words of a model are labels (or at least single characters), not words of a language."""
    known = {SPACE if label == " " else label for label in labels}
    return all(word in known or len(word) == 1 for word in vocabulary if word not in _SPECIAL)


def code(label: int) -> str:
    """The character that stands for a word piece in the models of NeMo's scripts, KenLM or NGPU-LM."""
    return chr(_FIRST_CODE + label)


def is_over_codes(vocabulary: Sequence[str], labels: int) -> bool:
    """Whether the words of a model are the codes of `labels` word pieces."""
    words = [word for word in vocabulary if word not in _SPECIAL]
    return bool(words) and all(len(word) == 1 and _FIRST_CODE <= ord(word) < _FIRST_CODE + labels for word in words)


def label_word_ids(vocabulary: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """The word of each label in a model over labels: [V] int32, the id of `<unk>` for a label that it has not."""
    ids = {word: at for at, word in enumerate(vocabulary)}
    return np.array([ids.get(SPACE if label == " " else label, ids[UNKNOWN]) for label in labels], np.int32)


def share_spelled(vocabulary: Sequence[str], labels: Sequence[str]) -> float:
    """Share of the words, `<s>` and the like aside, whose characters all occur in the labels; 0 for no words."""
    characters = set("".join(labels)) | ({SPACE} if " " in labels else set())
    words = [word for word in vocabulary if word not in _SPECIAL]
    return sum(characters.issuperset(word) for word in words) / max(1, len(words))

"""How a recognizer writes: what separates its words, and its case."""

from __future__ import annotations

from jasper_tf.text.tokenizer import Tokenizer


def space_label(tokenizer: Tokenizer) -> int | None:
    """The label that is a space and nothing else, if only that one separates words."""
    return tokenizer.pieces.index(" ") if " " in tokenizer.pieces and tokenizer.starts_word.sum() == 1 else None


def label_case(tokenizer: Tokenizer) -> str:
    """The case of all labels, "lower" or "upper", or "" if they have both or none."""
    text = "".join(tokenizer.pieces)
    if text.lower() == text.upper():
        return ""
    return "lower" if text == text.lower() else "upper" if text == text.upper() else ""


def fold_case(text: str, tokenizer: Tokenizer) -> str:
    """`text` in the case of the labels, if they are of one case."""
    case = label_case(tokenizer)
    return text.lower() if case == "lower" else text.upper() if case == "upper" else text

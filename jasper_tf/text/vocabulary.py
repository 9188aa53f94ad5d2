"""Characters to class numbers and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from jasper_tf.errors import UserError


class Vocabulary:
    """The characters a model can write; the CTC blank comes after the last one.

    Args:
        labels: the V characters in class order, each a string of length one, none twice.

    Raises:
        UserError: labels are empty, longer than one character, or repeated.
    """

    def __init__(self, labels: Sequence[str]):
        self.labels = list(labels)
        if not self.labels:
            raise UserError("labels: the list is empty; give the characters that the model shall write")
        for label in self.labels:
            if not isinstance(label, str) or len(label) != 1:
                raise UserError(f"labels: {label!r} is not one character; quote every entry, one character each")
        self._ids = {label: i for i, label in enumerate(self.labels)}
        if len(self._ids) != len(self.labels):
            twice = next(label for i, label in enumerate(self.labels) if label in self.labels[:i])
            raise UserError(f"labels: {twice!r} is listed twice; remove one of them")

    def __len__(self) -> int:
        """V: the number of characters, the blank not counted."""
        return len(self.labels)

    @property
    def blank(self) -> int:
        """The class of the CTC blank: V."""
        return len(self.labels)

    def encode(self, text: str) -> np.ndarray:
        """Text to labels [U] int32.

        Raises:
            UserError: a character is not in `labels`.
        """
        try:
            return np.array([self._ids[character] for character in text], np.int32)
        except KeyError as error:
            raise UserError(
                f"the character {error.args[0]!r} of {text!r} is not in labels; see unknown_characters"
            ) from None

    def decode(self, ids: Iterable[int]) -> str:
        """Labels [U] to text. Blanks and padding must be gone already.

        Raises:
            ValueError: an id is outside 0..V-1.
        """
        numbers = [int(i) for i in ids]
        for number in numbers:
            if not 0 <= number < len(self.labels):
                raise ValueError(f"class {number} is not a character; the characters are 0 to {len(self.labels) - 1}")
        return "".join(self.labels[number] for number in numbers)

    def unknown(self, text: str) -> list[str]:
        """The characters of `text` outside `labels`, in order, repeated as often as they stand there."""
        return [character for character in text if character not in self._ids]

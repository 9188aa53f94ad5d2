"""What decoders give."""

from __future__ import annotations

from typing import Any, NamedTuple, Self


class Hypotheses(NamedTuple):
    """The K best label sequences of each utterance, the best first, padded on the right.

    labels: [B,K,U] int32, -1 where padded.
    label_len: [B,K] int32, how many labels each has.
    start_frame, end_frame: [B,K,U] int32, the frames start <= t < end that a label fills; 0 where padded.
    confidence: [B,K,U] float32, the mean posterior of a label over its frames, or as the decoder's `confidence` says;
        0 where padded.
    score: [B,K] float32, natural logarithm, as the decoder defines it.
    """

    labels: Any
    label_len: Any
    start_frame: Any
    end_frame: Any
    confidence: Any
    score: Any

    def best(self) -> Self:
        """Returns the best of each utterance: the same fields without the axis K."""
        return type(self)(*(column[:, 0] for column in self))

    @classmethod
    def spec(cls, batch: int | None, count: int, columns: int | None) -> Self:
        """Symbolic tensors of B, K and U, for `compute_output_spec`."""
        import keras  # greedy decoding of NumPy arrays does without

        of_labels, of_utterance = (batch, count, columns), (batch, count)
        return cls(
            labels=keras.KerasTensor(of_labels, dtype="int32"),
            label_len=keras.KerasTensor(of_utterance, dtype="int32"),
            start_frame=keras.KerasTensor(of_labels, dtype="int32"),
            end_frame=keras.KerasTensor(of_labels, dtype="int32"),
            confidence=keras.KerasTensor(of_labels, dtype="float32"),
            score=keras.KerasTensor(of_utterance, dtype="float32"),
        )

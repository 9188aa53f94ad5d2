"""N-gram models of words and of labels in the beam search."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
from keras import ops

from jasper_tf.decoding.beam.lexicon import Lexicon
from jasper_tf.decoding.beam.spelling import Spelling
from jasper_tf.decoding.ops.gather import gather
from jasper_tf.language_model.ngram_tables import NGramTables, advance

_UNFINISHED_UNKNOWN = -10.0
"""What the beginning of a word outside the vocabulary costs while it is unfinished (pyctcdecode's unk_score_offset)."""
_WORD_LEN = 6
"""Letters from which on it costs more (pyctcdecode's AVG_TOKEN_LEN)."""


def constants(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Arrays as constant tensors."""
    return {name: ops.convert_to_tensor(array) for name, array in arrays.items()}


class TextModel(Protocol):
    """What the probability of a text is multiplied by; a function of the text alone.

    A prefix carries `columns` integers for it.
    """

    @property
    def start(self) -> tuple[int, ...]:
        """The columns of the empty prefix."""

    def score(self, columns: list, ids: Any, has_space: Any, is_rare: Any) -> tuple[Any, list, Any]:
        """What each prefix is multiplied by for each of the A labels.

        Args:
            columns: [B,K,1] int32 each.
            ids: [B,1,A] int32.
            has_space: whether a space is among the labels that are tried.
            is_rare: [B,1,A] bool, labels that only hot words may take.

        Returns:
            The factors [B,K,A]; what `follow` needs of each prefix, [B,K,1] int32 each; what it needs of each prefix
            and choice, [B,K,A+1] int32, or None. The first choice is no label.
        """

    def follow(self, carried: list, label: Any, chosen: Any) -> list:
        """The columns after a label [B,K,1] int32; V for none."""

    def end(self, columns: list) -> Any:
        """Logarithm of the factor of a prefix that is the whole text: [B,K,1]."""


class Query:
    """Asks an n-gram model in the graph."""

    def __init__(self, tables: NGramTables):
        self.arrays = constants(tables.arrays)

    def advance(self, states: Any, words: Any) -> tuple[Any, Any]:
        """ln p [...] of words [...] int32 after histories [...] int32, and the histories after them."""
        return advance(self.arrays, states, words, ops, gather)

    def end(self, states: Any) -> Any:
        """ln p(</s>) [...]."""
        return gather(self.arrays["final_log_probs"], states)


class WordModel:
    """An n-gram model of words: alpha ln p + beta for each finished word, alpha ln p(</s>) at the end.

    Only a space, or a piece that starts the next word, ends a word, so each step asks the model once for each prefix,
    and not at all where none is tried.
    While a word is unfinished, `look_ahead` times alpha times ln p of the best word that begins so stands in for it,
    and a beginning of no word costs what it costs in pyctcdecode; both fall away when the word ends.

    Args:
        tables: the model.
        lexicon: its words.
        spelling: of the labels, with a space.
        alpha, beta: weight of ln p, and what each word gains.
        unk_score_offset: added to log10 p of a word that is not in the vocabulary (pyctcdecode).
        look_ahead: 0 to 1; 0: unfinished words have no score at all.
    """

    def __init__(
        self,
        tables: NGramTables,
        lexicon: Lexicon,
        spelling: Spelling,
        alpha: float,
        beta: float,
        unk_score_offset: float,
        look_ahead: float,
    ):
        assert spelling.space is not None
        self.start = (0, tables.start_state)
        self.space = space = spelling.space
        self._spelling = spelling
        self.alpha = alpha
        self._query = Query(tables)
        self._columns = lexicon.children.shape[1]
        unknown_cost = -alpha * unk_score_offset * math.log(10)
        outside = np.arange(len(lexicon)) >= lexicon.outside
        # What each node of the lexicon has for its unfinished word.
        potentials = np.zeros(len(lexicon), np.float32)
        if look_ahead:
            best = np.where(outside, 0.0, lexicon.best_below(tables.unigram_log_probs))  # -inf times 0 is NaN
            letters = np.maximum(1, lexicon.depths / _WORD_LEN)
            potentials = np.where(outside, _UNFINISHED_UNKNOWN * letters, look_ahead * alpha * best)
            potentials[0] = 0.0
        unknown = np.where(lexicon.words == tables.unknown_id, unknown_cost, 0.0)
        unknown[0] = 0.0
        ended = beta - unknown - potentials
        ended[0] = 0.0
        gains = potentials[lexicon.children] - potentials[:, None]
        gains[:, space] = ended
        floats = {"ended": ended, "unknown": unknown}
        floats |= {"factors": np.exp(gains).ravel()} if spelling.of_labels is None else {"potentials": potentials}
        floats["unfinished"] = np.where(outside, -potentials, 0.0)
        self._arrays = constants(
            {name: array.astype(np.float32) for name, array in floats.items()}
            | {"words": lexicon.words, "children": (lexicon.children * np.int32(self._columns)).ravel()}
        )

    def tables(self) -> list[dict[str, Any]]:
        """The arrays of the model, by name; an export puts variables in their place."""
        return [self._query.arrays, self._arrays]

    def unknown_costs(self) -> tuple[Any, Any, Any]:
        """The lexicon's children [n (V+2)], as offsets, and what its nodes [n] cost for a word that is not in it.

        The costs, 0 or above, are those of an unfinished word and of one that ends in the node.
        """
        return self._arrays["children"], self._arrays["unfinished"], self._arrays["unknown"]

    def score(self, columns, ids, has_space, is_rare):
        if self._spelling.of_labels is not None:
            return self._score_pieces(columns, ids, has_space)
        node, state = columns
        factors = gather(self._arrays["factors"], node + ids)

        def at_space():
            log_prob, after = self._word(node, state)
            return factors * ops.where(ids == self.space, ops.exp(self.alpha * log_prob), 1.0), after

        factors, after = ops.cond(has_space, at_space, lambda: (factors, state))
        return factors, [node, state, after], None

    def _score_pieces(self, columns, ids, has_space):
        node, state = columns
        starts = gather(self._spelling.starts_word, ids)
        child = self._spelling.walk(self._arrays["children"], ops.where(starts, 0, node), ids)
        of_node = node // self._columns
        ended, unfinished = gather(self._arrays["ended"], of_node), gather(self._arrays["potentials"], of_node)
        gains = gather(self._arrays["potentials"], child // self._columns) + ops.where(starts, ended, -unfinished)

        def at_word():
            # At the beginning, and behind a piece that is only a space, no word ends.
            log_prob, after = self._word(node, state)
            has_word = node != 0
            ends = ops.logical_and(starts, has_word)
            return gains + ops.where(ends, self.alpha * log_prob, 0.0), ops.where(has_word, after, state)

        gains, after = ops.cond(has_space, at_word, lambda: (gains, state))
        return ops.exp(gains), [state, after], ops.concatenate([node, child], axis=2)

    def _word(self, node, state):
        return self._query.advance(state, gather(self._arrays["words"], node // self._columns))

    def follow(self, carried, label, chosen):
        if self._spelling.of_labels is not None:
            state, after = carried
            return [chosen, ops.where(gather(self._spelling.starts_word, label), after, state)]
        node, state, after = carried
        return [gather(self._arrays["children"], node + label), ops.where(label == self.space, after, state)]

    def end(self, columns):
        node, state = columns
        log_prob, after = self._word(node, state)
        gain = self.alpha * log_prob + gather(self._arrays["ended"], node // self._columns)
        return ops.where(node == 0, 0.0, gain) + self.alpha * self._query.end(ops.where(node == 0, state, after))


class LabelModel:
    """An n-gram model of labels: alpha ln p + beta for each label, alpha ln p(</s>) at the end.

    Args:
        tables: the model.
        word_ids: [V] int32, the word of each label.
        alpha, beta: weight of ln p, and what each label gains.
    """

    def __init__(self, tables: NGramTables, word_ids: np.ndarray, alpha: float, beta: float):
        self.start = (tables.start_state,)
        self.alpha = alpha
        self.beta = beta
        self._query = Query(tables)
        self._words = ops.convert_to_tensor(word_ids)

    def tables(self) -> list[dict[str, Any]]:
        """As `WordModel.tables`."""
        return [self._query.arrays]

    def score(self, columns, ids, has_space, is_rare):
        (state,) = columns
        log_prob, after = self._query.advance(state, gather(self._words, ids))
        return ops.exp(self.alpha * log_prob + self.beta), [], ops.concatenate([state, after], axis=2)

    def follow(self, carried, label, chosen):
        return [chosen]

    def end(self, columns):
        return self.alpha * self._query.end(columns[0])

"""Words and phrases that the caller expects: a trie built in the graph, and what its texts gain."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from jasper_tf.config.sections.decoding_schema import BeamConfig
from jasper_tf.decoding.beam.hot_word_file import (
    LARGEST_WEIGHT,
    LONGEST,
    MOST_LETTERS,
    GivenHotWords,
    name_hot_word,
    weigh_hot_words,
)
from jasper_tf.decoding.beam.hot_word_file import read_hot_words as read_hot_words  # for callers of the search
from jasper_tf.decoding.beam.spelling import Spelling
from jasper_tf.decoding.beam.text_models import WordModel
from jasper_tf.decoding.ops.gather import gather, hash_type
from jasper_tf.decoding.ops.scan import scan
from jasper_tf.decoding.writing import fold_case, label_case
from jasper_tf.errors import UserError, shorten
from jasper_tf.text.tokenizer import Tokenizer

_ROOT, _OUTSIDE = 0, 1


class HotWords(NamedTuple):
    """Words or phrases with their weights.

    ids: [H,L] int32, the letters (of `Spelling`; labels that are characters are letters), one space between words; -1
        where padded. A row of padding is no hot word.
    weights: [H] float32, what a text gains by each, natural logarithm; for a phrase, by all of its words.
    """

    ids: Any
    weights: Any


def encode_hot_words(
    hot_words: GivenHotWords, tokenizer: Tokenizer, default_weight: float = BeamConfig.hot_word_weight
) -> HotWords:
    """Spells hot words with the letters of the labels, in their case.

    Raises:
        UserError: as `weigh_hot_words`; a letter that the model has not, too many words.
    """
    hot_words = weigh_hot_words(hot_words, default_weight)
    codes = {letter: at for at, letter in enumerate(Spelling.of(tokenizer).letters)}
    rows = []
    for phrase in hot_words:
        text = " ".join(fold_case(phrase, tokenizer).split())
        if unknown := sorted(set(text) - codes.keys()):
            shown = shorten(" ".join(map(repr, unknown)), 60)
            hint = ", numbers spelled out" if any(map(str.isdigit, unknown)) else ""
            name = name_hot_word(hot_words, phrase)
            raise UserError(f"{name}: not among the labels: {shown}; spell it with the model's letters{hint}")
        rows.append([codes[letter] for letter in text])
        if len(text) > LONGEST:
            raise UserError(f"{name_hot_word(hot_words, phrase)}: {len(text)} letters; use at most {LONGEST}")
    longest = max(map(len, rows), default=0)
    if len(rows) * longest > MOST_LETTERS:
        raise UserError(f"{len(rows):,} hot words of up to {longest} letters: too many; use fewer or shorter ones")
    ids = np.full((len(rows), longest), -1, np.int32)
    for row, of_row in zip(ids, rows, strict=True):
        row[: len(of_row)] = of_row
    words = np.array([len(phrase.split()) for phrase in hot_words])
    return HotWords(ids, np.array(list(hot_words.values()), np.float32) * words.astype(np.float32))


def encode_hot_words_in_graph(hot_words: Any, weights: Any, tokenizer: Tokenizer) -> HotWords:
    """`encode_hot_words` as TensorFlow operations: hot_words [H] string (UTF-8), weights [H] float32.

    Empty strings are passed over.

    Raises (when it runs):
        tf.errors.InvalidArgumentError: what `encode_hot_words` rejects; names the row.
    """
    import tensorflow as tf  # the rest runs without TensorFlow

    fold = {"lower": tf.strings.lower, "upper": tf.strings.upper, "": lambda text, **_: text}[label_case(tokenizer)]
    text = tf.strings.regex_replace(fold(hot_words, encoding="utf-8"), r"\s+", " ")
    text = tf.strings.regex_replace(text, "^ | $", "")
    codes = tf.strings.unicode_decode(text, "UTF-8").to_tensor(-1)  # [H,L]
    letters = tf.constant([ord(letter) for letter in Spelling.of(tokenizer).letters])
    same = codes[:, :, None] == letters
    is_known = tf.reduce_any(same, axis=2) | (codes < 0)
    shape = tf.shape(codes)
    checks = [
        tf.debugging.Assert(
            tf.equal(shape[0], tf.size(weights)),
            ["hot_words and hot_word_weights: not the same number of rows:", shape[0], tf.size(weights)],
        ),
        _each(tf.reduce_all(is_known, axis=1), hot_words, "has a letter that is not among the model's labels"),
        _each(tf.abs(weights) <= LARGEST_WEIGHT, hot_words, f"has a weight that is not within {LARGEST_WEIGHT:g}"),
        tf.debugging.Assert(
            (shape[1] <= LONGEST) & (shape[0] <= MOST_LETTERS // tf.maximum(1, shape[1])),
            ["hot_words: too many, or too long:", shape, "rows and letters"],
        ),
    ]
    with tf.control_dependencies(checks):
        ids = tf.where(codes < 0, -1, tf.argmax(tf.cast(same, tf.int32), axis=2, output_type=tf.int32))
        words = tf.reduce_sum(tf.cast(codes == ord(" "), tf.float32), axis=1) + 1.0
        return HotWords(ids, weights * words)


def _each(is_right: Any, words: Any, problem: str) -> Any:
    import tensorflow as tf

    row = tf.argmin(tf.concat([tf.cast(is_right, tf.int32), [0]], 0))  # the first wrong one
    word = tf.concat([words, [""]], 0)[row]
    said = tf.strings.join(["hot_words[", tf.strings.as_string(row), "]: '", word, f"' {problem}"])
    return tf.debugging.Assert(tf.reduce_all(is_right), [said])


def _with_possessives(ids: Any, possessive: tuple[int, int]) -> Any:
    """Hot words [H,L], padded by 2 at least -> [2H,L]: themselves, then with the labels ' and s behind them."""
    column = ops.arange(ops.shape(ids)[1], dtype="int32")
    length = ops.sum(ops.cast(ids >= 0, "int32"), axis=1, keepdims=True)
    longer = ops.where(column == length, possessive[0], ops.where(column == length + 1, possessive[1], ids))
    return ops.concatenate([ids, ops.where(length > 0, longer, -1)], axis=0)


class HotWordModel:
    """A `TextModel` of hot words: each one that stands in the text, from a word's beginning to a word's end, counts.

    Letters on the way to a hot word get their share of its weight, which falls away when the text goes on otherwise. Of
    words that begin alike the one that gives more counts. A hot word that is not in the vocabulary of the word model
    does not pay for that. A hot word that begins within another's second word is not seen while that one lasts.

    Args:
        hot_words: H of them, in the graph or not.
        letters: the number of them, V where a label is a letter.
        space: the letter, or None: then a hot word is the whole text.
        words: the word model, whose costs of unknown words are given back; None: no such model, or not given back.
        possessive: the letters ' and s: with them behind it a hot word is one too.
        spelling: of the labels. Default: a label is a letter.
    """

    start = (_ROOT,)

    def __init__(
        self,
        hot_words: HotWords,
        letters: int,
        space: int | None,
        words: WordModel | None = None,
        possessive: tuple[int, int] | None = None,
        spelling: Spelling | None = None,
    ):
        self._spelling = spelling if spelling is not None and spelling.of_labels is not None else None
        # One column of padding or more: without a hot word there is one too.
        ids = ops.pad(ops.convert_to_tensor(hot_words.ids, dtype="int32"), [[0, 0], [0, 2]], constant_values=-1)
        weights = ops.cast(hot_words.weights, "float32")
        if possessive is not None:
            ids, weights = _with_possessives(ids, possessive), ops.concatenate([weights, weights], axis=0)
        count, longest = ops.shape(ids)
        columns, space = letters + 2, letters + 1 if space is None else space
        valid = ids >= 0
        length = ops.sum(ops.cast(valid, "int32"), axis=1)

        # A node is a beginning of hot words: its number is the place of its hash among all, sorted.
        powers = np.cumprod(np.full(LONGEST + 2, 0x9E3779B97F4A7C15, np.uint64)).astype(np.int64)
        powers = ops.convert_to_tensor(powers.astype(hash_type()))[:longest]
        coded = ops.where(valid, ops.cast(ids + 1, hash_type()), 0)
        hashes = ops.reshape(ops.cumsum(coded * powers, axis=1), (-1,))
        number = ops.cast(ops.searchsorted(ops.sort(hashes), hashes), "int32") + 2
        node = ops.where(valid, ops.reshape(number, (count, longest)), _OUTSIDE)
        nodes = count * longest + 2
        before = ops.concatenate([ops.zeros_like(node[:, :1]), node[:, :-1]], axis=1)

        def at_nodes(values, where, otherwise):
            """The largest value [H,L] at each node."""
            segment = ops.reshape(ops.where(where, node, nodes), (-1,))
            largest = ops.segment_max(ops.reshape(values, (-1,)), segment, nodes + 1)[:-1]
            return ops.where(largest > -1e30, largest, otherwise)

        given_back, at_end = self._given_back(ids, words, columns, space)
        depth = ops.arange(1, longest + 1, dtype="int32")
        share = ops.cast(depth, "float32") / ops.cast(ops.maximum(length, 1), "float32")[:, None]
        potential = at_nodes(weights[:, None] * share + given_back, valid, 0.0)
        ends = ops.logical_and(valid, depth == length[:, None])
        ending = at_nodes(weights[:, None] + ops.zeros_like(share), ends, -1e30)
        is_end = ending > -1e30
        ending = ops.where(is_end, ending, 0.0)
        at_end = ops.where(is_end, at_nodes(at_end, ends, 0.0), 0.0)

        # Children [n,V+2]: after a space, and at the root, a letter may begin a hot word; elsewhere it leads outside.
        begins = ops.concatenate([ops.ones((1,)), at_nodes(ops.cast(ids == space, "float32"), valid, 0.0)[1:]], 0) > 0
        column, row = ops.arange(columns, dtype="int32"), ops.arange(nodes, dtype="int32")[:, None]
        first = ops.where(valid[:, 0], ids[:, 0], letters + 1)
        root = ops.full((columns,), _OUTSIDE, dtype="int32")
        root = ops.scatter_update(root, first[:, None], node[:, 0])
        children = ops.where(begins[:, None], root, _OUTSIDE)
        children = ops.where(column == space, _ROOT, ops.where(column == letters, row, children))
        children = ops.reshape(children, (-1,))
        at = ops.where(valid, before * columns + ids, _OUTSIDE * columns + letters)
        children = ops.scatter_update(children, ops.reshape(at, (-1, 1)), ops.reshape(node, (-1,)))
        children = ops.reshape(children, (nodes, columns))

        gains = gather(potential, children) - potential[:, None]
        goes_on = children[:, space] != _ROOT
        of_space = ending + ops.where(goes_on, 0.0, at_end)
        gains = gains + ops.where(column == space, of_space[:, None], 0.0)
        factors = ops.exp(ops.minimum(gains, 80.0))
        rare = ops.where(children > _OUTSIDE, factors, 0.0)
        self._potential, self._of_space, self._space = potential, of_space, space
        self._factors = ops.reshape(ops.stack([factors, rare], axis=2), (-1, 2))
        self._children = ops.reshape(children * columns, (-1,))
        self._ended = ending + at_end - potential
        self._columns = columns

    @staticmethod
    def _given_back(ids: Any, words: WordModel | None, columns: int, space: int) -> tuple[Any, Any]:
        """What a word model took for words that it does not know: so far, and where the word ends here: [H,L]."""
        zeros = ops.zeros_like(ids, dtype="float32")
        if words is None:
            return zeros, zeros
        children, unfinished, unknown = words.unknown_costs()
        by_letter = ops.transpose(ops.maximum(ids, -1))

        def step(carry, t):
            node, paid = carry
            label = by_letter[t]
            label = ops.where(label < 0, columns - 2, label)
            paid = paid + ops.where(label == space, gather(unknown, node), 0.0)
            node = gather(children, node * columns + label) // columns
            return (node, paid), ops.stack([paid + gather(unfinished, node), paid + gather(unknown, node)])

        begin = ops.zeros_like(ids[:, 0]), zeros[:, 0]
        _, found = scan(step, begin, ops.stack([zeros[:, 0]] * 2), ops.shape(ids)[1])
        return ops.transpose(found[:, 0]), ops.transpose(found[:, 1])

    def score(self, columns, ids, has_space, is_rare):
        if self._spelling is not None:
            return self._score_pieces(columns[0], ids, is_rare)
        factors = gather(self._factors, columns[0] + ids)  # [B,K,A,2]
        return ops.where(is_rare, factors[..., 1], factors[..., 0]), columns, None

    def _score_pieces(self, node, ids, is_rare):
        assert self._spelling is not None
        starts = gather(self._spelling.starts_word, ids)
        begin = ops.where(starts, gather(self._children, node + self._space), node)
        child = self._spelling.walk(self._children, begin, ids)
        of_node, of_child = node // self._columns, child // self._columns
        gains = gather(self._potential, of_child) - gather(self._potential, of_node)
        gains = gains + ops.where(starts, gather(self._of_space, of_node), 0.0)
        factors = ops.exp(ops.minimum(gains, 80.0))
        factors = ops.where(ops.logical_and(is_rare, of_child <= _OUTSIDE), 0.0, factors)
        return factors, [], ops.concatenate([node, child], axis=2)

    def follow(self, carried, label, chosen):
        if self._spelling is not None:
            return [chosen]
        return [gather(self._children, carried[0] + label)]

    def end(self, columns):
        return gather(self._ended, columns[0] // self._columns)

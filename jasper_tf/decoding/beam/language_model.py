"""Language models for the beam search: n-grams of words or of labels, fitted to the labels of a recognizer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jasper_tf.config.sections.decoding_schema import BeamConfig
from jasper_tf.decoding.beam.lexicon import Lexicon
from jasper_tf.decoding.beam.spelling import Spelling
from jasper_tf.decoding.beam.text_models import LabelModel, WordModel
from jasper_tf.decoding.writing import fold_case, label_case
from jasper_tf.errors import UserError, shorten
from jasper_tf.io.progress import logger
from jasper_tf.language_model.ngram_tables import NGramTables
from jasper_tf.language_model.read_model import read_model
from jasper_tf.language_model.spelling import code, is_over_codes, is_over_labels, label_word_ids, share_spelled
from jasper_tf.text.tokenizer import Tokenizer

_LEAST_SPELLED, _FEW_SPELLED = 0.1, 0.5
"""Share of the words that can be spelled with the labels."""


@dataclass(frozen=True)
class LanguageModel:
    """An n-gram model with the spelling of its words.

    Attributes:
        tables: the model.
        lexicon: its words, if it is a model of words.
        word_ids: [V] int32, the word of each label, if it is a model of labels.
        spelling: of the labels.
    """

    tables: NGramTables
    lexicon: Lexicon | None
    word_ids: np.ndarray | None
    spelling: Spelling

    @classmethod
    def read(cls, path: str | Path, tokenizer: Tokenizer) -> LanguageModel:
        """Reads an ARPA file, plain or gzip, or KenLM's binary `trie`.

        Raises:
            UserError: it cannot be read, or hardly any of its words can be spelled with the labels.
        """
        return cls.from_tables(NGramTables.from_model(read_model(path)), tokenizer, shorten(path))

    @classmethod
    def from_tables(cls, tables: NGramTables, tokenizer: Tokenizer, name: str = "language model") -> LanguageModel:
        """As `read`; messages begin with `name`."""
        spelling, labels = Spelling.of(tokenizer), list(tokenizer.vocabulary)
        is_coded = spelling.of_labels is not None and is_over_codes(tables.vocabulary, len(labels))
        if is_coded:
            return cls(tables, None, label_word_ids(tables.vocabulary, [*map(code, range(len(labels)))]), spelling)
        folded = [fold_case(word, tokenizer) for word in tables.vocabulary]
        share = share_spelled(folded, [*spelling.letters, *labels])
        if share < _LEAST_SPELLED:
            raise UserError(
                f"{name}: {100 * share:.1f} % of its words can be spelled with these labels; "
                "use a model of the language and alphabet that the recognizer writes"
            )
        if share < _FEW_SPELLED:
            logger.warning(
                "%s: only %.0f %% of its words can be spelled with the labels; "
                "build it from text as the model's labels: %s case, no punctuation",
                name,
                100 * share,
                label_case(tokenizer) or "the same",
            )
        if is_over_labels(tables.vocabulary, labels):
            return cls(tables, None, label_word_ids(folded, labels), spelling)
        if spelling.space is None:
            raise UserError(
                f"{name}: is a model of words, but no label of this recognizer is a space; use one of labels"
            )
        words: dict[str, int] = {}
        letters = {letter for letter in spelling.letters if letter != " "}
        for at in np.argsort(-tables.unigram_log_probs, kind="stable").tolist():
            if letters.issuperset(folded[at]):
                words.setdefault(folded[at], at)
        return cls(tables, Lexicon.from_words(words, spelling.letters, tables.unknown_id), None, spelling)

    def text_model(self, config: BeamConfig) -> WordModel | LabelModel:
        """The model with its weights, for the graph."""
        if self.lexicon is None:
            assert self.word_ids is not None
            return LabelModel(self.tables, self.word_ids, config.alpha, config.beam_beta)
        offset, share = config.unk_score_offset, config.look_ahead
        return WordModel(self.tables, self.lexicon, self.spelling, config.alpha, config.beam_beta, offset, share)

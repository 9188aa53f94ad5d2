"""Beam search decoding with a language model and hot words, in the graph."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from jasper_tf.config.sections.decoding_schema import BeamConfig
from jasper_tf.decoding.beam.frames import FramePacker
from jasper_tf.decoding.beam.hot_word_file import GivenHotWords
from jasper_tf.decoding.beam.hot_words import (
    HotWordModel,
    HotWords,
    encode_hot_words,
    encode_hot_words_in_graph,
    read_hot_words,
)
from jasper_tf.decoding.beam.language_model import LanguageModel
from jasper_tf.decoding.beam.search import BeamSearch
from jasper_tf.decoding.beam.spelling import Spelling
from jasper_tf.decoding.beam.text_models import TextModel, WordModel
from jasper_tf.decoding.decoder import Decoder
from jasper_tf.decoding.forced_alignment import align
from jasper_tf.decoding.hypotheses import Hypotheses
from jasper_tf.decoding.ops.gather import is_tensorflow, traced
from jasper_tf.decoding.writing import space_label
from jasper_tf.text.tokenizer import Tokenizer, tokenizer_from_config

_FRAMES_OF_SHAPES = 128
"""With XLA the frames are padded to a multiple of this: each shape is compiled once."""


@keras.saving.register_keras_serializable(package="jasper_tf")
class BeamDecoder(Decoder):
    """Prefix beam search (see `BeamSearch`), one batched loop over the frames.

    The score of a hypothesis is ln p of its text (the sum over all paths that the beam kept), plus alpha ln p and beta
    of the language model, plus the weights of the hot words in it. Times and confidences are those of the most probable
    path of the text (see `align`). The K hypotheses are the best `config.hypotheses`, the best first; where a beam has
    fewer texts, the others have a score below -1e29.

    The operations of a step are the same whatever the number of labels and the size of the model.

    Args:
        tokenizer: of the model, or its config.
        config: a `BeamConfig`, or its keys.
        language_model: that of `config.language_model`, where it is read already. Default: it is read.
        kwargs: `confidence` and `name` of `Decoder`.

    Call arguments: those of `Decoder`, and
        hot_words: `HotWords`, in the graph or not. Default: those of `config`.

    Raises:
        UserError: the language model or the hot words cannot be used.
    """

    def __init__(
        self,
        tokenizer: Tokenizer | Mapping[str, Any],
        config: BeamConfig | Mapping[str, Any],
        language_model: LanguageModel | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.tokenizer = tokenizer if isinstance(tokenizer, Tokenizer) else tokenizer_from_config(dict(tokenizer))
        self.config = config if isinstance(config, BeamConfig) else BeamConfig(**config)
        c = self.config
        if language_model is None and c.language_model is not None:
            language_model = LanguageModel.read(c.language_model, self.tokenizer)
        self.language_model = language_model
        models: list[TextModel] = [] if language_model is None else [language_model.text_model(c)]
        given = [model for model in models if isinstance(model, WordModel) and c.hot_words_are_known]
        self._paid_back = given[0] if given else None
        labels, space = len(self.tokenizer), space_label(self.tokenizer)
        self._spelling = spelling = Spelling.of(self.tokenizer)
        starts_word = None if spelling.of_labels is None else spelling.starts_word
        packer = FramePacker(labels, space, c.top_tokens, c.token_min_logp, c.blank_skip, starts_word=starts_word)
        # A model of labels tells ways to spell a text apart.
        by_text = spelling if starts_word is not None and all(isinstance(one, WordModel) for one in models) else None
        self.search = BeamSearch(packer, c.beam_size, c.beam_threshold, models, by_text, c.hypotheses == 1)
        hot_words = c.hot_words
        if isinstance(hot_words, str):
            hot_words = read_hot_words(hot_words, c.hot_word_weight)
        self.hot_words = self.encode_hot_words(hot_words) if hot_words else None
        self._compiled: Any = None

    def call(self, log_probs, logit_len, hot_words: HotWords | None = None) -> Hypotheses:
        hot_words = self.hot_words if hot_words is None else hot_words
        arguments: tuple[Any, ...] = (ops.cast(log_probs, "float32"), ops.cast(logit_len, "int32"))
        if hot_words is not None:
            ids, weights = hot_words
            arguments += (ops.cast(ids, "int32"), ops.cast(weights, "float32"))
        if not is_tensorflow():
            return self._decode(self.search, *arguments)
        import tensorflow as tf  # the only backend that runs loops op by op where nothing is traced

        if not tf.executing_eagerly():
            return self._decode(self.search, *arguments)
        if self._compiled is None:
            search = self.search.with_static_shapes() if self.config.jit_compile else self.search
            self._compiled = tf.function(
                functools.partial(self._decode, search),
                autograph=False,
                reduce_retracing=not self.config.jit_compile,
                jit_compile=self.config.jit_compile or None,
            )
        if self.config.jit_compile:
            more = -arguments[0].shape[1] % _FRAMES_OF_SHAPES
            arguments = (ops.pad(arguments[0], [[0, 0], [0, more], [0, 0]]), *arguments[1:])
        return self._compiled(*arguments)

    def encode_hot_words(self, hot_words: GivenHotWords) -> HotWords:
        return encode_hot_words(hot_words, self.tokenizer, self.config.hot_word_weight)

    def encode_hot_words_in_graph(self, hot_words: Any, weights: Any) -> HotWords:
        """hot_words [H] string, weights [H] float32 of a request as `HotWords`; those of `config` where H is 0.

        Raises (when it runs):
            tf.errors.InvalidArgumentError: as `hot_words.encode_hot_words_in_graph`.
        """
        import tensorflow as tf  # strings are TensorFlow's

        given = encode_hot_words_in_graph(hot_words, weights, self.tokenizer)
        if self.hot_words is None:
            return given
        own = HotWords(*map(tf.constant, self.hot_words))
        return HotWords(*tf.cond(tf.size(weights) == 0, lambda: tuple(own), lambda: tuple(given)))

    def _decode(self, search, log_probs, logit_len, hot_ids=None, hot_weights=None) -> Hypotheses:
        log_probs = ops.log_softmax(log_probs, axis=-1)
        batch, frames, classes = ops.shape(log_probs)
        logit_len = ops.minimum(logit_len, frames)
        count = self.config.hypotheses

        def find(search):
            state, trace = search.advance(search.start(batch), log_probs, logit_len)
            score, entries = search.finish(state, count)  # [B,K]
            _, of_frames = trace.follow(ops.reshape(entries, (-1,)))
            labels, label_len = join(of_frames, search.packer)  # [B K,U], [B K]
            labels = ops.reshape(labels, (batch * count, ops.shape(labels)[1]))
            return ops.reshape(score, (-1,)), labels, ops.reshape(label_len, (batch * count,))

        def find_hot():
            return find(self.with_hot_words(search, HotWords(hot_ids, hot_weights)))

        # Hot words have more labels tried; a request without any gives what the plain search gives.
        size = 0 if hot_ids is None else ops.shape(hot_ids)[0]
        if isinstance(size, int):
            score, labels, label_len = find_hot() if size else find(search)
        else:
            score, labels, label_len = ops.cond(size > 0, find_hot, lambda: find(search))
        if count > 1:
            log_probs = ops.reshape(ops.tile(log_probs[:, None], (1, count, 1, 1)), (batch * count, frames, classes))
            logit_len = ops.reshape(ops.tile(logit_len[:, None], (1, count)), (-1,))
        times = self._with_times(log_probs, logit_len, labels, label_len)._replace(score=score)
        return Hypotheses(*(ops.reshape(column, (batch, count, *ops.shape(column)[1:])) for column in times))

    def _with_times(self, log_probs, logit_len, labels, label_len) -> Hypotheses:
        times = align(log_probs, logit_len, labels, label_len).hypotheses(labels, label_len)
        return self.with_confidence(times, log_probs, logit_len)

    @functools.cached_property
    def with_times(self) -> Any:
        """Traced: log_probs [B,T',V+1], logit_len [B], labels [B,U], label_len [B] -> Hypotheses without the axis K."""
        frames, lengths = ((None, None, self.search.packer.labels + 1), "float32"), ((None,), "int32")
        return traced(self._with_times, frames, lengths, ((None, None), "int32"), lengths)

    @functools.cached_property
    def advance_stream(self) -> Any:
        """Traced: a step of `BeamStream`, the same for all streams.

        state, log_probs [1,T',V+1], logit_len [1] and the arrays of `HotWords` or None -> the state, the entry [K] that
        each entry was before, and the labels [K,U], label_len [K] that were appended.
        """

        def advance(state, log_probs, logit_len, hot_ids=None, hot_weights=None):
            hot_words = HotWords(hot_ids, hot_weights)
            search = self.search if hot_ids is None else self.with_hot_words(self.search, hot_words)
            state, trace = search.advance(state, ops.log_softmax(log_probs, axis=-1), logit_len)
            before, of_frames = trace.follow(ops.arange(search.beam_size, dtype="int32"))
            return state, before, *join(of_frames, search.packer, is_whole=False)

        return traced(advance)

    def with_hot_words(self, search: BeamSearch, hot_words: HotWords) -> BeamSearch:
        """A search of this decoder with hot words."""
        spelling = self._spelling
        letters, possessive = spelling.letters, None
        if self.config.hot_word_possessives and {"'", "s"} <= {*letters}:
            possessive = letters.index("'"), letters.index("s")
        model = HotWordModel(hot_words, len(letters), spelling.space, self._paid_back, possessive, spelling)
        return search.with_model(model, self.config.hot_word_rare)

    def compute_output_spec(self, log_probs, logit_len, hot_words=None) -> Hypotheses:
        return Hypotheses.spec(log_probs.shape[0], self.config.hypotheses, None)

    def get_config(self) -> dict[str, Any]:
        of_beam = dataclasses.asdict(self.config)
        return {**super().get_config(), "tokenizer": self.tokenizer.get_config(), "config": of_beam}


def join(of_frames: Any, packer: FramePacker, is_whole: bool = True) -> tuple[Any, Any]:
    """The labels of the frames [R,T'], V for none -> labels [R,U], label_len [R]; a whole text ends in no space."""
    frames = ops.shape(of_frames)[1]
    frame = ops.arange(frames, dtype="int32")[None, :]
    at = ops.sort(ops.where(of_frames != packer.labels, frame, frames), axis=1)
    label_len = ops.sum(ops.cast(at < frames, "int32"), axis=1)
    if packer.dynamic:
        at = at[:, : ops.max(label_len, initial=0)]
    inside = at < frames
    labels = ops.where(inside, ops.take_along_axis(of_frames, ops.where(inside, at, 0), axis=1), -1)
    space = packer.space
    if space is not None and is_whole:
        last = ops.logical_and(frame[:, : ops.shape(at)[1]] == label_len[:, None] - 1, labels == space)
        labels = ops.where(last, -1, labels)
        label_len = label_len - ops.cast(ops.any(last, axis=1), "int32")
    return labels, label_len

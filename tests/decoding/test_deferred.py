"""Decoders of a configuration: the language model is read when it is needed, and a missing one is explained."""

import numpy as np
import pytest
import tensorflow as tf

from jasper_tf.config.decoding_overrides import read_decoding
from jasper_tf.decoding.beam.beam_decoder import BeamDecoder
from jasper_tf.decoding.build_decoder import build_decoder
from jasper_tf.decoding.deferred import DeferredDecoder
from jasper_tf.decoding.greedy.greedy_decoder import GreedyDecoder
from jasper_tf.errors import UserError
from jasper_tf.text.tokenizer import CharacterTokenizer

TOKENIZER = CharacterTokenizer(" abc")
ACTIVE = {"preserve_word_confidence": True, "aggregation": "prod", "method_cfg": {"name": "max_prob", "alpha": 1.0}}


def log_probs(seed=0, batch=2, frames=12):
    values = np.random.default_rng(seed).normal(scale=3, size=(batch, frames, len(TOKENIZER) + 1))
    return (values - np.log(np.exp(values).sum(-1, keepdims=True))).astype(np.float32), np.array([frames, 7])


def beam(**keys):
    return read_decoding({"strategy": "beam", "beam": {"beam_size": 4, **keys}})


@pytest.mark.parametrize("key", ["ngram_lm_model", "kenlm_path"])
def test_a_missing_language_model_names_the_key_and_what_helps(key, tmp_path):
    config = beam(**{key: str(tmp_path / "lm.arpa")})
    deferred = DeferredDecoder(config, TOKENIZER)
    for use in (
        lambda: build_decoder(config, TOKENIZER),
        lambda: deferred(*log_probs()),
        lambda: deferred.encode_hot_words({"a": 1.0}),
    ):
        with pytest.raises(UserError) as caught:
            use()
        said = str(caught.value)
        assert said.startswith(f"decoding.beam.{key}: ") and "lm.arpa: no such file" in said
        assert f"decoding.beam.{key}=FILE" in said and "decoding.strategy=greedy" in said and "\n" not in said
    assert DeferredDecoder.from_config(deferred.get_config()).config == config


def test_it_is_built_once_and_gives_the_same():
    config = beam(n_best=2)
    deferred, decoder = DeferredDecoder(config, TOKENIZER), build_decoder(config, TOKENIZER)
    assert isinstance(decoder, BeamDecoder) and deferred.decoder() is deferred.decoder()
    # Also where the first call is traced, and for another graph after that.
    for _ in range(2):
        traced = tf.function(lambda *x: deferred(*x))
        for ours, theirs in zip(traced(*log_probs()), decoder(*log_probs()), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)
    hot = deferred.decode(*log_probs(), {"CAB": 40.0})
    assert "cab" in TOKENIZER.decode(x for x in hot.best().labels.numpy()[0] if x >= 0)


def test_hot_words_for_a_greedy_decoder():
    decoder = build_decoder(read_decoding({}))
    with pytest.raises(UserError, match="greedy decoder .*decoding.strategy=beam"):
        decoder.decode(*log_probs(), {"a": 1.0})
    assert np.array_equal(decoder.decode(*log_probs()).labels, decoder(*log_probs()).labels)


def test_an_active_confidence_section_is_the_same_for_both():
    """Where the beam finds greedy's path: one class of each frame is nearly certain."""
    certain, logit_len = log_probs()
    path = np.array([1, 1, 4, 2, 0, 0, 3, 4, 3, 4, 1, 4])
    certain[:, np.arange(12), path] += 7.0
    certain -= np.log(np.exp(certain).sum(-1, keepdims=True))
    config = read_decoding({"strategy": "beam", "beam": {"blank_skip": 1}, "confidence_cfg": ACTIVE})
    greedy = GreedyDecoder(config.confidence_cfg)
    ours, theirs = build_decoder(config, TOKENIZER), greedy
    assert ours.word_aggregation == theirs.word_aggregation == "prod"
    ours, theirs = (one(certain, logit_len).best() for one in (ours, theirs))
    for k in range(2):
        size = int(theirs.label_len[k])
        assert size == ours.label_len[k] > 3
        for name in ("labels", "start_frame", "end_frame", "confidence"):
            np.testing.assert_allclose(getattr(ours, name)[k, :size], getattr(theirs, name)[k, :size], atol=1e-5)
    plain = build_decoder(beam(blank_skip=1), TOKENIZER)(certain, logit_len).best()
    assert not np.allclose(plain.confidence[0, :3], ours.confidence[0, :3], atol=1e-3)

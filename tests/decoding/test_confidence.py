"""Confidence of frames, labels and words: NeMo's numbers, and the way they take to a model's outputs."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from jasper_tf.config.section_reader import SectionReader
from jasper_tf.config.sections.confidence_schema import ConfidenceConfig, ConfidenceMethodConfig
from jasper_tf.config.sections.decoding_schema import DecodingConfig
from jasper_tf.config.source import ConfigSource
from jasper_tf.decoding.build_decoder import build_decoder
from jasper_tf.decoding.confidence import aggregate, frame_confidence
from jasper_tf.decoding.greedy.greedy_decoder import GreedyDecoder
from jasper_tf.decoding.hypotheses import Hypotheses
from jasper_tf.decoding.words import group_words, word_outputs
from jasper_tf.text.tokenizer import CharacterTokenizer

AGGREGATIONS = {"mean": np.mean, "min": np.min, "max": np.max, "prod": np.prod}


def confidence(**values):
    method = ConfidenceMethodConfig(**values.pop("method", {}))
    return ConfidenceConfig(preserve_word_confidence=True, method_cfg=method, **values)


def test_frames_and_labels_of_nemo(shared):
    """36 combinations on 12 utterances, which are decoded as one padded batch."""
    folder = shared / "golden" / "confidence"
    cases = json.loads((folder / "confidence.json").read_text())["cases"]
    with np.load(folder / "confidence_log_probs.npz") as arrays:
        rows = [arrays[f"log_probs_{i}"] for i in range(len(arrays.files))]
    logit_len = np.array([*map(len, rows)], np.int32)
    log_probs = np.random.default_rng(0).normal(size=(len(rows), max(logit_len), rows[0].shape[1])).astype(np.float32)
    for b, row in enumerate(rows):
        log_probs[b, : len(row)] = row
    assert len(cases) == 36
    for case in cases:
        method = {"alpha": 0.33} | case["method"]
        config = confidence(method=method, aggregation=case["aggregation"], exclude_blank=case["exclude_blank"])
        frames = frame_confidence(log_probs, config.method_cfg)
        in_graph = frame_confidence(tf.constant(log_probs), config.method_cfg)
        np.testing.assert_allclose(frames, in_graph, atol=1e-5)
        best = GreedyDecoder(config)(log_probs, logit_len).best()
        for b, expected in enumerate(case["rows"]):
            shown = expected["frame"]
            np.testing.assert_allclose(frames[b, : len(shown)], shown, atol=1e-5, err_msg=str(case["method"]))
            n = int(best.label_len[b])
            np.testing.assert_allclose(best.confidence[b, :n], expected["token"], atol=1e-5, err_msg=str(method))
            assert not best.confidence[b, n:].numpy().any()


@pytest.mark.parametrize("alpha", [1.0, 0.33])
@pytest.mark.parametrize("norm", ["lin", "exp"])
@pytest.mark.parametrize("kind", ["max_prob", "gibbs", "tsallis", "renyi"])
def test_a_certain_frame_has_1_and_a_uniform_one_0(kind, norm, alpha):
    name = {"name": "entropy", "entropy_type": kind} if kind != "max_prob" else {"name": kind}
    method = ConfidenceMethodConfig(**name, entropy_norm=norm, alpha=alpha)
    with np.errstate(divide="ignore"):
        log_probs = np.log([[[1.0, 0, 0, 0], [0.25] * 4, [0.7, 0.1, 0.1, 0.1]]])
    certain, uniform, between = frame_confidence(log_probs, method)[0]
    assert (certain, uniform) == (pytest.approx(1, abs=1e-6), pytest.approx(0, abs=1e-6)) and between < 0.9


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_aggregation_twin(aggregation):
    rng = np.random.default_rng(1)
    values, group = rng.random((3, 20)).astype(np.float32), rng.integers(-1, 5, (3, 20)).astype(np.int32)
    group[group == 2] = -1
    values[0, 0] = 0.0
    found = aggregate(values, group, 5, aggregation)
    np.testing.assert_allclose(found, aggregate(tf.constant(values), tf.constant(group), 5, aggregation), rtol=1e-6)
    for b, g in np.ndindex(3, 5):
        chosen = values[b, group[b] == g].astype(np.float64)
        expected = AGGREGATIONS[aggregation](chosen) if len(chosen) else 0.0
        assert found[b, g] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_words_aggregate_their_labels(aggregation):
    labels = np.array([[1, 2, 0, 2, -1]], np.int32)
    certain = np.array([[0.9, 0.5, 0.1, 0.7, 0.0]], np.float32)
    best = Hypotheses(labels, np.array([4]), labels * 0, labels * 0, certain, np.zeros(1))
    words = group_words(best, CharacterTokenizer(" ab"), aggregation)
    expected = [AGGREGATIONS[aggregation]([0.9, 0.5]), 0.7, 0, 0, 0]
    np.testing.assert_allclose(words.confidence[0], expected, atol=1e-6)


def test_a_section_without_effect_leaves_the_defaults():
    """NeMo's archives list the section with all `preserve_` keys false."""
    log_probs = np.log(np.random.default_rng(0).dirichlet(np.ones(4), (2, 30))).astype(np.float32)
    default = build_decoder(DecodingConfig())
    listed = build_decoder(DecodingConfig(confidence_cfg=ConfidenceConfig(aggregation="prod", exclude_blank=False)))
    active = build_decoder(DecodingConfig(confidence_cfg=confidence(aggregation="prod")))
    found = [decoder(log_probs, np.array([30, 20])).confidence.numpy() for decoder in (default, listed, active)]
    np.testing.assert_array_equal(found[0], found[1])
    assert np.abs(found[0] - found[2]).max() > 0.1
    assert [decoder.word_aggregation for decoder in (default, listed, active)] == ["min", "min", "prod"]


def test_the_plain_values_of_a_saved_model_give_the_same_section():
    given = {"decoding": {"confidence_cfg": {"preserve_word_confidence": True, "method_cfg": {"alpha": 1}}}}
    given["decoding"]["confidence_cfg"]["tdt_include_duration"] = False
    decoding = SectionReader(ConfigSource("x.yaml", given)).read(DecodingConfig, given["decoding"], ("decoding",))
    assert decoding.confidence_cfg == confidence(method={"alpha": 1.0})
    assert DecodingConfig(**dataclasses.asdict(decoding)) == decoding


def test_a_decoder_keeps_its_section():
    decoder = GreedyDecoder(confidence(aggregation="max", method={"name": "max_prob", "alpha": 0.5}))
    again = GreedyDecoder.from_config(decoder.get_config())
    assert again.confidence == decoder.confidence and again.get_config() == decoder.get_config()
    assert json.loads(json.dumps(decoder.get_config())) == decoder.get_config()


def test_in_the_graph_of_unknown_lengths():
    tokenizer = CharacterTokenizer(" ab")
    decoder = GreedyDecoder(confidence(exclude_blank=False))

    @tf.function(input_signature=[tf.TensorSpec((None, None, 4)), tf.TensorSpec((None,), tf.int32)])
    def graph(logits, logit_len):
        return word_outputs(decoder(logits, logit_len).best(), tokenizer, 0.02, decoder.word_aggregation)

    logits, logit_len = np.random.default_rng(0).normal(size=(3, 40, 4)).astype(np.float32), np.array([40, 3, 0])
    together = graph(logits, logit_len)
    assert np.ptp(together["words_confidence"].numpy()) > 0
    alone = [graph(logits[b : b + 1, :n], logit_len[b : b + 1]) for b, n in enumerate(logit_len)]
    expected = np.concatenate([one["words_confidence"] for one in alone])
    np.testing.assert_allclose(together["words_confidence"], expected, atol=1e-6)

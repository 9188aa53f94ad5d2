"""Beam search with n-gram models of words and labels: KenLM's scores, exact searches in float64, error rates."""

import functools
import json
import math
import os
import subprocess
import sys

import jiwer
import numpy as np
import pytest
import tensorflow as tf

from jasper_tf.config.sections.decoding_schema import DecodingConfig
from jasper_tf.decoding.beam.beam_decoder import BeamDecoder
from jasper_tf.decoding.beam.hot_words import encode_hot_words, encode_hot_words_in_graph
from jasper_tf.decoding.beam.language_model import LanguageModel
from jasper_tf.decoding.beam.lexicon import LONGEST_UNKNOWN, Lexicon
from jasper_tf.decoding.beam.text_models import Query
from jasper_tf.decoding.build_decoder import build_decoder
from jasper_tf.errors import UserError
from jasper_tf.language_model.arpa import read_arpa
from jasper_tf.language_model.ngram_tables import NGramTables
from jasper_tf.text.tokenizer import CharacterTokenizer

LABELS = [*" abcdefghijklmnopqrstuvwxyz'"]
EXACT = {"top_tokens": 99, "token_min_logp": -1e6, "blank_skip": 1.0, "beam_threshold": 80.0, "look_ahead": 0.0}


@pytest.fixture(scope="module")
def language_model(shared):
    return functools.cache(
        lambda name: LanguageModel.read(shared / f"decoding/lm/{name}.arpa.gz", CharacterTokenizer(LABELS))
    )


@pytest.fixture(scope="module")
def log_probs(shared):
    """`log_probs(name)`: the matrices [T',V+1] of a set by their keys, and its lines."""

    @functools.cache
    def load(name):
        file = shared / f"decoding/golden/log_probs_{name}.npz"
        arrays = np.load(file)
        assert arrays["labels"].tolist() == LABELS
        lines = json.loads(file.with_suffix(".json").read_text())
        return {line["key"]: arrays[line["key"]].astype(np.float32) for line in lines}, lines

    return load


def error_rate(decode, log_probs):
    """WER in percent, and the texts."""
    arrays, lines = log_probs
    texts, tokenizer = {}, CharacterTokenizer(LABELS)
    by_length = sorted(arrays, key=lambda key: -len(arrays[key]))
    for at in range(0, len(lines), 16):
        keys = by_length[at : at + 16]
        lengths = np.array([len(arrays[key]) for key in keys])
        batch = np.zeros((len(keys), max(lengths), len(LABELS) + 1), np.float32)
        for row, key in zip(batch, keys, strict=True):
            row[: len(arrays[key])] = arrays[key]
        found = tokenizer.decode_in_graph(decode(batch, lengths).best().labels).numpy()
        texts |= zip(keys, (text.decode() for text in found), strict=True)
    texts = [texts[line["key"]] for line in lines]
    return 100 * jiwer.wer([line["text"] for line in lines], texts), texts


@pytest.mark.parametrize(
    "name", ["tiny_3gram", *(pytest.param(name, marks=pytest.mark.medium) for name in ("word_3gram", "char_6gram"))]
)
def test_every_token_has_the_score_of_kenlm(name, language_model, shared):
    tables = language_model(name).tables
    ids = {word: at for at, word in enumerate(tables.vocabulary)}
    query = tf.function(Query(tables).advance)
    for sentence in json.loads((shared / "decoding/golden/lm_scores.json").read_text())[name]:
        state = np.array([tables.start_state], np.int32)
        for word, log10_prob, _, _ in sentence["tokens"]:
            log_prob, state = query(state, np.array([ids.get(word, tables.unknown_id)], np.int32))
            assert float(log_prob[0]) / math.log(10) == pytest.approx(log10_prob, abs=1e-5)


def check_exact_cases(name, language_model, shared):
    golden = shared / "decoding/golden"
    cases = [c for c in json.loads((golden / "beam_exact_lm.json").read_text()) if c["lm"] == f"{name}.arpa"]
    assert cases
    decoders = {}
    for case in cases:
        frames = np.load(golden / f"{case['log_probs']}.npz")[case["key"]]
        frames = frames[case["start"] : case["start"] + case["frames"]].astype(np.float32)
        # Rounded to float16 they do not sum to 1; decoders normalize.
        rounding = np.log(np.exp(frames.astype(np.float64)).sum(-1)).sum()
        for beam_size, expected in case["beam"].items():
            settings = EXACT | {"beam_size": int(beam_size), "n_best": min(5, int(beam_size))}
            settings |= {"ngram_lm_alpha": case["alpha"], "beam_beta": case["beta"]}
            settings |= {"hot_words": dict.fromkeys(case["hot"], case["weight"]), "hot_words_are_known": False}
            settings["hot_word_possessives"] = False
            key = json.dumps(settings)
            if key not in decoders:
                decoders[key] = BeamDecoder(CharacterTokenizer(LABELS), settings, language_model(name))
            found = decoders[key](frames[None], np.array([len(frames)]))
            texts = CharacterTokenizer(LABELS).decode_in_graph(found.labels[0]).numpy()
            assert [text.decode() for text in texts][: len(expected)] == [text for text, _, _ in expected], case
            scores = found.score[0].numpy()[: len(expected)] + rounding
            np.testing.assert_allclose(scores, [score for _, _, score in expected], rtol=0, atol=1e-3)


@pytest.mark.slow
def test_texts_and_scores_are_the_exact_ones(language_model, shared):
    check_exact_cases("tiny_3gram", language_model, shared)


@pytest.mark.slow
def test_texts_and_scores_are_the_exact_ones_with_a_large_model(language_model, shared):
    check_exact_cases("word_3gram", language_model, shared)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "bounds"),
    [
        ({"beam_size": 16}, {"mini_dev_snr0": 10.1}),
        ({"beam_size": 64}, {"mini_dev_snr0": 9.6, "mini_test_snr0": 18.5, "mini_dev": 1.95, "mini_test": 1.36}),
    ],
)
def test_word_model_repairs_noisy_speech(settings, bounds, language_model, log_probs):
    decode = BeamDecoder(CharacterTokenizer(LABELS), settings, language_model("word_3gram"))
    for name, bound in bounds.items():
        assert error_rate(decode, log_probs(name))[0] <= bound, name


@pytest.mark.slow
@pytest.mark.parametrize("beam_size", [16, 64])
def test_hot_words_are_found_and_not_made_up(beam_size, language_model, log_probs):
    hot = dict.fromkeys(["ronicky", "doone", "tolliver", "barberini", "fatty coon", "singsong"], 8.0)
    settings = {"beam_size": beam_size, "hot_words": hot}
    decode, false_alarms = BeamDecoder(CharacterTokenizer(LABELS), settings, language_model("word_3gram")), 0
    for name in ("mini_dev_snr0", "mini_dev", "mini_test_snr0", "mini_test"):
        _, texts = error_rate(decode, log_probs(name))
        found = 0
        for text, line in zip(texts, log_probs(name)[1], strict=True):
            for word in hot:
                said, heard = (f" {one} ".count(f" {word} ") for one in (line["text"], text))
                found += min(said, heard)
                false_alarms += max(0, heard - said)
        if name.startswith("mini_dev"):
            assert found >= 12
    assert false_alarms <= 1


@pytest.mark.slow
def test_label_model_repairs_noisy_speech(language_model, log_probs):
    settings = {"beam_size": 64, "ngram_lm_alpha": 0.3, "beam_beta": 0.2}
    decode = BeamDecoder(CharacterTokenizer(LABELS), settings, language_model("char_6gram"))
    assert error_rate(decode, log_probs("mini_dev_snr0"))[0] <= 10.8


@pytest.mark.medium
def test_wide_label_beam_ranks_texts_by_their_scores(language_model):
    """Against all texts of a small matrix, in float64."""
    tables = language_model("char_6gram").tables
    rng = np.random.default_rng(0)
    frames = np.full((5, len(LABELS) + 1), -40.0)
    frames[:, [1, 5, 20, 28]] = rng.normal(size=(5, 4))  # a, e, t, blank
    frames -= np.log(np.exp(frames).sum(-1, keepdims=True))

    def paths(prefix=()):
        if len(prefix) == len(frames):
            yield prefix
        else:
            for label in (1, 5, 20, 28):
                yield from paths((*prefix, label))

    totals = {}
    for path in paths():
        text = tuple(c for i, c in enumerate(path) if c != 28 and (i == 0 or path[i - 1] != c))
        probability = float(sum(frames[t, c] for t, c in enumerate(path)))
        totals[text] = np.logaddexp(totals.get(text, -np.inf), probability)
    alpha, beta, ids = 0.7, 0.5, {word: at for at, word in enumerate(tables.vocabulary)}
    for text in totals:
        state = np.array([tables.start_state], np.int32)
        for label in text:
            log_prob, state = tables.advance(state, np.array([ids[LABELS[label]]], np.int32))
            totals[text] += alpha * float(log_prob[0]) + beta
        totals[text] += alpha * float(tables.final_log_probs[state[0]])
    expected = sorted(totals.items(), key=lambda item: -item[1])[:5]

    settings = EXACT | {"beam_size": 512, "n_best": 5, "ngram_lm_alpha": alpha, "beam_beta": beta, "top_tokens": 8}
    found = BeamDecoder(CharacterTokenizer(LABELS), settings, language_model("char_6gram"))(
        frames[None].astype(np.float32), np.array([len(frames)])
    )
    got = [tuple(ids[ids >= 0].tolist()) for ids in found.labels[0].numpy()]
    assert got == [text for text, _ in expected]
    np.testing.assert_allclose(found.score[0], [score for _, score in expected], atol=1e-3)


@pytest.mark.medium
def test_batch_and_padding_change_nothing(language_model, log_probs):
    arrays, _ = log_probs("mini_dev_snr0")
    rows = [arrays[key][start : start + length] for key, start, length in (("lp_0001", 40, 120), ("lp_0007", 0, 90))]
    decode = BeamDecoder(CharacterTokenizer(LABELS), {"beam_size": 8}, language_model("tiny_3gram"))
    batch = np.random.default_rng(0).normal(size=(2, 150, len(LABELS) + 1)).astype(np.float32)
    for row, frames in zip(batch, rows, strict=True):
        row[: len(frames)] = frames
    together = decode(batch, np.array([120, 90]))
    for at, frames in enumerate(rows):
        alone = decode(frames[None], np.array([len(frames)]))
        n = int(alone.label_len[0, 0])
        assert n > 20 and together.labels[at, 0, :n].numpy().tolist() == alone.labels[0, 0].numpy().tolist()
        np.testing.assert_allclose(together.score[at], alone.score[0], atol=1e-3)


@pytest.mark.medium
def test_step_has_the_same_operations_for_every_model(language_model):
    def operations(name):
        decode = BeamDecoder(CharacterTokenizer(LABELS), {"beam_size": 4}, language_model(name))
        signature = [tf.TensorSpec((None, None, len(LABELS) + 1)), tf.TensorSpec((None,), tf.int32)]
        graph = tf.function(decode, input_signature=signature, autograph=False).get_concrete_function().graph
        nodes = [*graph.as_graph_def().node, *(n for f in graph.as_graph_def().library.function for n in f.node_def)]
        assert not {node.op for node in nodes} & {"PyFunc", "EagerPyFunc", "HashTableV2", "LookupTableFindV2"}
        return sorted(node.op for node in nodes)

    assert operations("tiny_3gram") == operations("word_3gram")


def test_lexicon_is_a_trie_of_the_words():
    words = {"ab": 3, "abc": 4, "b": 5}
    lexicon = Lexicon.from_words(words, " abc", unknown_id=0)

    def walk(text):
        node = 0
        for letter in text:
            node = lexicon.children[node, " abc".index(letter)]
        return node

    assert {word: lexicon.words[walk(word)] for word in words} == words
    assert lexicon.words[walk("a")] == lexicon.words[0] == lexicon.words[walk("ca")] == 0
    assert walk("ab b") == walk("b") and lexicon.children[walk("ab"), 4] == walk("ab")
    assert walk("ba") == walk("cc") == lexicon.outside + 1 and walk("c" * 99) == lexicon.outside + LONGEST_UNKNOWN - 1
    best = lexicon.best_below(np.array([9.0, 9, 9, -2, -1, -3]))
    assert [best[walk(text)] for text in ("a", "ab", "abc", "b")] == [-1, -1, -1, -3] and best[walk("c")] == -np.inf


def write_arpa_of(words, path):
    lines = "".join(f"-1.0\t{word}\n" for word in words)
    path.write_text(
        f"\\data\\\nngram 1={len(words) + 3}\n\n\\1-grams:\n-1\t<unk>\n0\t<s>\n-1\t</s>\n{lines}\n\\end\\\n"
    )
    return path


def test_words_in_another_case_are_read(tmp_path):
    file = write_arpa_of(["BAD", "CAB"], tmp_path / "upper.arpa")
    lexicon = LanguageModel.read(file, CharacterTokenizer(" abcd")).lexicon
    assert np.count_nonzero(lexicon.words != lexicon.words[-1]) == 2


@pytest.mark.parametrize(
    ("labels", "words", "said"),
    [
        (" abcd", ["да", "нет"], "0.0 % of its words"),
        ("abcd", ["bad", "cab"], "no label of this recognizer is a space"),
    ],
)
def test_model_of_another_alphabet_is_rejected(labels, words, said, tmp_path):
    file = write_arpa_of(words, tmp_path / "m.arpa")
    config = DecodingConfig(strategy="beam", beam={"ngram_lm_model": str(file)})
    with pytest.raises(UserError) as error:
        build_decoder(config, CharacterTokenizer(labels))
    assert said in str(error.value) and str(file) in str(error.value)


@pytest.mark.parametrize(("words", "warned"), [(["bad", "it's", "e5", "no."], "25 %"), (["bad", "no."], None)])
def test_a_model_whose_words_are_mostly_unreachable_is_warned_of(words, warned, tmp_path, caplog, monkeypatch):
    file = write_arpa_of(words, tmp_path / "m.arpa")
    monkeypatch.setattr("jasper_tf.io.progress.logger.propagate", True)  # command lines switch it off
    with caplog.at_level("WARNING", logger="jasper_tf"):
        LanguageModel.read(file, CharacterTokenizer(" abcd"))
    said = {message for message in caplog.messages if str(file) in message}  # once, however many handlers there are
    assert len(said) == bool(warned) and all(warned in message for message in said)


def test_sections_of_nemo_are_honored(tmp_path):
    file = str(write_arpa_of(["bad", "cab"], tmp_path / "m.arpa"))
    old = {"kenlm_path": file, "beam_alpha": 0.7, "beam_size": 4, "pyctcdecode_cfg": {"beam_prune_logp": -7}}
    decoder = build_decoder(DecodingConfig(strategy="pyctcdecode", beam=old), CharacterTokenizer(" abcd"))
    assert (decoder.config.alpha, decoder.config.beam_size, decoder.config.beam_threshold) == (0.7, 4, 7)
    assert len(decoder.search.models) == 1
    same = BeamDecoder.from_config(decoder.get_config())
    assert same.config == decoder.config and len(same.search.models) == 1


def test_tables_are_shared_with_a_model_that_is_read(tmp_path):
    tables = NGramTables.from_model(read_arpa(write_arpa_of(["bad", "cab"], tmp_path / "m.arpa")))
    model = LanguageModel.from_tables(tables, CharacterTokenizer(" abcd"))
    config = DecodingConfig(strategy="beam", beam={"ngram_lm_model": "not read"})
    assert build_decoder(config, CharacterTokenizer(" abcd"), model).search.models[0].start == (0, tables.start_state)


@pytest.mark.medium
def test_saved_model_needs_no_python_class_and_takes_hot_words(language_model, log_probs, tmp_path):
    tokenizer = CharacterTokenizer(LABELS)
    decode = BeamDecoder(tokenizer, {"beam_size": 8, "n_best": 2}, language_model("tiny_3gram"))
    signature = [tf.TensorSpec((None, None, len(LABELS) + 1)), tf.TensorSpec((None,), tf.int32)]
    signature += [tf.TensorSpec((None,), tf.string, name="hot_words"), tf.TensorSpec((None,), name="hot_word_weights")]

    def serve(log_probs, logit_len, hot_words, weights):
        found = decode(log_probs, logit_len, encode_hot_words_in_graph(hot_words, weights, tokenizer))
        return {"text": tokenizer.decode_in_graph(found.labels[:, 0]), **found._asdict()}

    module = tf.Module()
    function = tf.function(serve, input_signature=signature, autograph=False)
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": function.get_concrete_function()})
    code = "import sys, numpy as np, tensorflow as tf\n"
    code += "served = tf.saved_model.load(sys.argv[1]).signatures['serving_default']\n"
    code += "x = dict(np.load(sys.argv[2])); words = x.pop('words').astype(object)\n"
    code += "found = served(hot_words=tf.constant(words), **{k: tf.constant(v) for k, v in x.items()})\n"
    code += "found.pop('text'); np.savez(sys.argv[3], **found)"
    arrays, _ = log_probs("mini_dev_snr0")
    batch = np.stack([arrays["lp_0001"][40:160], arrays["lp_0007"][:120]])
    inputs = {"log_probs": batch, "logit_len": np.array([120, 90], np.int32)}
    hot = {"Rooly": 9.0, "bought up": 5.0}
    given = {"words": np.array(list(hot)), "hot_word_weights": np.array(list(hot.values()), np.float32)}
    np.savez(tmp_path / "in.npz", **inputs, **given)
    command = [sys.executable, "-c", code, str(tmp_path), str(tmp_path / "in.npz"), str(tmp_path / "out.npz")]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": ""}, cwd=tmp_path)
    expected = decode(*inputs.values(), encode_hot_words(hot, tokenizer))
    with np.load(tmp_path / "out.npz") as served:
        for key, value in expected._asdict().items():
            np.testing.assert_allclose(served[key], value, atol=1e-4, err_msg=key)
    texts = [text.decode() for text in tokenizer.decode_in_graph(expected.labels[:, 0]).numpy()]
    assert "bought up" in texts[1]

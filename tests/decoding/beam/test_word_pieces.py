"""The beam search over word pieces: what its models give is what they give letter by letter."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from jasper_tf.config.sections.decoding_schema import BeamConfig
from jasper_tf.decoding.beam.beam_decoder import BeamDecoder
from jasper_tf.decoding.beam.hot_words import HotWordModel, encode_hot_words, encode_hot_words_in_graph
from jasper_tf.decoding.beam.language_model import LanguageModel
from jasper_tf.decoding.beam.spelling import Spelling
from jasper_tf.errors import UserError
from jasper_tf.language_model.corpus import read_corpus
from jasper_tf.language_model.kneser_ney import estimate
from jasper_tf.language_model.ngram_tables import NGramTables
from jasper_tf.losses.ctc import ctc_loss
from jasper_tf.text.tokenizer import CharacterTokenizer, Tokenizer

PIECES = [" b", "ad", " cab", "e", "d", " ", "b", " a", "ca", " da", "a", "c"]
TEXTS = [b"bad cab", b"a bad cab", b"a dab", b"bad bad a", b"cab bad"]
BEAM = {"beam_size": 64, "top_tokens": 99, "token_min_logp": -1e6, "blank_skip": 1.0, "beam_threshold": 80.0}


class Pieces(Tokenizer):
    """Word pieces without a text to encode."""

    def encode(self, text):
        raise NotImplementedError

    def out_of_vocabulary(self, text):
        raise NotImplementedError

    def get_config(self):
        return {"type": "pieces"}


TOKENIZER = Pieces(PIECES)
SPELLING = Spelling.of(TOKENIZER)
LETTERS = CharacterTokenizer(SPELLING.letters)
WAYS = [
    [" cab"],
    [" b", "ad", " cab"],
    [" ", "b", "ad", " ", "ca", "b"],
    [" a", " b", "a", "d", " da", "b"],
    ["b", "ad"],
    [" b", "e"],
    [" b", "e", " b", "ad", " ", "e", "e", " cab"],
    [" a", " a"],
    [],
]


@pytest.fixture(scope="module")
def tables():
    corpus = read_corpus(enumerate(TEXTS), "word", "texts")
    return NGramTables.from_model(estimate(corpus, 2, [0], None, True))


def walk(model, labels):
    """The logarithm of all factors on the way, with the end."""
    columns, total = [tf.constant([[[column]]]) for column in model.start], 0.0
    for label in labels:
        label = tf.constant([[[label]]])
        factors, carried, chosen = model.score(columns, label, True, tf.constant(False))
        total += math.log(float(tf.squeeze(factors)))
        columns = model.follow(carried, label, None if chosen is None else chosen[:, :, 1:])
    return total + float(tf.squeeze(model.end(columns)))


def by_letters(pieces):
    """The same text, letter by letter: spaces in front and behind spaces are nothing."""
    return [SPELLING.letters.index(letter) for letter in " ".join("".join(pieces).split())]


@pytest.mark.parametrize("look_ahead", [0.0, 1.0])
@pytest.mark.parametrize("pieces", WAYS)
def test_a_model_of_words_sees_only_the_text(tables, pieces, look_ahead):
    config = BeamConfig(**BEAM, ngram_lm_alpha=0.7, beam_beta=0.4, look_ahead=look_ahead)
    of_pieces = LanguageModel.from_tables(tables, TOKENIZER).text_model(config)
    of_letters = LanguageModel.from_tables(tables, LETTERS).text_model(config)
    got = walk(of_pieces, [PIECES.index(piece) for piece in pieces])
    assert got == pytest.approx(walk(of_letters, by_letters(pieces)), abs=1e-4)


@pytest.mark.parametrize("pieces", WAYS)
def test_hot_words_see_only_the_text(tables, pieces):
    hot = {"bad": 3.0, "bad cab": 2.0, "a": -1.0, "be": 4.0}
    hot_words = encode_hot_words(hot, TOKENIZER)
    np.testing.assert_array_equal(hot_words.ids, encode_hot_words(hot, LETTERS).ids)
    size, space = len(SPELLING.letters), SPELLING.space
    config = BeamConfig(**BEAM)
    words = [LanguageModel.from_tables(tables, one).text_model(config) for one in (TOKENIZER, LETTERS)]
    of_pieces = HotWordModel(hot_words, size, space, words[0], spelling=SPELLING)
    of_letters = HotWordModel(hot_words, size, space, words[1])
    got = walk(of_pieces, [PIECES.index(piece) for piece in pieces])
    assert got == pytest.approx(walk(of_letters, by_letters(pieces)), abs=1e-4)


@pytest.mark.parametrize("seed", [0, 1])
def test_scores_are_those_of_all_ways_to_spell_a_text(tables, seed):
    """ln p by CTC, summed over the labels of every length, plus what the models give: a beam that keeps everything."""
    frames, classes = 4, len(PIECES) + 1
    logits = np.random.default_rng(seed).normal(size=(1, frames, classes)) * 3
    log_probs, frames = np.asarray(tf.nn.log_softmax(logits), np.float32), np.array([frames], np.int32)
    settings = BEAM | {"beam_size": 512, "n_best": 20, "beam_beta": 0.3, "hot_words": {"bad": 2.0}}
    config = BeamConfig(**settings, ngram_lm_alpha=0.6)
    model = LanguageModel.from_tables(tables, TOKENIZER)
    found = BeamDecoder(TOKENIZER, config, model)(log_probs, frames)
    words = model.text_model(config)
    hot = HotWordModel(
        encode_hot_words({"bad": 2.0}, TOKENIZER), len(SPELLING.letters), SPELLING.space, words, spelling=SPELLING
    )
    expected = {}
    for size in range(5):
        rows = len(PIECES) ** size
        labels = np.array([*itertools.product(range(len(PIECES)), repeat=size)], np.int32).reshape(rows, size)
        losses = ctc_loss(
            np.pad(labels, [(0, 0), (0, 1)]),
            np.full(rows, size, np.int32),
            np.repeat(log_probs, rows, 0),
            np.repeat(frames, rows),
        )
        for row, loss in zip(labels, np.asarray(losses), strict=True):
            if size + np.sum(row[1:] == row[:-1]) > frames[0]:
                continue  # the loss of what does not fit is 0
            text = " ".join("".join(PIECES[label] for label in row).split())
            expected[text] = np.logaddexp(expected.get(text, -1e30), -loss)
    texts = []
    for labels, size, score in zip(
        np.asarray(found.labels[0]), np.asarray(found.label_len[0]), np.asarray(found.score[0]), strict=True
    ):
        texts.append(" ".join(TOKENIZER.decode(labels[:size]).split()))
        gain = walk(words, labels[:size]) + walk(hot, labels[:size])
        assert score == pytest.approx(expected[texts[-1]] + gain, abs=2e-3), texts[-1]
    assert len({*texts}) == len(texts)
    assert np.all(np.diff(found.score[0]) <= 0)


def test_a_word_of_the_model_is_preferred(tables):
    """The sound says " cab" or " ca"+"d"; only one is a word."""
    sure = np.full((1, 4, len(PIECES) + 1), -9.0, np.float32)
    for frame, options in enumerate([{" da": -0.1}, {"d": -0.6, "b": -0.8}, {" cab": -0.1}, {}]):
        for piece, score in options.items():
            sure[0, frame, PIECES.index(piece)] = score
    sure[0, 3, -1] = 0.0
    log_probs, frames = np.asarray(tf.nn.log_softmax(sure)), np.array([4], np.int32)

    def text(**settings):
        language_model = LanguageModel.from_tables(tables, TOKENIZER) if settings.pop("lm", False) else None
        found = BeamDecoder(TOKENIZER, BeamConfig(**BEAM, **settings), language_model)(log_probs, frames)
        return TOKENIZER.decode(np.asarray(found.labels[0, 0])[: int(found.label_len[0, 0])])

    assert text() == " dad cab"
    assert text(lm=True, ngram_lm_alpha=1.0, beam_beta=0.0) == " dab cab"
    assert text(hot_words={"dab": 8.0}) == " dab cab"


def test_hot_words_in_the_graph():
    hot = {"Bad CAB": 2.0, "dab": 3.5}
    got = encode_hot_words_in_graph(tf.constant(list(hot)), tf.constant(list(hot.values())), TOKENIZER)
    for ours, expected in zip(got, encode_hot_words(hot, TOKENIZER), strict=True):
        np.testing.assert_array_equal(ours, expected)
    with pytest.raises(UserError, match="'x'"):
        encode_hot_words({"bax": 1.0}, TOKENIZER)


def test_models_of_pieces_by_their_names_and_by_nemos_codes(tmp_path):
    for name, words in (("names", TOKENIZER.vocabulary[:5]), ("codes", [chr(100 + at) for at in range(len(PIECES))])):
        named = [word.replace(" ", "▁") for word in words]
        lines = "".join(f"-1\t{word}\n" for word in ["<unk>", "<s>", "</s>", *named])
        path = tmp_path / f"{name}.arpa"
        path.write_text(f"\\data\\\nngram 1={len(words) + 3}\n\n\\1-grams:\n{lines}\n\\end\\\n", encoding="utf-8")
        tokenizer = TOKENIZER
        if name == "names":
            tokenizer = type("Named", (Pieces,), {"vocabulary": [piece.replace(" ", "▁") for piece in PIECES]})(PIECES)
        model = LanguageModel.read(path, tokenizer)
        assert model.lexicon is None
        assert model.word_ids[:5].tolist() == [3, 4, 5, 6, 7]

"""Hot words: spelling, the trie against a plain twin, the search with them."""

import math

import numpy as np
import pytest
import tensorflow as tf

from jasper_tf.decoding.beam.beam_decoder import BeamDecoder
from jasper_tf.decoding.beam.hot_words import (
    HotWordModel,
    HotWords,
    encode_hot_words,
    encode_hot_words_in_graph,
    read_hot_words,
)
from jasper_tf.decoding.beam.language_model import LanguageModel
from jasper_tf.errors import UserError
from jasper_tf.text.tokenizer import CharacterTokenizer

LABELS = " abcdeno"
TOKENIZER = CharacterTokenizer(LABELS)


def walk(model, text):
    """The logarithm of all factors on the way through `text`, and with its end."""
    columns, total = [tf.constant([[[column]]]) for column in model.start], 0.0
    for letter in text:
        label = tf.constant([[[LABELS.index(letter)]]])
        factors, carried, chosen = model.score(columns, label, True, tf.constant(False))
        total += math.log(float(tf.squeeze(factors)))
        columns = model.follow(carried, label, chosen)
    stayed = model.follow(columns, tf.constant([[[len(LABELS)]]]), None)
    assert [int(tf.squeeze(c)) for c in stayed] == [int(tf.squeeze(c)) for c in columns]
    return total, total + float(tf.squeeze(model.end(columns)))


def twin(hot, text):
    """What the hot words of one word each in `text` give: their weights, and a share for a beginning of one."""
    *words, part = text.split(" ")
    total = sum(hot.get(word, 0.0) for word in words)
    near = [weight * len(part) / len(word) for word, weight in hot.items() if part and word.startswith(part)]
    return total + max(near, default=0.0), total + hot.get(part, 0.0)


@pytest.mark.parametrize(
    "text", ["bad", "ba", "bade", "a bad", "bad a", "dab bad ", "abad", "bad cab bad", "bed b", ""]
)
def test_twin(text):
    hot = {"bad": 4.0, "bade": 6.0, "cab": 3.0, "b": -1.0}
    got = walk(HotWordModel(encode_hot_words(hot, TOKENIZER), len(LABELS), 0), text)
    np.testing.assert_allclose(got, twin(hot, text), atol=1e-5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bad cab", (6.0, 6.0)),
        ("bad c", (6 * 5 / 7, 0.0)),
        ("bad ", (6 * 4 / 7, 0.0)),
        ("bad d", (0.0, 0.0)),
        ("bad bad cab", (6.0, 6.0)),  # it begins anew behind the first "bad "
        ("bad cabe", (0.0, 0.0)),
        ("abad cab", (0.0, 0.0)),
        ("bad cab ", (6.0, 6.0)),
        ("bad cab bad cab", (12.0, 12.0)),
    ],
)
def test_phrases(text, expected):
    hot_words = encode_hot_words({"bad cab": 3.0}, TOKENIZER)  # for each word
    np.testing.assert_allclose(walk(HotWordModel(hot_words, len(LABELS), 0), text), expected, atol=1e-5)


def test_possessives_of_hot_words_are_hot_words():
    hot_words, possessive = encode_hot_words({"bad": 3.0}, TOKENIZER), (LABELS.index("d"), LABELS.index("o"))
    model = HotWordModel(hot_words, len(LABELS), 0, possessive=possessive)
    for text, expected in (("bad", 3.0), ("baddo", 3.0), ("badd", 0.0), ("baddo baddo a", 6.0), ("badoo", 0.0)):
        assert walk(model, text)[1] == pytest.approx(expected, abs=1e-5)


def test_no_hot_words_give_nothing():
    for hot_words in (encode_hot_words({}, TOKENIZER), HotWords(np.full((2, 3), -1), np.ones(2))):
        assert walk(HotWordModel(hot_words, len(LABELS), 0), "bad cab") == (0.0, 0.0)


def test_spelling_in_the_graph_is_that_of_python():
    hot = {"Bad CAB": 2.0, "  dab\t ace ": 3.5, "b": -1.0}
    words, weights = tf.constant(list(hot)), tf.constant(list(hot.values()))
    signature = [tf.TensorSpec((None,), tf.string), tf.TensorSpec((None,))]
    graph = tf.function(lambda *x: encode_hot_words_in_graph(*x, TOKENIZER), input_signature=signature)
    for got, expected in zip(graph(words, weights), encode_hot_words(hot, TOKENIZER), strict=True):
        np.testing.assert_array_equal(got, expected)
    assert graph(words[:0], weights[:0]).ids.shape[0] == 0


@pytest.mark.parametrize(
    ("hot", "said"),
    [({"bad": 1.0, "bxd": 1.0}, "bxd"), ({"bad": 1.0, "dab": math.nan}, "dab"), ({"bad": 1.0, "dab": 51.0}, "dab")],
)
def test_wrong_hot_words_are_named(hot, said):
    with pytest.raises(UserError) as error:
        encode_hot_words(hot, TOKENIZER)
    assert said in str(error.value)
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        encode_hot_words_in_graph(tf.constant(list(hot)), tf.constant(list(hot.values())), TOKENIZER)
    assert "hot_words[1]" in error.value.message and said in error.value.message


def test_too_many_letters_are_rejected():
    with pytest.raises(UserError):
        encode_hot_words({"a" * 300: 1.0}, TOKENIZER)
    with pytest.raises(tf.errors.InvalidArgumentError):
        encode_hot_words_in_graph(tf.constant(["a" * 300]), tf.constant([1.0]), TOKENIZER)


def test_file_of_hot_words(tmp_path):
    file = tmp_path / "words.txt"
    file.write_text("# names\nDoone\nfatty coon 8.5\n\n")
    assert read_hot_words(file, 10.0) == {"Doone": 10.0, "fatty coon": 8.5}
    file.write_text("# nothing\n")
    with pytest.raises(UserError) as error:
        read_hot_words(file, 10.0)
    assert str(file) in str(error.value)


@pytest.mark.parametrize("given", [["bad", "cab ace"], ("bad", "cab ace"), {"bad", "cab ace"}])
def test_words_without_weights_get_that_of_the_configuration(given):
    decoder = BeamDecoder(TOKENIZER, {"hot_word_weight": 3.5})
    found = decoder.encode_hot_words(given)
    texts = ["".join(LABELS[label] for label in row if label >= 0) for row in found.ids]
    rows = dict(zip(texts, found.weights.tolist(), strict=True))
    assert rows == {"bad": 3.5, "cab ace": 7.0}  # for each word


def test_weights_of_numpy_are_numbers():
    for weight in (np.float32(2), np.int64(2), 2):
        assert encode_hot_words({"bad": weight}, TOKENIZER).weights == [2.0]


@pytest.mark.parametrize("given", ["bad", "", 5, ["bad", 5], {5: 1.0}, {"bad": "x"}, {"bad": None}, {"bad": [1]}])
def test_what_is_no_hot_words_is_one_error(given):
    with pytest.raises(UserError) as error:
        BeamDecoder(TOKENIZER, {}).decode(SOUND, np.array([7]), given)
    assert "hot" in str(error.value) and len(str(error.value)) < 200


def read(tmp_path, content):
    file = tmp_path / "words.txt"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(file), {"hot_words": str(file)}


def test_file_with_a_byte_order_mark_and_words_that_look_like_numbers(tmp_path):
    file, _ = read(tmp_path, b"\xef\xbb\xbfbad\r\nan\t8\r\nno nan\r\ninfinity -2.5\r\n")
    assert read_hot_words(file, 10.0) == {"bad": 10.0, "an": 8.0, "no nan": 10.0, "infinity": -2.5}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("bad\n\nbad 66\n", ":3: .*weight.* 66 "),
        ("# x\n66\n", ":2: 66 is only a number"),
        ("bad\nbad 6 cab\n", ":2: hot word 'bad 6 cab': .*'6'.*numbers"),
        ("bad\nx 5\n", ":2: hot word 'x': .*letters$"),
        ("a" * 300, ":1: hot word 'aaa.*300 letters"),
        ("".join(map(chr, range(0x4E00, 0x5E00))), ":1: hot word"),
        ("9" * 4000, ":1: "),
        (b"RIFF\x00\x00bad\n", ": is not a text file"),
        (b"caf\xe9\n", ": is not a text file"),
        ("bad\n".encode("utf-16"), ": is not a text file"),
    ],
)
def test_wrong_file_is_named_with_its_line(tmp_path, content, said):
    file, config = read(tmp_path, content)
    with pytest.raises(UserError, match=said) as error:
        BeamDecoder(TOKENIZER, config)
    message = str(error.value)
    assert message.startswith(file) and len(message) < len(file) + 250


def test_only_hot_words_take_rare_labels():
    model = HotWordModel(encode_hot_words({"bad": 3.0}, TOKENIZER), len(LABELS), 0)
    columns, ids = [tf.constant([[[0]]])], tf.range(len(LABELS))[None, None]
    common, rare = (model.score(columns, ids, True, tf.fill(ids.shape, is_rare))[0] for is_rare in (False, True))
    is_b = np.arange(len(LABELS)) == LABELS.index("b")
    assert (common[0, 0] > 0).numpy().all() and ((rare[0, 0] > 0).numpy() == is_b).all()


def log_probs_of(texts):
    """One frame a letter; each letter is one of several with their probabilities."""
    frames = np.full((len(texts), len(LABELS) + 1), 1e-4)
    for frame, letters in zip(frames, texts, strict=True):
        for letter, probability in letters.items():
            frame[LABELS.index(letter)] = probability
    return np.log(frames / frames.sum(-1, keepdims=True)).astype(np.float32)[None]


# "cab" or, less likely, "dab"; then a space and "bad" or "bed".
SOUND = log_probs_of([{"c": 0.7, "d": 0.3}, {"a": 1}, {"b": 1}, {" ": 1}, {"b": 1}, {"a": 0.6, "e": 0.4}, {"d": 1}])


def text_of(found):
    return TOKENIZER.decode_in_graph(found.best().labels).numpy()[0].decode()


@pytest.mark.medium
def test_hot_words_of_the_call_replace_those_of_the_configuration():
    decode = BeamDecoder(TOKENIZER, {"hot_words": {"DAB": 5.0}, "token_min_logp": -20.0})
    length = np.array([7])
    assert text_of(decode(SOUND, length)) == "dab bad"
    assert text_of(decode(SOUND, length, encode_hot_words({}, TOKENIZER))) == "cab bad"
    assert text_of(decode(SOUND, length, encode_hot_words({"dab bed": 5.0}, TOKENIZER))) == "dab bed"
    in_graph = encode_hot_words_in_graph(tf.constant(["BED"]), tf.constant([5.0]), TOKENIZER)
    assert text_of(decode(SOUND, length, in_graph)) == "cab bed"
    # The text is unchanged, its score is not.
    plain = decode(SOUND, length, encode_hot_words({}, TOKENIZER)).score
    hotter = decode(SOUND, length, encode_hot_words({"cab": 2.0, "cab bad": 3.0}, TOKENIZER)).score
    assert float(hotter[0, 0] - plain[0, 0]) == pytest.approx(2.0 + 2 * 3.0, abs=1e-3)


@pytest.mark.medium
@pytest.mark.parametrize("look_ahead", [0.0, 0.5])
def test_hot_word_outside_the_vocabulary_does_not_pay_for_that(look_ahead, tmp_path):
    file = tmp_path / "m.arpa"
    file.write_text(
        "\\data\\\nngram 1=6\n\n\\1-grams:\n-2\t<unk>\n0\t<s>\n-1\t</s>\n-1\tcab\n-1\tbad\n-1\tbed\n\n\\end\\\n"
    )
    model = LanguageModel.read(file, TOKENIZER)
    scores = []
    for known, weight in ((False, 0.0), (True, 0.0), (True, 2.0)):
        settings = {"look_ahead": look_ahead, "hot_words_are_known": known, "ngram_lm_alpha": 0.5} | {
            "beam_size": 64,
            "n_best": 64,
        }
        decode = BeamDecoder(TOKENIZER, settings | {"token_min_logp": -20.0, "beam_threshold": 60.0}, model)
        found = decode(SOUND, np.array([7]), encode_hot_words({"dab bad": weight}, TOKENIZER))
        texts = [text.decode() for text in TOKENIZER.decode_in_graph(found.labels[0]).numpy()]
        scores.append(float(found.score[0, texts.index("dab bad")]))
    assert scores[1] - scores[0] == pytest.approx(0.5 * 10 * math.log(10), abs=1e-3)
    assert scores[2] - scores[1] == pytest.approx(2 * 2.0, abs=1e-3)

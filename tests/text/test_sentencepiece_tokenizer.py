import json
import sys

import numpy as np
import pytest
import sentencepiece

from jasper_tf.errors import UserError
from jasper_tf.interop.nemo.archive import read_archive
from jasper_tf.text.sentencepiece_tokenizer import SentencePieceTokenizer
from jasper_tf.text.tokenizer import tokenizer_from_config


def random_ids(pieces, rng):
    return [rng.integers(0, pieces, rng.integers(0, 9)).tolist() for _ in range(300)] + [[0, 1], [1, 0], []]


def padded(rows):
    ids = np.full((len(rows), max(map(len, rows))), -1, np.int32)
    for row, of_row in zip(ids, rows, strict=True):
        row[: len(of_row)] = of_row
    return ids


OPTIONS = [
    {},
    {"remove_extra_whitespaces": False},
    {"add_dummy_prefix": False},
    {"add_dummy_prefix": False, "remove_extra_whitespaces": False},
    {"bos_id": 1, "eos_id": 2, "pad_id": 3, "normalization_rule_name": "nmt_nfkc_cf", "unk_surface": "#"},
    {"user_defined_symbols": ["<cough>"]},
]


@pytest.mark.parametrize("kind", ["bpe", "unigram", "char"])
@pytest.mark.parametrize("options", OPTIONS)
def test_sentencepiece_itself_decodes_the_same(trained, kind, options):
    content = trained(kind, **options)
    tokenizer, reference = SentencePieceTokenizer(content), sentencepiece.SentencePieceProcessor(model_proto=content)
    rows = random_ids(len(tokenizer), np.random.default_rng(0))
    expected = reference.decode(rows)
    assert [tokenizer.decode(row) for row in rows] == expected
    assert [text.decode() for text in tokenizer.decode_in_graph(padded(rows)).numpy()] == expected
    for text in ["the cat", "don't", "", "three bats"]:
        assert tokenizer.encode(text).tolist() == reference.encode(text)
    assert tokenizer.model.algorithm == kind


def test_golden_round_trips(shared):
    golden = json.loads((shared / "golden" / "bpe" / "full_bpe.json").read_text())
    [content] = [
        content
        for name, content in read_archive(shared / "golden" / "bpe" / "small_bpe.nemo").tokenizer.items()
        if name.endswith(".model")
    ]
    tokenizer = SentencePieceTokenizer(content)
    assert list(tokenizer.vocabulary) == golden["pieces"]
    for one in golden["round_trip"]:
        assert tokenizer.encode(one["text"]).tolist() == one["ids"]
        assert tokenizer.decode(one["ids"]) == one["back"]
    assert tokenizer.encode_batch([one["text"] for one in golden["round_trip"]]) == [
        one["ids"] for one in golden["round_trip"]
    ]


def test_a_piece_with_a_space_starts_a_word(bpe):
    for piece, starts, text in zip(bpe.vocabulary, bpe.starts_word, bpe.word_pieces, strict=True):
        if piece != "<unk>":
            assert starts == piece.startswith("▁")
            assert text == piece.removeprefix("▁")
    assert bpe.characters >= set(" theca'")


def test_out_of_vocabulary(bpe):
    assert bpe.out_of_vocabulary("the cät, Über 9") == ["ä", ",", "Ü", "9"]
    assert bpe.out_of_vocabulary("the cat") == []
    with pytest.raises(UserError, match="'ä' of 'cät'"):
        bpe.encode("cät")


def test_folding_models_write_capitals(trained):
    tokenizer = SentencePieceTokenizer(trained("bpe", normalization_rule_name="nmt_nfkc_cf"))
    assert tokenizer.out_of_vocabulary("The CAT") == []
    assert tokenizer.decode(tokenizer.encode("The CAT")) == "the cat"


def test_random_merges_are_a_function_of_the_seed(bpe, trained):
    text = "the cat sat on the mat"
    drawn = [tuple(bpe.encode_randomly(text, 0.3, seed).tolist()) for seed in range(20)]
    assert drawn == [tuple(bpe.encode_randomly(text, 0.3, seed).tolist()) for seed in range(20)]
    assert len(set(drawn)) > 5
    assert {bpe.decode(ids) for ids in drawn} == {text}
    assert max(map(len, drawn)) > len(bpe.encode(text))
    with pytest.raises(UserError, match="'ä' of 'cät'"):
        bpe.encode_randomly("cät", 0.3, 1)
    with pytest.raises(UserError, match="BPE"):
        SentencePieceTokenizer(trained("unigram")).encode_randomly(text, 0.3, 1)


@pytest.mark.parametrize("options", [*OPTIONS, {"user_defined_symbols": ["<cough>", "at", "▁on"]}])
def test_merges_without_dropout_are_sentencepieces(trained, options):
    tokenizer = SentencePieceTokenizer(trained("bpe", **options))
    words = "the cat sat on mat a and bat don't that hat one two three tttt <cough> onat".split()
    rng = np.random.default_rng(0)
    for _ in range(100):
        text = str(rng.choice(["", " ", "  "])).join(rng.choice(words, rng.integers(0, 7)))
        if not tokenizer.out_of_vocabulary(text):
            assert tokenizer.encode_randomly(text, 0.0, 0).tolist() == tokenizer.encode(text).tolist()


def test_config_and_files(bpe):
    again = tokenizer_from_config(json.loads(json.dumps(bpe.get_config())))
    assert again.pieces == bpe.pieces
    assert again.encode("the cat").tolist() == bpe.encode("the cat").tolist()
    files = bpe.files()
    assert sorted(files) == ["tokenizer.model", "tokenizer.vocab", "vocab.txt"]
    assert files["tokenizer.vocab"].decode().splitlines()[0] == "<unk>\t0"
    lines = files["vocab.txt"].decode().splitlines()
    assert len(lines) == len(bpe) - 1 and "<unk>" not in lines and "##t" in lines


def test_decoding_does_not_load_sentencepiece(bpe, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    tokenizer = tokenizer_from_config(bpe.get_config())
    assert tokenizer.decode(bpe.encode("the cat")) == "the cat"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"byte_fallback": True, "vocab_size": 300}, "byte_fallback"),
        ({"treat_whitespace_as_suffix": True}, "treat_whitespace_as_suffix"),
        ({"user_defined_symbols": ["new york"]}, "'new york' is of several words"),
    ],
)
def test_models_that_are_refused(trained, options, reason):
    with pytest.raises(UserError, match=reason):
        SentencePieceTokenizer(trained("unigram", **options))


@pytest.mark.parametrize("content", [b"", b"\xff\xff", b"labels: [a, b]", b"\x0a\x05\x0a\x03abc" * 2])
def test_damaged_models(content):
    with pytest.raises(UserError, match=r"here\.model: not a SentencePiece model"):
        SentencePieceTokenizer(content, "here.model")


def test_a_cut_model(bpe):
    for size in (100, 300, 1000):
        with pytest.raises(UserError):
            SentencePieceTokenizer(bpe.files()["tokenizer.model"][:size], "here.model").encode("the cat")

import json

import numpy as np
import pytest

from jasper_tf.errors import UserError
from jasper_tf.text.read_tokenizer import read_tokenizer
from jasper_tf.text.tokenizer import tokenizer_from_config
from jasper_tf.text.word_piece_tokenizer import WordPieceTokenizer

VOCABULARY = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] ' . , ? ! a b c d ##a ##b ##c ##d ##. - é É n't 漢 ##漢 $ + do not 's ab ##ab ##abc"
).split()
# What Hugging Face's BertTokenizer of transformers 5.23 gives, as NeMo 3.0 calls it: pieces, and the text of them.
REFERENCE = [
    ("ab,c. d? a!b 'c", "ab , c . d ? a ! b ' c", "ab, c. d? a! b ' c"),
    ("é E\u0301 e\u0301 漢ab$a+b", "é [UNK] [UNK] 漢 ab $ a + b", "é 漢 ab $ a + b"),
    ("a\u00a0b\tc\u200bd abcabc ababc", "a b c ##d ab ##c ##abc ab ##abc", "a b cd abcabc ababc"),
    ("do not", "do not", "do not"),
    ("", "", ""),
]


@pytest.fixture(scope="module")
def tokenizer():
    return WordPieceTokenizer(VOCABULARY)


@pytest.mark.parametrize(("text", "pieces", "back"), REFERENCE)
def test_bert_writes_the_same(tokenizer, text, pieces, back):
    [ids] = tokenizer.encode_batch([text])
    assert [VOCABULARY[i] for i in ids] == pieces.split()
    assert tokenizer.decode(ids) == back
    assert tokenizer.decode_in_graph(np.array([[*ids, -1]], np.int32)).numpy()[0].decode() == back


def test_pieces(tokenizer):
    by_piece = dict(zip(VOCABULARY, zip(tokenizer.pieces, tokenizer.starts_word, strict=True), strict=True))
    assert by_piece["ab"] == (" ab", True)
    assert by_piece["##ab"] == ("ab", False)
    assert by_piece["."] == (".", False)
    assert by_piece["[CLS]"] == ("", False)


def test_out_of_vocabulary(tokenizer):
    assert tokenizer.out_of_vocabulary("ab xa") == ["x"]
    assert tokenizer.out_of_vocabulary("ab") == []
    assert tokenizer.out_of_vocabulary("a é e aé") == ["e", "é"]
    with pytest.raises(UserError, match="'x' of 'ab xa'"):
        tokenizer.encode("ab xa")


def test_config_and_files(tokenizer, tmp_path):
    again = tokenizer_from_config(json.loads(json.dumps(tokenizer.get_config())))
    assert again.pieces == tokenizer.pieces
    for name, content in tokenizer.files().items():
        (tmp_path / name).write_bytes(content)
    assert read_tokenizer(tmp_path, "wpe").pieces == tokenizer.pieces


def test_only_ends_of_lines_divide_a_vocabulary(tmp_path):
    lines = ["[UNK]", "a", "\u2028", "\x0c", "\x85", "##b"]
    for end in ("\n", "\r\n"):
        (tmp_path / "vocab.txt").write_bytes("".join(line + end for line in lines).encode())
        assert list(read_tokenizer(tmp_path, "wpe").vocabulary) == lines


@pytest.mark.parametrize(
    ("lines", "reason"),
    [([], "0 pieces"), (["[UNK]", "a", "a"], "'a' is there twice"), (["[UNK]", ""], "empty"), (["a"], r"\[UNK\]")],
)
def test_wrong_vocabularies(lines, reason):
    with pytest.raises(UserError, match=reason):
        WordPieceTokenizer(lines)

"""Binary files of KenLM (4cb443e): a `trie` gives the n-grams of its ARPA file, the others are refused."""

import base64
import zlib

import numpy as np
import pytest

from jasper_tf.errors import UserError
from jasper_tf.language_model.kenlm_binary import is_kenlm_binary
from jasper_tf.language_model.read_model import read_model

# `build_binary trie` and `build_binary probing` of the ARPA file with the n-grams below, zlib, base 85.
TRIE = (
    "c-qU&O)OBz$yLZGDJihh*U!#KO-##7%}LQq&d=3P&QD2INXswEO)OC;OD!tS%+FIW<zhg9274f}pAks>2Lg}?BUFYNOdhajf{KAKD~cRKEeNnc>4G}"
    "Ny_RjI41(F&moJHnvvcKq|5#i6AUm0Hbx3({(;p<e_k#!|BN%4QoVgE)yZ`JNA2{FG*chyy39eQWh0lQIHgu4gmi7+h-U(@G%hu1FxpO+uvKnLua3H"
    "CCh3qp1o6@{&I|iF#JBCCC8+{;kcqIb>)+I#e"
)
PROBING = (
    "c-qU&O)OBz$yLZGDJihh*U!#KO-##7%}LQq&d=3P&QD2INXswEO)OC;OD!tS%+FIW<zhg9274f}pAks>2Lg}?BUFYNOdhaD7Gp(`Lx?jV$rscq?zL<"
    "y1<MI$XJ5V~F3!%3rY@Orbx3({(;pTfn=9x0$J*it*-Q-hK*N3z0b<RXIdh+}u`!HqfA);ezF9LR?P2mD!10MGqh+J9Fi_48B;Hu`_CsxTP3ze+XZB("
    "<ee#iI=7RV8r+~}`sZsmV&iBW5VjfUGih7&UylguLn_?i=2NH=4hgUKH0O#LTiU"
)
NGRAMS = {
    ("<unk>",): (-1, 0),
    ("<s>",): (0, -0.3),
    ("</s>",): (-0.7, 0),
    ("a",): (-0.5, -0.2),
    ("é",): (-0.6, 0),
    ("<s>", "a"): (-0.1, 0),
    ("a", "é"): (-0.2, 0),
    ("a", "a"): (-0.3, -0.1),
    ("<s>", "a", "é"): (-0.05, 0),
}


@pytest.fixture
def binary(tmp_path):
    def write(content: bytes):
        (tmp_path / "lm.bin").write_bytes(content)
        return tmp_path / "lm.bin"

    return write


def unpacked(text):
    return zlib.decompress(base64.b85decode(text))


def test_a_trie_holds_the_ngrams(binary, rows):
    path = binary(unpacked(TRIE))
    assert is_kenlm_binary(path)
    assert rows(read_model(path)) == {words: pytest.approx(values) for words, values in NGRAMS.items()}


def test_hashes_cannot_be_turned_back(binary):
    with pytest.raises(UserError, match="probing hash tables") as caught:
        read_model(binary(unpacked(PROBING)))
    assert "ARPA" in str(caught.value)


def test_every_cut_is_refused(binary):
    content = unpacked(TRIE)
    for size in range(60, len(content) - 1, 7):
        with pytest.raises(UserError):
            read_model(binary(content[:size]))


def test_damage_is_refused_or_read_as_another_model(binary):
    content, rng = unpacked(TRIE), np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        damaged[rng.integers(40, len(content))] = rng.integers(0, 256)
        try:
            read_model(binary(bytes(damaged)))
        except UserError:
            refused += 1
    assert refused > 50


def test_a_file_that_did_not_finish(binary):
    with pytest.raises(UserError, match="unfinished"):
        read_model(binary(b"mmap lm http://kheafield.com/code incomplete\n" + bytes(200)))

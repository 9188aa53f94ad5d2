"""A SentencePiece tokenizer of each kind, trained in a moment."""

import io

import pytest
import sentencepiece

from jasper_tf.text.sentencepiece_tokenizer import SentencePieceTokenizer

TEXTS = ["the cat sat on the mat", "a cat and a bat", "the bat sat", "don't", "that hat", "one two three four"] * 4


def train(kind="bpe", vocab_size=40, **options):
    """Content of a `.model` file."""
    model = io.BytesIO()
    options = {"bos_id": -1, "eos_id": -1, "hard_vocab_limit": False, "minloglevel": 2, "num_threads": 1} | options
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=model, vocab_size=vocab_size, model_type=kind, **options
    )
    return model.getvalue()


@pytest.fixture(scope="session")
def trained():
    """`trained(kind, **options)`: content of a `.model` file."""
    return train


@pytest.fixture(scope="session")
def bpe():
    return SentencePieceTokenizer(train("bpe"))

"""The beam over a recording in parts."""

import numpy as np
import pytest
import tensorflow as tf

from jasper_tf.decoding.beam.beam_decoder import BeamDecoder
from jasper_tf.decoding.beam.stream import BeamStream
from jasper_tf.text.tokenizer import CharacterTokenizer

TOKENIZER = CharacterTokenizer(" abc")


def random_log_probs(seed, frames):
    """Frames of which most are quite sure, and many are blanks."""
    rng = np.random.default_rng(seed)
    best = rng.choice(5, size=frames, p=[0.1, 0.15, 0.1, 0.15, 0.5])
    logits = rng.normal(size=(frames, 5)) + rng.choice([3.0, 9.0], size=(frames, 1)) * np.eye(5)[best]
    return np.asarray(tf.nn.log_softmax(logits), np.float32)


def decode_parts(decoder, parts):
    stream = BeamStream(decoder)
    return sum([stream.push(part) for part in parts], []) + stream.finish()


@pytest.mark.medium
@pytest.mark.parametrize("settings", [{}, {"hot_words": {"abc": 3.0, "c ab": 2.0}, "blank_skip": 0.9}])
def test_parts_give_the_labels_of_the_whole_and_keep_little(settings):
    log_probs = random_log_probs(0, 1500)
    decoder = BeamDecoder(TOKENIZER, {"beam_size": 6, **settings})
    for size, length in ((1, 60), (40, 500)):
        whole = decoder(log_probs[None, :length], np.array([length])).best()
        parts = [log_probs[at : min(at + size, length)] for at in range(0, length, size)]
        expected = whole.labels[0, : int(whole.label_len[0])].numpy().tolist()
        assert decode_parts(decoder, parts) == expected

    stream, found, kept = BeamStream(decoder), 0, []
    for at in range(0, 1500, 40):
        found += len(stream.push(log_probs[at : at + 40]))
        kept.append(max(map(len, stream._open)))
    assert max(kept) <= 256 + 40 and found > 300


def test_space_at_the_end_is_no_part_of_the_text():
    probs = np.full((4, 5), 1e-4)
    probs[np.arange(4), [1, 0, 0, 4]] = 1.0
    log_probs = np.log(probs / probs.sum(-1, keepdims=True)).astype(np.float32)
    assert decode_parts(BeamDecoder(TOKENIZER, {}), log_probs[:, None]) == [1]

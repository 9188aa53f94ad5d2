"""The outputs of a recognizer: in NumPy they are those of the graph."""

import numpy as np
import pytest

from jasper_tf.config.sections.decoding_schema import BeamConfig
from jasper_tf.decoding.beam.beam_decoder import BeamDecoder
from jasper_tf.decoding.greedy.greedy_decoder import GreedyDecoder
from jasper_tf.decoding.outputs import TextOutputs, text_outputs
from jasper_tf.text.tokenizer import CharacterTokenizer

TOKENIZER = CharacterTokenizer("ab ")
SHAPES = [(1, 9), (4, 30), (2, 1), (3, 30)]


@pytest.mark.parametrize("words", [True, False])
@pytest.mark.parametrize("n_best", [None, 1, 3])
def test_arrays_are_those_of_the_graph(n_best, words):
    decoder = GreedyDecoder() if n_best is None else BeamDecoder(TOKENIZER, BeamConfig(beam_size=4, n_best=n_best))
    outputs = TextOutputs(TOKENIZER, 0.02)
    rng = np.random.default_rng(1)
    for batch, frames in SHAPES:
        logits = rng.normal(size=(batch, frames, 4)).astype(np.float32) * 3
        lengths = rng.integers(0, frames + 1, batch).astype(np.int32)
        wanted = text_outputs(decoder(logits, lengths), TOKENIZER, 0.02, "min", words)
        found = outputs(decoder.decode(logits, lengths), "min", words)
        assert found.keys() == wanted.keys() and ("n_best_text" in found) == (n_best == 3)
        for name, value in wanted.items():
            assert found[name].dtype == np.asarray(value).dtype
            if found[name].dtype == np.float32:
                np.testing.assert_allclose(found[name], value, rtol=1e-6, err_msg=name)
            else:
                np.testing.assert_array_equal(found[name], np.asarray(value), name)

"""The search of decoding weights."""

import numpy as np
import pytest

from jasper_tf.config.sections.decoding_schema import BeamConfig
from jasper_tf.decoding.beam.beam_decoder import BeamDecoder
from jasper_tf.decoding.beam.language_model import LanguageModel
from jasper_tf.metrics.error_rate import ErrorCounts, wer
from jasper_tf.text.tokenizer import CharacterTokenizer
from jasper_tf.tuning.decoding_search import DecodingSearch, Grid, Outcome, Setting
from jasper_tf.tuning.log_prob_file import LogProbFile

TOKENIZER = CharacterTokenizer(list(" abct"))
ARPA = """\\data\\
ngram 1=5

\\1-grams:
-1.0\t<unk>
-99\t<s>
-0.7\t</s>
-2.5\tcab
-0.2\tcat

\\end\\
"""


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    file = tmp_path_factory.mktemp("lm") / "lm.arpa"
    file.write_text(ARPA)
    return LanguageModel.read(file, TOKENIZER)


def frames(text, doubt=0.0):
    """Log-probabilities that write the text, in which a t may be a b, and a b a t: of the probability `doubt`."""
    probs = np.full((2 * len(text) + 1, len(TOKENIZER) + 1), 1e-4)
    probs[:, -1] = 1.0
    for i, label in enumerate(TOKENIZER.encode(text)):
        probs[2 * i + 1, -1] = 1e-4
        probs[2 * i + 1, label] = 1.0
        if text[i] in "bt":
            other = TOKENIZER.encode("t" if text[i] == "b" else "b")[0]
            probs[2 * i + 1, [label, other]] = [1 - doubt, doubt + 1e-4]
    return np.log(probs / probs.sum(axis=1, keepdims=True))


@pytest.fixture
def log_probs():
    found = LogProbFile(len(TOKENIZER) + 1)
    for text, doubt in (("cab cab", 0.4), ("cab", 0.45), ("cat", 0.0), ("cab cab cab", 0.4)):
        found.append(frames(text, doubt))
    return found


def test_batches_hold_every_recording_once_the_longest_first(log_probs):
    batches = list(log_probs.batches(3))
    assert [numbers for numbers, _, _ in batches] == [[3, 0, 1], [2]]
    assert [batch.shape for _, batch, _ in batches] == [(3, 23, 6), (1, 7, 6)]
    _, batch, logit_len = batches[0]
    assert logit_len.tolist() == [23, 15, 7] and not batch[2, 7:].any()
    np.testing.assert_allclose(batch[2, :7], frames("cab", 0.45), rtol=1e-3)
    assert log_probs.size == 2 * 6 * (23 + 15 + 7 + 7)


def test_an_empty_recording_and_none():
    found = LogProbFile(4)
    assert list(found.batches(2)) == []
    found.append(np.zeros((0, 4)))
    [(numbers, batch, logit_len)] = found.batches(2)
    assert (numbers, batch.shape, logit_len.tolist()) == ([0], (1, 0, 4), [0])


@pytest.mark.medium
def test_each_setting_has_the_errors_of_its_decoder(log_probs, language_model):
    references = ["cat cat", "cat", "cat", "cat cat cat"]
    search = DecodingSearch(log_probs, references, TOKENIZER, BeamConfig(), language_model, batch_size=3)
    for alpha in (0.0, 1.0):
        config = BeamConfig(ngram_lm_alpha=alpha, beam_beta=0.5, beam_size=4, token_min_logp=-6.0)
        decoder = BeamDecoder(TOKENIZER, config, language_model)
        texts = [""] * 4
        for numbers, batch, logit_len in log_probs.batches(1):
            texts[numbers[0]] = TOKENIZER.decode(decoder(batch, logit_len).best().labels.numpy()[0])
        found = search.try_setting(Setting(alpha, 0.5, 4, -6.0))
        assert found.words.rate == wer(references, texts)
        assert found.characters.reference == sum(map(len, references))
    assert search.outcomes[Setting(0.0, 0.5, 4, -6.0)].words.errors == 6
    assert search.outcomes[Setting(1.0, 0.5, 4, -6.0)].words.errors == 0
    assert search.best.alpha == 1.0


class Landscape(DecodingSearch):
    """Errors that are a function of the setting; nothing is decoded."""

    def __init__(self, errors, language_model):
        super().__init__(LogProbFile(2), [], TOKENIZER, BeamConfig(), language_model)
        self.errors = errors

    def try_setting(self, setting):
        words = ErrorCounts(substitutions=round(1000 * self.errors(setting)), hits=10**6)
        return self.outcomes.setdefault(setting, Outcome(words, words, 0.0))


def test_the_own_grid_is_refined_and_grows(language_model):
    search = Landscape(lambda one: (one.alpha - 1.9) ** 2 + (one.beta - 0.6) ** 2, language_model)
    best = search.search(Grid())
    assert abs(best.alpha - 1.9) <= 0.25 and abs(best.beta - 0.6) <= 0.3
    assert search.edges == [] and len(search.outcomes) < 50
    assert (best.beam_size, best.floor) == (16, -5.0)  # the first of those that are as good

    search = Landscape(lambda one: -one.alpha - one.beta, language_model)
    search.search(Grid())
    assert search.edges == ["alpha", "beta"]


def test_a_given_grid_is_tried_as_it_is(language_model):
    search = Landscape(lambda one: abs(one.alpha - 2) + 1 / one.beam_size - one.floor, language_model)
    best = search.search(Grid([0.5, 1.0], [0.0, 2.0], [8, 4], [-6.0, -2.0, -1.0]))
    pairs = {(one.alpha, one.beta) for one in search.outcomes}
    assert pairs == {(0.5, 0.0), (0.5, 2.0), (1.0, 0.0), (1.0, 2.0)}
    assert best == Setting(1.0, 0.0, 8, -1.0)
    assert search.edges == ["alpha", "beta", "beam_size", "floor"]
    search = Landscape(lambda one: 0.0, language_model)
    assert search.search(Grid([2.0, 0.0, 0.5], [-1.0, 0.5])) == Setting(0.0, 0.5, 16, -5.0)
    assert len(search.outcomes) == search.plan(Grid([2.0, 0.0, 0.5], [-1.0, 0.5]))

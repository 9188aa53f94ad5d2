"""What the client of a live stream asks for."""

import pytest

from jasper_tf.serving.http.api_error import ApiError
from jasper_tf.serving.http.live.live_settings import LiveSettings

START = {"sample_rate": 16000}


def test_the_weight_of_hot_words_needs_no_decoder_of_its_own():
    settings = LiveSettings.read({**START, "hot_words": ["one", "two words"], "hot_word_weight": 5})
    assert settings.hot_words == {"one": 5, "two words": 5}
    assert settings.needs_beam and settings.overrides == []


@pytest.mark.parametrize("given", [{}, {"hot_words": {"one": 3}}])
def test_a_weight_without_such_hot_words(given):
    with pytest.raises(ApiError) as error:
        LiveSettings.read({**START, **given, "hot_word_weight": 5})
    assert error.value.param == "hot_word_weight"


@pytest.mark.parametrize("words", [[1], [{"one": 3}], [["one"]], 3])
def test_hot_words_that_are_no_words(words):
    with pytest.raises(ApiError) as error:
        LiveSettings.read({**START, "hot_words": words, "hot_word_weight": 5})
    assert error.value.param == "hot_words"


def test_decoding():
    weights = {"a.b": 3.0, "two words": -1.0}
    decoding = {"strategy": "beam", "beam": {"beam_size": 8, "hot_words": weights}}
    strategy, size, hot_words = LiveSettings.read({**START, "decoding": decoding}).overrides
    assert (strategy, size) == ('decoding.strategy="beam"', "decoding.beam.beam_size=8")
    assert hot_words == 'decoding.beam.hot_words={"a.b": 3.0, "two words": -1.0}'

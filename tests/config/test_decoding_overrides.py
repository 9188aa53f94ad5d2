"""The decoding section as a call or a command gives it."""

import pytest

from jasper_tf.config.decoding_overrides import override_decoding, read_decoding
from jasper_tf.config.sections.decoding_schema import DecodingConfig
from jasper_tf.errors import UserError


def test_read():
    config = read_decoding({"strategy": "beam", "beam": {"beam_size": 3, "hot_words": {"jasper": 8}}})
    assert (config.strategy, config.beam.beam_size, config.beam.hot_words) == ("beam", 3, {"jasper": 8})
    assert read_decoding(config) is config and read_decoding({}) == DecodingConfig()


def test_overrides_change_only_what_they_name():
    own = read_decoding({"beam": {"beam_size": 3}, "confidence_cfg": {"preserve_word_confidence": True}})
    found = override_decoding(own, ["decoding.strategy=beam", "decoding.beam.ngram_lm_alpha=1e-1"])
    assert (found.strategy, found.beam.beam_size, found.beam.alpha) == ("beam", 3, 0.1)
    assert found.confidence_cfg == own.confidence_cfg and own.is_greedy
    assert override_decoding(own, ["model.decoding.strategy=beam", "model.decoding.beam.ngram_lm_alpha=1e-1"]) == found
    assert override_decoding(own, []) == own


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["decoding.beam.bem_size=3"],
            "decoding.beam.bem_size: unknown key; nearest known key: decoding.beam.beam_s",
        ),
        (["decoding.beam.beam_size=0"], "decoding.beam.beam_size: "),
        (["decoding.strategy=beem"], "decoding.strategy: "),
        (["decoding.beam.beam_size=8"], "decoding.beam.beam_size: is for the beam search; add decoding.strategy=beam"),
        (["model.optim.lr=1"], "'model.optim.lr=1' is not an override"),
        (["decoding=beam"], "'decoding=beam' is not an override"),
    ],
)
def test_wrong_overrides(overrides, said):
    with pytest.raises(UserError) as caught:
        override_decoding(DecodingConfig(), overrides)
    assert str(caught.value).startswith("command line: ") and said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_values():
    for values in ({"strategy": "beam", "beam": {"beam_size": "wide"}}, {"stratgy": "beam"}, {"beam": 3}):
        with pytest.raises(UserError, match="^decoding: decoding."):
            read_decoding(values)

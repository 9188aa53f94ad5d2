"""The fields of a transcription, in all the ways that clients write them."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import FormData, UploadFile

from jasper_tf.serving.http.api_error import ApiError
from jasper_tf.serving.http.openai.transcription_form import TranscriptionForm


def read(*fields):
    upload = UploadFile(io.BytesIO(b"x"), size=1, filename="a.wav")
    return TranscriptionForm.read(FormData([("file", upload), *fields]))


@pytest.mark.parametrize(
    ("fields", "hot_words"),
    [
        ([], None),
        ([("hot_words", "")], None),
        ([("hot_words", "one, two words\nthree")], ["one", "two words", "three"]),
        ([("hot_words[]", "one"), ("hot_words[]", "two words")], ["one", "two words"]),
        ([("keywords[]", "one"), ("hot_words", "two")], ["two", "one"]),
        ([("hot_words", '["one", "a, b"]')], ["one", "a, b"]),
        ([("hot_words", '{"one": 3, "two": -1.5}')], {"one": 3, "two": -1.5}),
        ([("hot_words[one]", "3"), ("hot_words[two words]", "-1.5")], {"one": 3, "two words": -1.5}),
        ([("hot_words", "one,two"), ("hot_word_weight", "5")], {"one": 5, "two": 5}),
    ],
)
def test_hot_words(fields, hot_words):
    form = read(*fields)
    assert form.hot_words == hot_words
    assert form.needs_beam == bool(hot_words)


@pytest.mark.parametrize(
    "fields",
    [
        [("decoding", '{"strategy": "beam", "beam": {"beam_size": 8}}')],
        [("decoding", "strategy=beam\nbeam.beam_size=8")],
        [("decoding", "decoding.strategy=beam"), ("decoding", "decoding.beam.beam_size=8")],
        [("decoding[strategy]", "beam"), ("decoding[beam][beam_size]", "8")],
    ],
)
def test_decoding(fields):
    found = [override.replace('"', "") for override in read(*fields).overrides]
    assert found == ["decoding.strategy=beam", "decoding.beam.beam_size=8"]


def test_defaults():
    form = read(("model", "whisper-1"), ("prompt", "x"), ("chunking_strategy", "auto"))
    assert (form.response_format, form.stream, form.segments, form.words, form.logprobs) == (
        "json",
        False,
        True,
        False,
        False,
    )
    assert not form.overrides and not form.needs_beam


def test_an_unknown_field_is_named_with_the_nearest():
    with pytest.raises(ApiError) as error:
        read(("hotwords", "x"))
    assert error.value.param == "hotwords" and "hot_words" in str(error.value)


@pytest.mark.parametrize("hot_words", ["[1]", '[{"one": 3}]', '[["one"]]'])
def test_hot_words_that_are_no_words(hot_words):
    with pytest.raises(ApiError) as error:
        read(("hot_words", hot_words), ("hot_word_weight", "5"))
    assert error.value.param == "hot_words"


NAMES = ["decoding", "decoding[a]", "hot_words", "hot_words[]", "hot_words[a]", "n_best", "temperature", "stream"]


VALUES = st.text() | st.sampled_from(["[1]", '{"a": {}}', "1e999"])


@given(st.lists(st.tuples(st.sampled_from(NAMES) | st.text(), VALUES)))
def test_whatever_comes_is_read_or_refused(fields):
    try:
        read(*fields)
    except ApiError as error:
        assert error.status == 400 and "\n" not in str(error)

"""The official client of OpenAI against a real server: every answer is what `transcribe` gives."""

import httpx
import pytest

from jasper_tf.inference.subtitles import format_transcript

openai = pytest.importorskip("openai", reason="needs the package openai")
pytestmark = pytest.mark.medium


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(
        base_url=f"{server.url}/v1", api_key="any", max_retries=0, http_client=httpx.Client(trust_env=False)
    )


@pytest.fixture(scope="module")
def create(client, recordings):
    def create(name, **arguments):
        arguments = {"model": "whisper-1", **arguments}
        return client.audio.transcriptions.create(file=(name, recordings[name]), **arguments)

    return create


def test_json_of_all_recordings(create, expected):
    for name, transcript in expected.items():
        assert create(name).text == transcript.text


def test_all_fields_that_the_client_knows(create, expected):
    found = create(
        "2.wav",
        chunking_strategy={"type": "server_vad", "threshold": 0.5},
        include=["logprobs"],
        language="en",
        prompt="a prompt",
        temperature=0.5,
        response_format="json",
        extra_body={"languages": ["en", "de"]},
    )
    words = expected["2.wav"].words
    assert found.text == expected["2.wav"].text
    assert "".join(one.token for one in found.logprobs) == found.text
    assert [bytes(map(int, one.bytes)).decode() for one in found.logprobs] == [one.token for one in found.logprobs]
    assert len(found.logprobs) == len(words) and all(one.logprob <= 0 for one in found.logprobs)


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_subtitles(create, expected, form):
    assert create("4.wav", response_format=form) == format_transcript(expected["4.wav"], form)


def test_text(create, expected):
    assert create("3.wav", response_format="text") == expected["3.wav"].text + "\n"


def test_verbose_json(create, expected):
    found = create("5.wav", response_format="verbose_json", language="en", temperature=0.25)
    transcript = expected["5.wav"]
    assert found.task == "transcribe" and found.language == "en" and found.usage.seconds == 4
    assert found.text == transcript.text
    assert found.duration == pytest.approx(4.0)
    assert found.words is None
    assert [one.text for one in found.segments] == [one.text for one in transcript.segments]
    for number, (one, segment) in enumerate(zip(found.segments, transcript.segments, strict=True)):
        assert one.id == number and one.temperature == 0.25
        assert (one.start, one.end) == pytest.approx((segment.start_s, segment.end_s), abs=1e-3)
        assert one.avg_logprob < 0 and one.compression_ratio > 0 and one.no_speech_prob == 0
        assert len(one.tokens) == len(one.text) and one.seek == round(100 * one.start)


def test_words(create, expected):
    found = create("5.wav", response_format="verbose_json", timestamp_granularities=["word"])
    assert found.segments is None
    assert [one.word for one in found.words] == [one.text for one in expected["5.wav"].words]
    for one, word in zip(found.words, expected["5.wav"].words, strict=True):
        assert (one.start, one.end) == pytest.approx((word.start_s, word.end_s), abs=1e-3)
    both = create("5.wav", response_format="verbose_json", timestamp_granularities=["word", "segment"])
    assert both.words == found.words and both.segments


def test_stream(create, expected):
    events = list(create("1.wav", stream=True))
    assert [one.type for one in events] == ["transcript.text.delta", "transcript.text.done"]
    assert events[0].delta == events[1].text == expected["1.wav"].text


def test_a_long_recording_streams_words_as_they_are_settled(create, client, server, http_model):
    from jasper_tf.inference.long_audio import Chunking
    from jasper_tf.inference.transcriber import Transcriber
    from tests.serving.http.conftest import as_wav, noise

    content = as_wav(noise(50, 45.0))
    text = Transcriber(http_model, Chunking(10, 2)).transcribe(content).text
    stream = client.audio.transcriptions.create(file=("long.wav", content), model="", stream=True)
    *deltas, done = stream
    assert done.text == text
    assert "".join(one.delta for one in deltas) == text
    assert len(deltas) > 1


def test_own_fields(create, http_model, recordings):
    decoding = {"strategy": "beam", "beam": {"n_best": 3, "beam_size": 8}}
    best = http_model.transcribe(recordings["0.wav"], decoding=decoding, hot_words={"zebra": 2.0})
    fields = {"n_best": 3, "decoding": {"beam": {"beam_size": 8}}, "hot_words": {"zebra": 2.0}}
    for found in (
        create("0.wav", extra_body=fields),
        create("0.wav", extra_body={**fields, "hot_words": ["zebra"], "hot_word_weight": 2}),
    ):
        assert found.text == best.text
        assert [one["text"] for one in found.n_best] == [one.text for one in best.n_best]


def test_models(client):
    [only] = client.models.list().data
    assert only.id == "tiny" == client.models.retrieve("tiny").id
    with pytest.raises(openai.NotFoundError) as error:
        client.models.retrieve("whisper-1")
    assert error.value.code == "model_not_found"


def test_errors_are_those_of_the_client(create, client):
    with pytest.raises(openai.BadRequestError) as error:
        create("0.wav", temperature=1.5)
    assert (error.value.param, error.value.type, error.value.code) == (
        "temperature",
        "invalid_request_error",
        "invalid_value",
    )
    with pytest.warns(DeprecationWarning), pytest.raises(openai.BadRequestError) as error:
        client.audio.translations.create(file=("a.wav", b"x"), model="whisper-1")
    assert error.value.code == "unsupported_endpoint"
    with pytest.raises(openai.APIStatusError) as error:
        client.audio.transcriptions.create(file=("a.wav", b"no sound"), model="", stream=True)
    assert error.value.status_code == 415 and "a.wav" in str(error.value)

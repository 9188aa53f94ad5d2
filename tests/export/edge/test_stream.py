"""Exported steps give, chunk by chunk, the log-probabilities of the whole recording."""

import dataclasses
import functools
import itertools
import json
import shutil

import numpy as np
import pytest

from jasper_tf import Transcriber
from jasper_tf.errors import DataError, UserError
from jasper_tf.export.edge.calibration import CalibrationClip
from jasper_tf.export.edge.formats import FORMATS, EdgeJob, find_writer, open_model, open_stream
from jasper_tf.export.edge.model_info import read_model_info
from jasper_tf.export.edge.verification import verify_stream
from jasper_tf.export.edge.writer import export_edge
from jasper_tf.inference.load_model import load_recognizer
from jasper_tf.inference.streaming.buffered_log_probs import BufferedLogProbs
from jasper_tf.inference.streaming.start_stream import start_log_probs
from jasper_tf.inference.streaming.stateful_log_probs import StatefulLogProbs
from tests.export.edge.models import small_model, some_audio

_STEM = {"filters": 16, "repeat": 1, "kernel": [5], "stride": [2], "residual": False}
_LATE = [
    {**_STEM, "future_context": 3},
    {**_STEM, "stride": [1], "repeat": 2, "kernel": [7], "residual": True, "future_context": 6, "residual_dense": True},
    {**_STEM, "kernel": [3], "residual": True, "residual_mode": "stride_add", "stride_last": True, "separable": True},
    {**_STEM, "stride": [1], "kernel": [13], "separable": True, "dilation": [2], "future_context": 1},
]
MODELS = {
    "late": ("fixed", None, _LATE),
    "spliced": ("live", "separable", None),
    "maximum": ("not_normalized", "maximum", None),
    "groups": ("not_normalized", "groups", None),
}


def clips():
    return [CalibrationClip(row[:n], "a") for row, n in zip(*some_audio(), strict=True)]


@functools.cache
def make(name):
    """A model, and its log-probabilities of `some_audio`."""
    front_end, encoder, blocks = MODELS[name]
    model = small_model(front_end, encoder, blocks)
    return model, model.log_probs(*some_audio())


def write(model, format, folder, quantize="none"):
    folder.mkdir(exist_ok=True)
    find_writer(format)(EdgeJob(model, FORMATS[format], quantize, (), clips(), lambda line: None), folder)
    return open_model(folder / FORMATS[format].file, 1), open_stream(folder / FORMATS[format].stream_file, 1)


def in_steps(streaming, step, recordings, sizes):
    """Recordings in the rows of one batch, in chunks of `sizes` frames; no sample after an end is a number."""
    state = np.zeros((len(recordings), streaming.state_size), np.float32)
    found, position, sizes = [[] for _ in recordings], 0, itertools.cycle(sizes)
    while position <= max(map(len, recordings)) + streaming.flush_samples:
        samples = next(sizes) * streaming.frame_samples
        chunk = np.full((len(recordings), samples), np.nan, np.float32)
        lengths = np.zeros(len(recordings), np.int32)
        for row, recording in enumerate(recordings):
            part = recording[position : position + samples]
            chunk[row, : len(part)], lengths[row] = part, len(part)
        log_probs, frames, state = step(chunk, state, lengths)
        for rows, values, count in zip(found, log_probs, frames, strict=True):
            rows.append(values[:count])
        position += samples
    return [np.concatenate(rows) for rows in found]


@pytest.mark.parametrize("format", ["onnx", "litert"])
@pytest.mark.parametrize("name", MODELS)
def test_steps_give_the_frames_of_the_whole(name, format, tmp_path):
    model, (expected, frames) = make(name)
    _, stream = write(model, format, tmp_path)
    audio, audio_len = some_audio()
    recordings = [row[:n] for row, n in zip(audio, audio_len, strict=True)]
    for sizes in ([1], [7, 2]):  # all streams in one batch
        found = in_steps(model.streaming, stream.step, recordings, sizes)
        for row, values in enumerate(found):
            assert len(values) == frames[row]
            np.testing.assert_allclose(values, expected[row, : frames[row]], atol=5e-5)


@pytest.mark.parametrize("format", ["onnx", "litert"])
@pytest.mark.parametrize(("quantize", "atol"), [("float16", 1e-4), ("int8-static", 1e-4), ("int8-dynamic", 0.2)])
def test_other_precisions_are_those_of_the_whole(format, quantize, atol, tmp_path):
    model, (wanted, _) = make("late")
    whole, stream = write(model, format, tmp_path, quantize)
    recording = some_audio()[0][0]
    expected, frames = whole.log_probs(recording[None], np.array([len(recording)], np.int32))
    (found,) = in_steps(model.streaming, stream.step, [recording], [3])
    np.testing.assert_allclose(found, expected[0, : frames[0]], atol=atol)
    assert 1e-5 < np.abs(found - wanted[0, : frames[0]]).max()


@pytest.fixture(scope="module", params=["onnx", "litert"])
def exported(request, streaming_model, tmp_path_factory):
    lines = []
    folder = tmp_path_factory.mktemp("edge") / "edge"
    return export_edge(streaming_model, folder, request.param, say=lines.append), lines


def test_an_export_says_how_it_streams(streaming_model, exported):
    folder, lines = exported
    info = read_model_info(folder / "model.json")
    streaming, stream = streaming_model.streaming, info.stream
    for name in ("state_size", "frame_samples", "flush_samples", "lookahead_s"):
        assert getattr(stream, name) == getattr(streaming, name)
    assert stream.file in info.files and (folder / stream.file).exists()
    assert info.verification["stream"]["max_difference"] < 1e-4 and "live audio" in lines[-1]


def test_live_text_is_offline_text(exported):
    folder, _ = exported
    recognizer = load_recognizer(folder)
    assert isinstance(start_log_probs(recognizer, 4.8, 1.6, 1.6), StatefulLogProbs)
    rng = np.random.default_rng(2)
    audio = (rng.normal(size=31_111) * np.repeat(rng.uniform(0.01, 0.3, 12), 2600)[:31_111]).astype(np.float32)
    transcriber = Transcriber(recognizer)
    for parts in (1, 50):
        live = transcriber.stream(endpoint_s=0)
        updates = [update for part in np.array_split(audio, parts) for update in live.push(part)] + live.finish()
        words = [word.text for update in updates if update.kind == "final" for word in update.words]
        assert words == [word.text for word in transcriber.transcribe(audio).words] and words


@pytest.mark.parametrize("format", ["onnx", "litert"])
def test_a_model_that_needs_whole_recordings_has_no_steps(format, tmp_path):
    folder = export_edge(small_model(), tmp_path / "edge", format, say=lambda line: None)
    assert read_model_info(folder / "model.json").stream is None
    assert not [file for file in folder.iterdir() if "stream" in file.name]
    recognizer = load_recognizer(folder)
    assert isinstance(start_log_probs(recognizer, 4.8, 1.6, 1.6), BufferedLogProbs)
    with pytest.raises(UserError, match="whole recordings"):
        recognizer.compute_stream(None, None, None)


def test_what_is_wrong_is_named(exported, tmp_path):
    folder = shutil.copytree(exported[0], tmp_path / "edge")
    info = read_model_info(folder / "model.json")
    file, content = folder / info.stream.file, (folder / info.stream.file).read_bytes()
    given = np.zeros((1, info.stream.frame_samples), np.float32), np.array([1], np.int32)
    # The steps' file stands for its export.
    assert len(load_recognizer(file).log_probs(np.zeros((1, 20_000), np.float32), np.array([20_000]))[0])
    with pytest.raises(UserError, match=f"{file.name}: .* failed"):
        open_stream(file).step(given[0], np.zeros((1, 7), np.float32), given[1])
    for wrong in (content[:2000], (folder / info.file).read_bytes()):
        file.write_bytes(wrong)
        with pytest.raises(UserError, match=f"{file.name}: .*export it anew"):
            start_log_probs(load_recognizer(folder), 4.8, 1.6, 1.6).push(np.zeros(20_000, np.float32))
    for key, value in (
        ("state_size", 0),
        ("frame_samples", 1280),
        ("flush_samples", 1.5),
        ("flush_samples", 7),
        ("lookahead_s", "x"),
        ("file", "../x"),
        ("new", 1),
    ):
        about = json.loads((exported[0] / "model.json").read_text())
        about["stream"][key] = value
        (folder / "model.json").write_text(json.dumps(about))
        with pytest.raises(UserError, match="model.json"):
            read_model_info(folder / "model.json")


def test_an_export_with_other_steps_is_refused(exported):
    folder, _ = exported
    info = read_model_info(folder / "model.json")
    whole, stream = open_model(folder / info.file), open_stream(folder / info.stream.file)
    short = dataclasses.replace(info.stream, flush_samples=0)
    with pytest.raises(DataError, match="frames"):
        verify_stream(whole, stream, short, clips())

    class Other:
        def step(self, chunk, state, chunk_len):
            return stream.step(chunk * np.float32(1.5), state, chunk_len)

    assert verify_stream(whole, stream, info.stream, clips()).p99_difference < 1e-4
    assert verify_stream(whole, Other(), info.stream, clips()).p99_difference > 1e-2

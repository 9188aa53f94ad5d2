"""The signatures for live audio: together, the answers to a stream are those to its whole recording."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from jasper_tf.errors import UserError
from jasper_tf.export.saved_model.writer import EXTRA, export
from jasper_tf.inference.saved_model import SavedModelTranscriber
from jasper_tf.inference.streaming.buffered_log_probs import BufferedLogProbs
from jasper_tf.inference.streaming.start_stream import start_log_probs
from jasper_tf.inference.streaming.stateful_log_probs import StatefulLogProbs
from jasper_tf.inference.transcriber import Transcriber

pytestmark = pytest.mark.medium


@pytest.fixture(scope="module")
def exported(streaming_model, tmp_path_factory):
    return export(streaming_model, tmp_path_factory.mktemp("stream"))


@pytest.fixture(scope="module")
def signatures(exported):
    return tf.saved_model.load(str(exported)).signatures


def offline(model, sound):
    """Greedy text and log-probabilities [T',V+1] of a whole recording."""
    log_probs, frames = model.log_probs(sound[None], np.array([len(sound)], np.int32))
    return str(model.transcribe(sound)), log_probs[0, : frames[0]]


def requests_of(sound, samples, flush_samples):
    """Chunks and their lengths; the last one ends the stream."""
    found = []
    for first in range(0, len(sound) + 1, samples):
        part = sound[first : first + samples]
        chunk = np.full(samples if len(part) == samples else samples + flush_samples, np.nan, np.float32)
        chunk[: len(part)] = part
        found.append((chunk, len(part)))
    return found


def test_two_streams_in_one_batch(streaming_model, signatures, noises):
    """The second begins when the first is in its middle, and ends after it."""
    start = signatures["stream_start"](sample_rate=tf.constant([16000, 16000]))
    [samples, _], [flush, _] = start["frame_samples"].numpy(), start["flush_samples"].numpy()
    streaming = streaming_model.streaming
    assert (samples, flush) == (streaming.frame_samples, streaming.flush_samples)
    assert start["state"].shape == (2, streaming.state_size + 1) and not np.any(start["state"])
    sounds, size, late = noises, 7 * samples, 2
    texts, log_probs = ["", ""], [[], []]
    state = start["state"].numpy()
    silence = np.zeros(size, np.float32)
    for step in range(2 + max(len(sound) for sound in sounds) // size + -(-flush // size) + late):
        chunks, lengths = [], []
        for row, sound in enumerate(sounds):
            first = (step - late * row) * size
            part = sound[max(first, 0) : max(first + size, 0)]
            chunks.append(np.concatenate([part, silence[len(part) :]]))
            lengths.append(len(part))
        if step == late:
            state[1] = 0  # the row is taken by the second stream
        inputs = {"chunk": np.stack(chunks), "chunk_len": np.array(lengths, np.int32), "state": state}
        found = signatures["stream"](**{name: tf.constant(value) for name, value in inputs.items()})
        state = found["state"].numpy()
        for row in range(2):
            if step >= late * row:
                texts[row] += found["text"][row].numpy().decode()
                log_probs[row].append(found["log_probs"][row, : found["log_probs_len"][row]].numpy())
    for row, sound in enumerate(sounds):
        text, wanted = offline(streaming_model, sound)
        assert texts[row] == text and len(text) > 5
        np.testing.assert_allclose(np.concatenate(log_probs[row]), wanted, atol=1e-5)


ONLY_TENSORFLOW = """
import sys
import numpy as np, tensorflow as tf
signatures = tf.saved_model.load(sys.argv[1]).signatures
requests, texts = np.load(sys.argv[2]), []
state = signatures["stream_start"](sample_rate=tf.constant([16000]))["state"]
for number in range(len(requests.files) // 2):
    chunk, length = requests[f"chunk{number}"], requests[f"len{number}"]
    found = signatures["stream"](chunk=tf.constant(chunk[None]), chunk_len=tf.constant(length[None]), state=state)
    state = found["state"]
    texts.append(found["text"].numpy()[0].decode())
print("".join(texts) + "|")
assert not any(name.startswith("jasper_tf") for name in sys.modules)
"""


def test_a_process_that_knows_only_tensorflow(streaming_model, exported, noises, tmp_path):
    streaming = streaming_model.streaming
    requests = requests_of(noises[0], 10 * streaming.frame_samples, streaming.flush_samples)
    arrays = {f"chunk{number}": chunk for number, (chunk, _) in enumerate(requests)}
    arrays |= {f"len{number}": np.array(length, np.int32) for number, (_, length) in enumerate(requests)}
    np.savez(tmp_path / "requests.npz", **arrays)
    command = [sys.executable, "-c", ONLY_TENSORFLOW, str(exported), str(tmp_path / "requests.npz")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == offline(streaming_model, noises[0])[0] + "|"


@pytest.mark.slow
def test_a_process_of_its_own_for_each_step(streaming_model, exported, cpp_loader, noises, tmp_path):
    """Through the loader of TensorFlow Serving: nothing but the state goes from one to the next."""
    streaming = streaming_model.streaming
    state = np.zeros((1, streaming.state_size + 1), np.float32)
    text, log_probs = "", []
    for number, (chunk, length) in enumerate(requests_of(noises[1], 9000 // 640 * 640, streaming.flush_samples)):
        folder = tmp_path / str(number)
        folder.mkdir()
        inputs = {"chunk": chunk[None], "chunk_len": np.array([length], np.int32), "state": state}
        for name, value in inputs.items():
            (folder / f"{name}.in").write_bytes(tf.make_tensor_proto(value).SerializeToString())
        done = subprocess.run([cpp_loader, exported, "stream", folder], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0 and not (folder / "error").exists(), done.stderr[-3000:]
        found = {
            name: tf.make_ndarray(type(tf.make_tensor_proto(0)).FromString((folder / f"{name}.out").read_bytes()))
            for name in ("text", "log_probs", "log_probs_len", "state")
        }
        state = found["state"]
        text += found["text"][0].decode()
        log_probs.append(found["log_probs"][0, : found["log_probs_len"][0]])
    wanted_text, wanted = offline(streaming_model, noises[1])
    assert text == wanted_text
    np.testing.assert_allclose(np.concatenate(log_probs), wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"chunk": np.zeros((2, 100))}, r"chunk: must be a multiple of 640 samples, not\] \[100"),
        ({"chunk": np.zeros((2, 0))}, r"chunk: must be a multiple of 640 samples, not\] \[0"),
        ({"chunk_len": [640, 641]}, r"chunk_len\[1\]: is not between 0 and 640"),
        ({"chunk_len": [1, 2, 3]}, r"not the same number of rows:\] \[2\] \[3\] \[2"),
        ({"chunk": np.full((2, 640), [[0], [np.inf]])}, r"chunk\[1\]: holds samples that are not finite"),
        ({"state": np.nan}, r"state\[0\]: is not that of a stream"),
    ],
)
def test_impossible_input(signatures, change, why):
    width = signatures["stream"].structured_input_signature[1]["state"].shape[1]
    inputs = {"chunk": np.zeros((2, 640)), "chunk_len": [640, 640], "state": np.zeros((2, width))} | change
    inputs["state"] = np.broadcast_to(inputs["state"], (2, width))
    types = {"chunk": tf.float32, "chunk_len": tf.int32, "state": tf.float32}
    with pytest.raises(tf.errors.InvalidArgumentError, match=why):
        signatures["stream"](**{name: tf.constant(value, types[name]) for name, value in inputs.items()})


def test_another_rate(signatures):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"sample_rate\[1\]: the model hears 16000 Hz"):
        signatures["stream_start"](sample_rate=tf.constant([16000, 8000]))


def test_a_state_that_nobody_gave(signatures):
    """Whatever a client sends as state, the server answers, and with numbers."""
    width = signatures["stream"].structured_input_signature[1]["state"].shape[1]
    rng = np.random.default_rng(0)
    for scale in (1.0, 1e9, 1e30):
        state = tf.constant(rng.normal(scale=scale, size=(3, width)), tf.float32)
        inputs = {"chunk": tf.zeros((3, 1280)), "chunk_len": tf.constant([0, 7, 1280]), "state": state}
        found = signatures["stream"](**inputs)
        assert np.all(found["log_probs_len"].numpy() <= 2) and found["text"].shape == (3,)


def test_what_lies_beside(streaming_model, exported, signatures):
    about = json.loads((exported / EXTRA / "model.json").read_text())
    streaming = streaming_model.streaming
    assert about["stream"] == {
        "frame_samples": streaming.frame_samples,
        "flush_samples": streaming.flush_samples,
        "lookahead_s": streaming.lookahead_s,
    }
    log = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2", reason="needs tensorflow-serving-api")
    names = []
    for record in tf.data.TFRecordDataset(str(exported / EXTRA / "tf_serving_warmup_requests")).as_numpy_iterator():
        request = log.PredictionLog.FromString(record).predict_log.request
        inputs = {key: tf.constant(tf.make_ndarray(value)) for key, value in request.inputs.items()}
        assert signatures[request.model_spec.signature_name](**inputs)["text"].shape == (1,)
        names.append(request.model_spec.signature_name)
    assert names[-1] == "stream"


def test_it_transcribes_recordings_too(streaming_model, exported, noises):
    """Its operations are among those that are loaded (`validate_graph`)."""
    texts = [str(found) for found in SavedModelTranscriber(exported).transcribe(noises)]
    assert texts == [offline(streaming_model, sound)[0] for sound in noises]


def frames_of(stream, sound, parts=9):
    final = [stream.push(part)[0] for part in np.array_split(sound, parts)]
    return np.concatenate([*final, stream.finish()])


def test_an_export_says_live_what_it_says_of_the_whole(streaming_model, exported, noises):
    model = SavedModelTranscriber(exported)
    stream = start_log_probs(model, 4.8, 1.6, 1.6)
    assert type(stream) is StatefulLogProbs and stream.delay_s == StatefulLogProbs(streaming_model).delay_s
    np.testing.assert_allclose(frames_of(stream, noises[1]), offline(streaming_model, noises[1])[1], atol=1e-5)
    transcriber = Transcriber(model)
    live = transcriber.stream(endpoint_s=0)
    updates = [update for part in np.array_split(noises[0], 30) for update in live.push(part)] + live.finish()
    words = [word.text for update in updates if update.kind == "final" for word in update.words]
    assert words == [word.text for word in transcriber.transcribe(noises[0]).words] and words


def test_an_export_that_needs_whole_recordings_streams_by_windows(untrained_model, noises, tmp_path):
    trained = untrained_model(list(" abcdefghijklmnopqrstuvwxyz'"))
    model = SavedModelTranscriber(export(trained, tmp_path))
    assert type(start_log_probs(model, 4.8, 1.6, 1.6)) is BufferedLogProbs

    class OfAudio:
        """The model before its export, by the same windows."""

        tokenizer, sample_rate, frame_s = trained.tokenizer, trained.sample_rate, trained.frame_s
        log_probs = staticmethod(trained.log_probs)

    seconds = (0.5, 0.3, 0.2)
    found = frames_of(BufferedLogProbs(model, *seconds), noises[0])
    np.testing.assert_allclose(found, frames_of(BufferedLogProbs(OfAudio(), *seconds), noises[0]), atol=1e-4)
    transcriber = Transcriber(model)
    live = transcriber.stream(9.0, 1.0, 9.0, endpoint_s=0)
    updates = [*live.push(noises[0]), *live.finish()]
    assert " ".join(one.text for one in updates if one.kind == "final") == transcriber.transcribe(noises[0]).text != ""


@pytest.mark.parametrize(
    "change", [{"frame_samples": 641}, {"flush_samples": 0}, {"lookahead_s": None}, {"size": 1}], ids=str
)
def test_damaged_sizes(exported, tmp_path, change):
    folder = shutil.copytree(exported, tmp_path / "1")
    file = folder / EXTRA / "model.json"
    about = json.loads(file.read_text())
    about["stream"] |= change
    file.write_text(json.dumps(about))
    with pytest.raises(UserError, match=r"model\.json"):
        SavedModelTranscriber(folder)


def test_a_batchable_export_streams(streaming_model, tmp_path):
    found = tf.saved_model.load(str(export(streaming_model, tmp_path, batchable=True))).signatures
    assert {"stream", "stream_start"} <= set(found)
    for name in ("stream", "stream_start"):
        assert all(value.shape.rank >= 1 for value in found[name].structured_outputs.values())

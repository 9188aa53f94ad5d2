"""SavedModels that are damaged, or that would do more than to compute: refused in one line, and not loaded."""

import json
import random
import shutil

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from jasper_tf.errors import UserError
from jasper_tf.export.saved_model.writer import EXTRA, export
from jasper_tf.inference.saved_model import SavedModelTranscriber
from jasper_tf.inference.transcriber import Transcriber

pytestmark = pytest.mark.medium

VALUES = "variables/variables.data-00000-of-00001"
SOUND = [np.random.default_rng(0).normal(scale=0.1, size=8000).astype(np.float32)]


@pytest.fixture(scope="module")
def exported(untrained_model, tmp_path_factory):
    return export(untrained_model(list(" abc'")), tmp_path_factory.mktemp("exported"))


@pytest.fixture
def folder(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "model")


def refusal(folder, capfd):
    with pytest.raises(UserError) as error:
        Transcriber(SavedModelTranscriber(folder), words=False).transcribe(SOUND)
    line = str(error.value)
    assert line.startswith(str(folder)) and line.isprintable() and len(line) < len(str(folder)) + 500
    assert "Traceback" not in capfd.readouterr().err
    return line


@pytest.fixture
def rewritten(folder, capfd):
    """`rewritten(change)`: the error of the SavedModel after `change(its one graph)`."""

    def rewritten(change):
        file = folder / "saved_model.pb"
        saved = saved_model_pb2.SavedModel()
        saved.ParseFromString(file.read_bytes())
        change(saved.meta_graphs[0])
        file.write_bytes(saved.SerializeToString())
        return refusal(folder, capfd)

    return rewritten


def saver_function(graph, kind="restore"):
    return next(f for f in graph.graph_def.library.function if f"traced_{kind}" in f.signature.name)


def other_function(graph):
    return next(f for f in graph.graph_def.library.function if "traced" not in f.signature.name)


class Writes(tf.Module):
    """The signature of `export`, and a file as a side effect."""

    def __init__(self, file):
        super().__init__()
        self.file = str(file)
        self.weights = []

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32), tf.TensorSpec([None], tf.int32)])
    def text(self, audio, audio_len):
        tf.io.write_file(self.file, "written")
        return {"text": tf.fill([tf.shape(audio)[0]], "")}


def test_a_model_that_writes_a_file(exported, tmp_path, capfd):
    module = Writes(tmp_path / "written")
    tf.saved_model.save(module, str(tmp_path / "model"), signatures={"text": module.text})
    shutil.copytree(exported / EXTRA, tmp_path / "model" / EXTRA)
    line = refusal(tmp_path / "model", capfd)
    assert "is code" in line and "'WriteFile'" in line
    assert not (tmp_path / "written").exists()
    tf.saved_model.load(str(tmp_path / "model")).signatures["text"](audio=tf.zeros([1, 9]), audio_len=tf.constant([9]))
    assert (tmp_path / "written").exists()  # the attack is real


@pytest.mark.parametrize("operation", ["WriteFile", "ReadFile", "PyFunc", "EagerPyFunc", "PrintV2", "Abort", "SaveV2"])
def test_operations_by_name(rewritten, operation):
    def add(graph):
        graph.graph_def.node.add(name="harm", op=operation)

    line = rewritten(add)
    assert f"'{operation}'" in line and "harm of the main graph" in line


@pytest.mark.parametrize("operation", ["RestoreV2", "MergeV2Checkpoints", "AssignVariableOp", "ReadFile", "Unknown\n"])
def test_operations_in_functions(rewritten, operation):
    def add(graph):
        other_function(graph).node_def.add(name="harm", op=operation)

    assert repr(operation) in rewritten(add)


def test_a_function_of_the_saver_that_reads_files(rewritten):
    assert "'ReadFile'" in rewritten(lambda graph: saver_function(graph).node_def.add(name="harm", op="ReadFile"))


def call(graph, node):
    node.name, node.op = "harm", "StatefulPartitionedCall"
    node.attr["f"].func.name = saver_function(graph, "save").signature.name


def call_in_a_list(graph, node):
    node.name, node.op = "harm", "Case"
    node.attr["branches"].list.func.add(name="harmless").attr["f"].func.name = saver_function(graph).signature.name


def call_as_operation(graph, node):
    """TensorFlow calls a function whose name an operation has."""
    node.name, node.op = "harm", saver_function(graph).signature.name


@pytest.mark.parametrize("calling", [call, call_in_a_list, call_as_operation])
@pytest.mark.parametrize("inner", [False, True], ids=["main graph", "function"])
def test_the_saver_is_called_by_nothing_else(rewritten, calling, inner):
    def add(graph):
        calling(graph, other_function(graph).node_def.add() if inner else graph.graph_def.node.add())

    assert "is code" in rewritten(add)


def as_output(graph):
    graph.signature_def["text"].outputs["text"].name = graph.saver_def.save_tensor_name


def as_control_input(graph):
    graph.graph_def.node.add(name="harm", op="NoOp", input=[f"^{graph.saver_def.restore_op_name}"])


def as_initializer(graph):
    graph.collection_def["saved_model_main_op"].node_list.value.append(graph.saver_def.restore_op_name)


def as_concrete_function(graph):
    graph.object_graph_def.concrete_functions[saver_function(graph).signature.name].SetInParent()


def as_attribute(graph):
    other_function(graph).attr["harm"].func.name = saver_function(graph).signature.name


@pytest.mark.parametrize(
    "reach", [as_output, as_control_input, as_initializer, as_concrete_function, as_attribute], ids=lambda f: f.__name__
)
def test_the_saver_is_reached_by_nothing_else(rewritten, reach):
    assert "saver's function" in rewritten(reach)


def test_two_graphs(folder, capfd):
    content = (folder / "saved_model.pb").read_bytes()
    (folder / "saved_model.pb").write_bytes(content * 2)  # protobuf: the graphs of both
    assert "holds 2 graphs" in refusal(folder, capfd)


@pytest.mark.parametrize(
    "name", ["variables/variables.index", "variables/variables.data-00000-of-00001", f"{EXTRA}/model.json"]
)
def test_missing_files(folder, capfd, name):
    (folder / name).unlink()
    refusal(folder, capfd)


@pytest.mark.parametrize(
    "name",
    [
        "saved_model.pb",
        "fingerprint.pb",
        "variables/variables.index",
        VALUES,
        f"{EXTRA}/model.json",
    ],
)
@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_cut_off(folder, capfd, name, share):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: max(1, int(share * len(content)))])
    refusal(folder, capfd)


def test_flipped_bits_of_the_weights(folder, capfd):
    file = folder / VALUES
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    refusal(folder, capfd)


def test_flipped_bits_of_the_graph(folder, capfd):
    """Either it works, or it is refused in a line."""
    draw, file = random.Random(1), folder / "saved_model.pb"
    sound = file.read_bytes()
    for _ in range(12):
        content = bytearray(sound)
        for _ in range(4):
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        file.write_bytes(content)
        try:
            SavedModelTranscriber(folder).transcribe(SOUND)
        except UserError as error:
            assert str(error).isprintable()
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    "about",
    [
        b"",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        {"labels": "abc"},
        {"labels": [1]},
        {"sample_rate": "16000"},
        {"sample_rate": 0},
        {"frame_s": float("nan")},
        {"frame_s": True},
        {"frame_s": -1},
    ],
)
def test_what_it_says_of_itself(folder, capfd, about):
    file = folder / EXTRA / "model.json"
    sound = json.loads(file.read_text())
    file.write_bytes(about if isinstance(about, bytes) else json.dumps({**sound, **about}).encode())
    assert "model.json" in refusal(folder, capfd)


def test_what_it_says_of_itself_is_bounded(folder, capfd):
    file = folder / EXTRA / "model.json"
    file.write_bytes(file.read_bytes() + b" " * (1 << 24))
    assert "16,777,216 bytes" in refusal(folder, capfd)


def saved_with(folder, exported, function, inputs):
    module = tf.Module()
    module.weights = [tf.Variable(np.float32(1))]
    concrete = tf.function(function, input_signature=inputs).get_concrete_function()
    tf.saved_model.save(module, str(folder), signatures={"text": concrete})
    shutil.copytree(exported / EXTRA, folder / EXTRA)
    return folder


AUDIO = [tf.TensorSpec([None, None], tf.float32, name="audio"), tf.TensorSpec([None], tf.int32, name="audio_len")]


@pytest.mark.parametrize(
    ("function", "inputs", "word"),
    [
        (lambda audio, audio_len: {"text": tf.fill([tf.shape(audio)[0]], 1.0)}, AUDIO, "its signature"),
        (lambda audio, audio_len: {"texts": tf.fill([tf.shape(audio)[0]], "")}, AUDIO, "its signature"),
        (lambda audio: {"text": tf.fill([tf.shape(audio)[0]], "")}, AUDIO[:1], "its signature"),
        (lambda audio, audio_len: {"text": tf.fill([3], "")}, AUDIO, "3 texts for 1"),
        (lambda audio, audio_len: {"text": tf.fill([1], b"\xff")}, AUDIO, "failed"),
        (lambda audio, audio_len: {"text": tf.gather([""], audio_len)}, AUDIO, "failed"),
        (
            lambda audio, audio_len: {"text": tf.fill([1], "")},
            [tf.TensorSpec([None, None], tf.float64, name="audio"), AUDIO[1]],
            "its signature",
        ),
    ],
)
def test_signatures_of_another_kind(exported, tmp_path, capfd, function, inputs, word):
    assert word in refusal(saved_with(tmp_path / "model", exported, function, inputs), capfd)


def test_no_signature(folder, exported, tmp_path, capfd):
    module = tf.Module()
    module.weights = [tf.Variable(np.float32(1))]
    tf.saved_model.save(module, str(tmp_path / "other"))
    shutil.copytree(exported / EXTRA, tmp_path / "other" / EXTRA)
    assert "text" in refusal(tmp_path / "other", capfd)


def test_weights_that_are_not_finite(untrained_model, tmp_path, capfd):
    model = untrained_model(list(" ab"))
    model.decoder.weights[1].assign([np.nan] * 4)
    assert "NaN" in refusal(export(model, tmp_path / "model"), capfd)

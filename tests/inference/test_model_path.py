"""What is said of a path that is not a model: one line that names what it is and what is needed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from jasper_tf import load_config
from jasper_tf.__main__ import main
from jasper_tf.errors import UserError
from jasper_tf.export.saved_model.writer import export
from jasper_tf.inference.load_model import load_model, load_recognizer
from jasper_tf.inference.model_path import describe_path, find_model_file

ROOT = Path(__file__).parents[2]
SMALL_RUN = ROOT / "tests" / "golden" / "begun_run" / "begun"


@pytest.fixture(scope="module")
def places(tmp_path_factory, untrained_model):
    """Paths that users give as a model."""
    folder = tmp_path_factory.mktemp("places")
    for name in ("an4", "demo"):
        shutil.copytree(SMALL_RUN, folder / "runs" / name)
    shutil.copytree(SMALL_RUN, folder / "begun", ignore=shutil.ignore_patterns("model.keras"))
    (folder / "tuned" / "search" / "trial_0000").mkdir(parents=True)
    shutil.copy(SMALL_RUN / "model.keras", folder / "tuned" / "search" / "trial_0000")
    (folder / "empty").mkdir()
    (folder / "shards").mkdir()
    (folder / "shards" / "00000-of-00001.tfrecord").write_bytes(b"")
    (folder / "notes").mkdir()
    (folder / "notes" / "a.md").write_text("# A model\n")
    (folder / "an4.yaml").write_text("model: {}\n")
    (folder / "readme.txt").write_text("über\n")
    (folder / "test.json").write_text("{}\n")
    (folder / "nothing.h5").write_bytes(b"")
    (folder / "noise.bin").write_bytes(bytes(range(256)))
    soundfile.write(folder / "a.wav", np.zeros(160), 16000)
    export(untrained_model(list(" ab")), folder / "exported" / "an4")
    return folder


PLACES = [
    ("runs", "runs/an4", "runs/demo"),
    ("tuned/search", "trial_0000"),
    ("tuned", "trial_0000"),
    ("begun", "no validation has finished"),
    ("runs/an4/checkpoints", "checkpoints", "runs/an4"),
    ("runs/an4/checkpoints/step=00000004-val_wer=1.7500", "checkpoints", "runs/an4"),
    ("runs/an4/config.yaml", "configuration", "runs/an4"),
    ("empty", "an empty folder"),
    ("shards", "shards"),
    ("notes", "a folder without a model"),
    ("notes/a.md", "Markdown"),
    ("an4.yaml", "a configuration"),
    ("readme.txt", "a text file"),
    ("test.json", "JSON"),
    ("nothing.h5", "an empty file"),
    ("noise.bin", "not a model"),
    ("a.wav", "a recording"),
    ("exported", "exported/an4"),
    ("runs/an", "no such file or folder", "runs/an4"),
    ("x" * 300, "no such file or folder"),
]


@pytest.mark.parametrize(("name", "words"), [(name, words) for name, *words in PLACES])
@pytest.mark.parametrize("load", [load_model, load_recognizer])
def test_one_line_says_what_it_is_and_what_is_needed(places, name, words, load):
    with pytest.raises(UserError) as raised:
        load(places / name)
    line = str(raised.value)
    assert line.startswith(f"{places / name}: ") and line.isprintable() and "a run's folder" in line
    assert all(word in line for word in words), line
    assert ("export.py" in line.rpartition("; give")[2]) == (load is load_recognizer)


def test_an_exported_folder_where_a_keras_model_is_needed(places):
    for path in (places / "exported" / "an4", places / "exported" / "an4" / "1"):
        with pytest.raises(UserError, match="SavedModel"):
            load_model(path)
        assert load_recognizer(path).sample_rate == 16000


def test_what_may_be_a_model_is_left_to_its_reader(places, tmp_path):
    for name in ("cut.keras", "cut.nemo"):
        (tmp_path / name).write_bytes(b"")
        assert find_model_file(tmp_path / name) == tmp_path / name
    assert find_model_file(places / "runs" / "an4") == places / "runs" / "an4" / "model.keras"


@pytest.mark.parametrize(
    "command",
    [
        ["transcribe", "--model", "runs", "a.wav"],
        ["evaluate", "--model", "runs", "--manifest", "good.jsonl"],
        ["export-nemo", "--model", "runs", "--output", "a.nemo"],
        ["average-checkpoints", "runs", "--output", "a.keras"],
    ],
)
def test_every_verb_names_the_runs_inside(places, command, capsys, monkeypatch):
    monkeypatch.chdir(places)
    (places / "good.jsonl").write_text('{"audio_filepath": "a.wav", "duration": 0.01, "text": "a"}\n')
    assert main(command) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("error: runs: ")
    assert "runs/an4" in err and "runs/demo" in err


def test_where_a_run_is_needed(places, untrained_model, tmp_path):
    untrained_model(list(" ab")).save(tmp_path / "model.keras")
    assert "a .keras" in describe_path(tmp_path / "model.keras") and "without the files" in describe_path(tmp_path)


def test_a_configuration_that_starts_from_no_model(places):
    with pytest.raises(UserError, match=r"init_from_pretrained_model: .*runs: .*runs/an4"):
        load_config(ROOT / "configs" / "finetune.yaml", [f"init_from_pretrained_model={places / 'runs'}"])


@pytest.mark.medium
def test_export_names_what_it_was_given(places):
    command = [sys.executable, str(ROOT / "export.py"), "exported/an4", "--output", "again"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=places, env=environment, capture_output=True, text=True, timeout=120)
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2 and done.stdout == "" and "exported/an4: a SavedModel" in line

"""The verbs import-nemo and export-nemo, and a .nemo wherever a model is asked for."""

import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from jasper_tf.__main__ import main
from jasper_tf.config import config_from_dict, load_config
from jasper_tf.interop.nemo.archive import read_archive, write_archive
from jasper_tf.interop.nemo.model import export_nemo
from jasper_tf.interop.nemo.torch_checkpoint import read_checkpoint
from jasper_tf.model.jasper_ctc import build_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """model.nemo and two sounds."""
    folder = tmp_path_factory.mktemp("nemo")
    block = {"filters": 24, "repeat": 1, "kernel": [11], "stride": [2], "dilation": [1], "dropout": 0.0}
    config = config_from_dict(
        {
            "name": "small",
            "model": {
                "labels": list(" abc"),
                "preprocessor": {},
                "encoder": {"feat_in": 64, "jasper": [{**block, "residual": False, "se": True}]},
                "decoder": {},
                "optim": {"lr": 0.01},
            },
        }
    )
    export_nemo(build_model(config), config, folder / "model.nemo")
    rng = np.random.default_rng(0)
    for k, seconds in enumerate((0.7, 1.1)):
        soundfile.write(folder / f"{k}.wav", rng.normal(scale=0.1, size=int(16000 * seconds)), 16000)
    return folder


@pytest.mark.medium
def test_import_use_and_export(folder, tmp_path, capfd):
    archive, made = str(folder / "model.nemo"), str(tmp_path / "made")
    assert main(["import-nemo", archive, "--output", made]) == 0
    out = capfd.readouterr().out.splitlines()
    tensors = read_checkpoint(read_archive(archive).weights, "w")
    assert [line.split()[0] for line in out[:-1]] == list(tensors)
    assert f"all {len(tensors)} tensors matched" in out[-1] and "modern" in out[-1]
    assert sorted(os.listdir(made)) == ["config.yaml", "model.keras"]
    assert load_config(tmp_path / "made" / "config.yaml").name == "model"

    sounds = [str(folder / f"{k}.wav") for k in range(2)]
    texts = []
    for model in (archive, made):
        assert main(["transcribe", "--model", model, *sounds]) == 0
        texts.append(capfd.readouterr().out)
    assert texts[0] == texts[1] and texts[0].count("\t") == 2

    manifest = tmp_path / "m.jsonl"
    lines = [{"audio_filepath": sounds[0], "duration": 0.7, "text": texts[0].splitlines()[0].partition("\t")[2]}]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["evaluate", "--model", archive, "--manifest", str(manifest)]) == 0
    assert "WER 0.00%" in capfd.readouterr().out

    for given, name in (([made], "a.nemo"), (["--model", archive], "b.nemo")):
        assert main(["export-nemo", *given, "--output", str(tmp_path / name)]) == 0
        assert capfd.readouterr().out.splitlines() == [str(tmp_path / name)]
        back = read_checkpoint(read_archive(tmp_path / name).weights, "w")
        assert set(back) == set(tensors)
        for key, array in back.items():
            np.testing.assert_array_equal(array, tensors[key])
    assert read_archive(tmp_path / "a.nemo").config == read_archive(tmp_path / "b.nemo").config


def test_legacy_features(folder, tmp_path, capfd):
    made = str(tmp_path / "made")
    assert main(["import-nemo", "--model", str(folder / "model.nemo"), "--output", made, "--features", "legacy"]) == 0
    assert load_config(tmp_path / "made" / "config.yaml").model.preprocessor.generation == "legacy"
    assert main(["export-nemo", "--model", made, "--output", str(tmp_path / "a.nemo")]) == 0
    assert "note: features are of the legacy generation" in capfd.readouterr().out


class Harmful:
    def __reduce__(self):
        return os.system, ("touch executed",)


def test_mistakes_leave_one_line_and_no_files(folder, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("weights", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"w": Harmful()}))
    config = read_archive(folder / "model.nemo").config.decode()
    write_archive("evil.nemo", config, (tmp_path / "weights").read_bytes())
    (tmp_path / "held").mkdir()
    (tmp_path / "held" / "config.yaml").write_text("mine")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    soundfile.write("x.wav", np.zeros(1600), 16000)
    before = sorted(os.listdir())
    good = str(folder / "model.nemo")
    for arguments, word in (
        (["import-nemo", "evil.nemo", "--output", "made"], "posix.system"),
        (["transcribe", "--model", "evil.nemo", "x.wav"], "posix.system"),
        (["import-nemo", "absent.nemo", "--output", "made"], "absent.nemo"),
        (["import-nemo", good, "--output", "held"], "held/config.yaml: exists already"),
        (["import-nemo", good, "--output", "run", "--overwrite"], "holds the checkpoints"),
        (["import-nemo", good, "--output", "weights"], "is a file"),
        (["export-nemo", "--model", "held", "--output", "a.nemo"], "without model.keras"),
        (["export-nemo", "--output", "a.nemo"], "no model"),
        (["import-nemo", good, "--model", good, "--output", "made"], "twice"),
        (["export-nemo", "--model", good, "--output", "no/such/a.nemo"], "cannot write"),
    ):
        assert main(arguments) == 2, arguments
        out, err = capfd.readouterr()
        assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and word in err, err
    assert sorted(os.listdir()) == before and (tmp_path / "held" / "config.yaml").read_text() == "mine"


def test_the_tokenizer_of_another_model_is_kept(tmp_path, capfd):
    archive = Path(__file__).parents[1] / "golden" / "unigram.nemo"
    mine = tmp_path / "run" / "tokenizer" / "tokenizer.model"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    assert main(["import-nemo", str(archive), "--output", str(tmp_path / "run")]) == 2
    assert "tokenizer.model: exists" in capfd.readouterr().err
    assert mine.read_text() == "mine" and not (tmp_path / "run" / "model.keras").exists()

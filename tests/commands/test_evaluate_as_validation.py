"""`evaluate` finds the error rates of a training's validation, however the audio is stored and read."""

import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from jasper_tf.__main__ import main
from jasper_tf.audio.load import load_audio
from jasper_tf.config import config_from_dict
from jasper_tf.data.storage.shard_plan import ShardSettings
from jasper_tf.data.storage.shard_writer import write_shards
from jasper_tf.model.jasper_ctc import JasperCTC, build_model
from jasper_tf.training.datasets import build_batches
from jasper_tf.training.loop import evaluate
from jasper_tf.training.trainer import compile_model

pytestmark = pytest.mark.medium

SECONDS = (0.7, 1.9, 1.3, 0.9, 1.6, 1.1)
BLOCK = {"filters": 24, "repeat": 1, "kernel": [11], "stride": [2], "dilation": [1], "dropout": 0.2, "residual": False}
MODEL = {
    "labels": list(" abcdefghijklmnopqrstuvwxyz'"),
    "preprocessor": {},
    "encoder": {"feat_in": 64, "jasper": [BLOCK]},
    "decoder": {},
    "optim": {"lr": 0.01},
}


@dataclass
class Corpus:
    """A folder of manifests with the same six texts, and the model."""

    folder: Path
    model: JasperCTC

    def config(self, **dataset):
        values = {"name": "validated", "seed": 3, "model": {**MODEL, "validation_ds": dataset}}
        return config_from_dict(values | {"trainer": {"max_epochs": 1}})

    def validate(self, **dataset):
        """What a training's validation finds, and a run's folder with that configuration."""
        cfg = self.config(**dataset)
        found = evaluate(self.model, build_batches(cfg, "validation_ds")[0])
        (self.folder / "run" / "config.yaml").write_text(yaml.safe_dump(cfg.to_dict()))
        return found


def write_lines(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Two channels of different noise with silence at both ends; one file has 8 kHz, and one holds two utterances."""
    folder = tmp_path_factory.mktemp("corpus")
    chance = np.random.default_rng(4)
    lines = []
    for k, seconds in enumerate(SECONDS):
        rate = 8000 if k == 2 else 16000
        audio = chance.normal(scale=0.1, size=(int(rate * seconds), 2))
        audio[: int(0.2 * rate)] = audio[-int(0.15 * rate) :] = 0
        soundfile.write(folder / f"stereo_{k}.flac", audio, rate)
        soundfile.write(folder / f"mono_{k}.flac", audio[:, 0], rate)
        lines.append({"audio_filepath": f"stereo_{k}.flac", "duration": seconds})
    lines[3:3] = [{**lines[1], "offset": 0.3, "duration": 0.65}, {**lines[1], "offset": 0.95, "duration": 0.9}]

    (folder / "run").mkdir()
    corpus = Corpus(folder, build_model(config_from_dict({"name": "validated", "seed": 3, "model": MODEL})))
    corpus.model.save(folder / "run" / "model.keras")
    compile_model(corpus.model, corpus.config(manifest_filepath="m.jsonl"), 1)
    # What the model recognizes in the mean of the channels, with an error: any other reading has more of them.
    sounds = [
        load_audio(folder / line["audio_filepath"], 16000, line.get("offset", 0), line["duration"]) for line in lines
    ]
    for line, text in zip(lines, corpus.model.transcribe(sounds, batch_size=1), strict=True):
        line["text"] = f"{text} a".strip()
    write_lines(folder / "stereo.jsonl", lines)
    mono = [{**line, "audio_filepath": line["audio_filepath"].replace("stereo", "mono")} for line in lines]
    write_lines(folder / "mono.jsonl", mono)
    write_shards(str(folder / "stereo.jsonl"), folder / "shards", ShardSettings())
    for shard in range(2):
        with tarfile.open(folder / f"audio_{shard}.tar", "w") as tar:
            for k in range(shard, len(SECONDS), 2):
                tar.add(folder / f"stereo_{k}.flac", arcname=f"stereo_{k}.flac")
    for line in lines:
        line["shard_id"] = int(line["audio_filepath"][len("stereo_")]) % 2
        if "offset" in line:
            line["audio_filepath"] = "stereo_1-sub1.flac"
    write_lines(folder / "tarred.jsonl", lines)
    return corpus


def run_evaluate(corpus, manifest, *options):
    report = corpus.folder / "report.json"
    command = ["evaluate", "--model", str(corpus.folder / "run"), "--manifest", str(corpus.folder / manifest)]
    assert main([*command, "--json", str(report), "--overwrite", *options]) == 0
    return json.loads(report.read_text())


CHANNEL_1 = {"channel_selector": 1}
TRIM = {"trim_silence": True}


@pytest.mark.parametrize(
    ("manifest", "settings", "batch_sizes"),
    [
        ("mono.jsonl", {}, (3, 16)),
        ("stereo.jsonl", {"channel_selector": "average"}, (8, 1)),
        ("stereo.jsonl", {}, (1, 3)),
        ("stereo.jsonl", CHANNEL_1, (3, 3)),
        ("stereo.jsonl", TRIM, (2, 8)),
        ("stereo.jsonl", CHANNEL_1 | TRIM, (8, 2)),
        ("tarred.jsonl", {}, (3, 16)),
        ("tarred.jsonl", CHANNEL_1 | TRIM, (3, 4)),
        ("shards", {}, (4, 3)),
        ("shards", TRIM, (3, 1)),
    ],
)
def test_the_rates_of_validation(corpus, manifest, settings, batch_sizes):
    options = ["--batch-size", str(batch_sizes[1])]
    dataset = {"manifest_filepath": str(corpus.folder / manifest), "batch_size": batch_sizes[0], **settings}
    if manifest == "tarred.jsonl":
        tars = f"{corpus.folder}/audio__OP_0..1_CL_.tar"
        dataset |= {"is_tarred": True, "tarred_audio_filepaths": tars}
        options += ["--tarred-audio-filepaths", tars]
    validated = corpus.validate(**dataset)
    report = run_evaluate(corpus, manifest, *options)
    assert report["utterances"] == len(SECONDS) + 2
    for key in ("wer", "cer", "insertions", "deletions", "substitutions"):
        assert report[key] == pytest.approx(validated[key], abs=1e-9), key
    is_mean_of_all = manifest != "mono.jsonl" and settings in ({}, {"channel_selector": "average"})
    assert (report["cer"] < 0.2) == is_mean_of_all, report["cer"]


def test_options_replace_the_settings_of_the_model(corpus, capfd):
    manifest = str(corpus.folder / "stereo.jsonl")
    wanted = corpus.validate(manifest_filepath=manifest, **CHANNEL_1 | TRIM)["wer"]
    corpus.validate(manifest_filepath=manifest)
    assert run_evaluate(corpus, "stereo.jsonl")["wer"] != pytest.approx(wanted)
    assert f"average, trim_silence false (model.validation_ds of {corpus.folder}" in capfd.readouterr().err
    report = run_evaluate(corpus, "stereo.jsonl", "--channel-selector", "1", "--trim-silence")
    assert report["wer"] == pytest.approx(wanted) and report["channel_selector"] == 1 and report["trim_silence"]
    corpus.validate(manifest_filepath=manifest, **TRIM)
    assert not run_evaluate(corpus, "stereo.jsonl", "--no-trim-silence")["trim_silence"]


def test_an_utterance_in_pieces_is_announced(corpus, capfd):
    corpus.validate(manifest_filepath=str(corpus.folder / "stereo.jsonl"))
    run_evaluate(corpus, "stereo.jsonl", "--chunk-s", "1.5")
    assert "2 utterances above 1.5 s" in capfd.readouterr().err


def test_a_recording_that_no_tar_file_holds(corpus, tmp_path, capfd):
    lines = (corpus.folder / "tarred.jsonl").read_text()
    manifest = tmp_path / "more.jsonl"
    absent = {"audio_filepath": "absent.flac", "duration": 1.0, "text": "a", "shard_id": 1}
    manifest.write_text(lines + json.dumps(absent) + "\n")
    command = ["evaluate", "--model", str(corpus.folder / "run"), "--manifest", str(manifest)]
    report = tmp_path / "report.json"
    tars = f"{corpus.folder}/audio_{{0..1}}.tar"
    assert main([*command, "--tarred-audio-filepaths", tars, "--json", str(report)]) == 1
    [error] = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "more.jsonl:9: absent.flac" in error
    found = json.loads(report.read_text())
    assert (found["utterances"], found["unreadable"]) == (len(SECONDS) + 2, 1)

import copy
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from jasper_tf.audio.silence import trim_silence
from jasper_tf.config import config_from_dict
from jasper_tf.data.augment import AudioAugmentor
from jasper_tf.data.storage.shard_plan import ShardSettings
from jasper_tf.data.storage.shard_writer import write_shards
from jasper_tf.errors import UserError
from jasper_tf.training.datasets import build_batches, build_dataset

RATE = 16000
BLOCK = {"filters": 8, "repeat": 1, "kernel": [11], "stride": [2], "dilation": [1], "dropout": 0.0, "residual": False}
VALUES = {
    "name": "small",
    "model": {
        "sample_rate": RATE,
        "labels": [" ", "a", "b", "c"],
        "preprocessor": {"features": 64, "pad_to": 16},
        "encoder": {"feat_in": 64, "jasper": [BLOCK]},
        "decoder": {"feat_in": 8, "num_classes": 4},
        "optim": {"lr": 0.01},
    },
    "trainer": {"max_epochs": 2},
    "seed": 11,
}


def write_manifest(folder, name, entries):
    """Entries (seconds, text); sound with a silent second half."""
    manifest = folder / f"{name}.jsonl"
    with open(manifest, "w") as lines:
        for number, (seconds, text) in enumerate(entries):
            audio = np.random.default_rng(number).uniform(-0.3, 0.3, round(seconds * RATE))
            audio[len(audio) // 2 :] = 0
            path = f"{name}-{number}.flac"
            soundfile.write(folder / path, audio, RATE)
            lines.write(json.dumps({"audio_filepath": path, "duration": seconds, "text": text}) + "\n")
    return str(manifest)


@pytest.fixture(scope="module")
def manifests(tmp_path_factory):
    folder = tmp_path_factory.mktemp("datasets")
    usual = [(0.5 + 0.1 * n, "abc"[n % 3] * (n % 4) + " b" * (n // 4)) for n in range(10)]
    return {
        "first": write_manifest(folder, "first", usual),
        "second": write_manifest(folder, "second", [(0.7, "a"), (0.8, "c a")]),
        # 0.2 s: 20 frames, 10 encoder frames; the text needs 11 frames.
        "infeasible": write_manifest(folder, "infeasible", [(0.2, "abcabcabcab"), (1.0, "abc")]),
        # 0.22 s: 11 encoder frames for a text that needs 11, but 10 at speed 1.1.
        "tight": write_manifest(folder, "tight", [(0.22, "abcabcabcab"), (1.0, "abc")]),
    }


def config(section="train_ds", preprocessor=None, **dataset):
    values = copy.deepcopy(VALUES)
    values["model"][section] = {"batch_size": 4, **dataset}
    values["model"]["preprocessor"] |= preprocessor or {}
    return config_from_dict(values)


def test_training_uses_every_setting(manifests):
    cfg = config(
        manifest_filepath=manifests["first"],
        shuffle=True,
        buckets=2,
        max_duration=1.25,
        trim_silence=True,
        augmentor={"speed": {"prob": 1.0}},
    )
    batches, selection = build_batches(cfg, "train_ds", parts=2)
    assert len(selection.utterances) == len(batches.utterances) == 8 and len(selection.dropped) == 2
    assert (batches.batch_size, batches.steps_per_epoch, batches.seed) == (8, 1, 11)
    assert batches.shuffle and batches.trim_silence and len(batches.buckets.samples) <= 2
    assert batches.augmentor.speeds == (0.9, 1.1)
    np.testing.assert_array_equal(
        batches.augmentor.speed_rates(1, 8), AudioAugmentor({"speed": {"prob": 1.0}}, 11).speed_rates(1, 8)
    )
    # 1 + S // hop frames fill blocks of pad_to.
    assert ((1 + batches.buckets.samples // 160) % 16 == 0).all()


@pytest.mark.parametrize("section", ["validation_ds", "test_ds"])
def test_validation_neither_shuffles_nor_augments_and_keeps_all(manifests, section):
    cfg = config(
        section,
        manifest_filepath=[manifests["first"], manifests["infeasible"]],
        shuffle=True,
        augmentor={"gain": {"prob": 1.0}},
    )
    batches, selection = build_batches(cfg, section)
    assert not selection.dropped and len(batches.utterances) == 12
    assert "abcabcabcab" in [u.text for u in batches.utterances]
    assert batches.augmentor is None and not batches.shuffle
    assert [b.index.tolist() for b in batches.plan(0)] == [b.index.tolist() for b in batches.plan(1)]
    # Each section has its own trim_silence, as in NeMo.
    assert not batches.trim_silence
    trimming = config(section, manifest_filepath=manifests["first"], trim_silence=True)
    assert build_batches(trimming, section)[0].trim_silence


def texts_kept(cfg):
    return [u.text for u in build_batches(cfg, "train_ds")[1].utterances]


def test_training_leaves_out_what_ctc_cannot_align(manifests):
    assert texts_kept(config(manifest_filepath=manifests["infeasible"])) == ["abc"]
    both = ["abcabcabcab", "abc"]
    tight = manifests["tight"]
    assert texts_kept(config(manifest_filepath=tight)) == both
    assert texts_kept(config(manifest_filepath=tight, augmentor={"speed": {"prob": 0.1}})) == ["abc"]
    assert texts_kept(config(manifest_filepath=tight, augmentor={"gain": {}})) == both


@pytest.mark.parametrize(
    ("preprocessor", "kept"), [({}, False), ({"generation": "legacy"}, True), ({"exact_pad": True}, False)]
)
def test_frames_are_counted_as_the_features_count_them(tmp_path, preprocessor, kept):
    # 0.2 s: 20 frames, 21 in legacy features, 19 with exact_pad: 10, 11 and 10 encoder frames.
    manifest = write_manifest(tmp_path, "edge", [(0.2, "abcabcabcab"), (1.0, "abc")])
    assert ("abcabcabcab" in texts_kept(config(preprocessor=preprocessor, manifest_filepath=manifest))) == kept
    # 0.21 s: 21, 22 and 20 frames: 11, 11 and 10.
    manifest = write_manifest(tmp_path, "odd", [(0.21, "abcabcabcab"), (1.0, "abc")])
    kept = not preprocessor.get("exact_pad")
    assert ("abcabcabcab" in texts_kept(config(preprocessor=preprocessor, manifest_filepath=manifest))) == kept


@pytest.mark.parametrize("joined", [True, False])
def test_several_manifests(manifests, joined):
    paths = [manifests["first"], manifests["second"]]
    cfg = config(manifest_filepath=",".join(paths) if joined else paths)
    batches, _ = build_batches(cfg, "train_ds")
    assert len(batches.utterances) == 12
    assert {u.source.rsplit(":", 1)[0] for u in batches.utterances} == set(paths)
    assert sum(x["audio"].shape[0] for x, _ in batches.dataset()) == 12


def test_mistakes(manifests):
    with pytest.raises(UserError, match="model.test_ds is missing"):
        build_batches(config(manifest_filepath=manifests["first"]), "test_ds")
    for value in (None, "???"):
        with pytest.raises(UserError, match="no value for model.train_ds.manifest_filepath"):
            build_batches(config(manifest_filepath=value), "train_ds")


def test_build_dataset(manifests, capsys):
    cfg = config(manifest_filepath=manifests["first"], shuffle=True)
    dataset = build_dataset(cfg)
    assert capsys.readouterr().out.startswith("train_ds: kept 10 of 10 utterances")
    epochs = [[y["labels"].numpy().tolist() for _, y in dataset] for _ in range(2)]
    assert len(epochs[0]) == len(dataset) == 3 and epochs[0] != epochs[1]
    again = build_dataset(cfg)
    assert [[y["labels"].numpy().tolist() for _, y in again] for _ in range(2)] == epochs


def test_trim_silence_reaches_the_audio(manifests):
    def first_row(trim):
        cfg = config(manifest_filepath=manifests["second"], trim_silence=trim)
        x, _ = next(iter(build_dataset(cfg)))
        return x["audio"].numpy()[0, : x["audio_len"].numpy()[0]]

    np.testing.assert_array_equal(first_row(True), trim_silence(first_row(False)))
    assert len(first_row(True)) < 0.8 * len(first_row(False))


def test_weighted_training_sets(manifests):
    sets = [
        {"manifest_filepath": manifests["first"], "weight": 1},
        {"manifest_filepath": manifests["second"], "weight": 2},
    ]
    batches, selection = build_batches(config(input_cfg=sets, shuffle=True), "train_ds")
    assert len(selection.utterances) == 12
    drawn = np.concatenate([batch.index for batch in batches.plan(0)])
    assert len(drawn) == 12 and (drawn >= 10).sum() == 8
    texts = [u.text for u in batches.utterances[10:]]
    assert texts == ["a", "c a"]
    # Without weights: each utterance once.
    plain = [{"manifest_filepath": entry["manifest_filepath"]} for entry in sets]
    batches, _ = build_batches(config(input_cfg=plain), "train_ds")
    assert sorted(np.concatenate([batch.index for batch in batches.plan(3)])) == list(range(12))


def test_named_validation_sets(manifests):
    named = {"clean": manifests["first"], "other": [manifests["second"], manifests["infeasible"]]}
    batches, selection = build_batches(
        config("validation_ds", manifest_filepath=named, max_duration=1.25), "validation_ds"
    )
    assert len(selection.utterances) == 12 and len(selection.dropped) == 2
    assert {name: len(part.utterances) for name, part in batches.sets.items()} == {"clean": 8, "other": 4}
    assert [u.text for u in batches.sets["other"].utterances] == ["a", "c a", "abcabcabcab", "abc"]
    alone, _ = build_batches(config("validation_ds", manifest_filepath={"clean": manifests["first"]}), "validation_ds")
    assert list(alone.sets) == ["clean"] and len(alone.sets["clean"].utterances) == 10
    with pytest.raises(UserError, match=r"manifest_filepath\.other: no utterance of it is left"):
        few = config("validation_ds", manifest_filepath={"clean": manifests["first"], "other": manifests["second"]})
        few.model.validation_ds.min_duration = 0.9
        build_batches(few, "validation_ds")


@pytest.mark.parametrize(
    ("section", "dataset", "message"),
    [
        ("train_ds", {"manifest_filepath": {"a": "a.json"}}, "a mapping names validation sets"),
        ("validation_ds", {"manifest_filepath": {}}, "an empty mapping"),
        ("validation_ds", {"manifest_filepath": {"a b": "a.json"}}, "'a b' cannot name a set"),
        ("validation_ds", {"manifest_filepath": {"a_ema": "a.json"}}, "'a_ema' cannot name a set"),
        ("validation_ds", {"manifest_filepath": {"a": 3}}, "manifest_filepath.a: expected a path or a list of paths"),
        ("validation_ds", {"input_cfg": [{"manifest_filepath": "a"}]}, "belongs to train_ds, without"),
        ("train_ds", {"input_cfg": []}, "an empty list"),
        ("train_ds", {"input_cfg": [{"manifest_filepath": "a", "weight": -1}]}, "at least 0"),
        (
            "train_ds",
            {"input_cfg": [{"manifest_filepath": "a", "weight": 1}, {"manifest_filepath": "b"}]},
            "some sets have a weight and some have none",
        ),
        ("train_ds", {"manifest_filepath": "a", "reweight_temperature": 0.5}, "weighs the sets of input_cfg"),
        ("train_ds", {"manifest_filepath": "a", "max_bad_audio": 2}, "max_bad_audio"),
    ],
)
def test_mistakes_of_sets(section, dataset, message):
    with pytest.raises(UserError, match=message):
        config(section, **dataset)


def test_shards_and_tar_files_in_place_of_files(manifests, tmp_path):
    """The same batches, whatever holds the recordings; a line without its recording is left out and named."""
    source = Path(manifests["first"])
    write_shards(str(source), tmp_path / "shards", ShardSettings(), workers=1)
    lines = [json.loads(line) for line in source.read_text().splitlines()]
    for shard in range(2):
        with tarfile.open(tmp_path / f"audio_{shard}.tar", "w") as tar:
            for line in lines[shard::2]:
                tar.add(source.parent / line["audio_filepath"], arcname=line["audio_filepath"])
    lines = [{**line, "shard_id": n % 2} for n, line in enumerate(lines)]
    lines.insert(3, {**lines[3], "audio_filepath": "gone.flac"})
    tarred = tmp_path / "tarred.json"
    tarred.write_text("".join(json.dumps(line) + "\n" for line in lines))
    tars = {"is_tarred": True, "tarred_audio_filepaths": f"{tmp_path}/audio__OP_0..1_CL_.tar"}

    found = []
    for dataset in (
        {"manifest_filepath": str(source)},
        {"manifest_filepath": str(tmp_path / "shards")},
        {"manifest_filepath": str(tarred), **tars},
    ):
        batches, selection = build_batches(config(**dataset, shuffle=True), "train_ds")
        found.append(list(batches.dataset().as_numpy_iterator()))
        tf.nest.map_structure(np.testing.assert_array_equal, found[0], found[-1])
    assert len(found[0]) == 3
    assert [u.source.rpartition(":")[2] for u in selection.utterances[2:4]] == ["3", "5"]
    assert f"dropped 1: no recording in the tar files\n  {tarred}:4: gone.flac: is not in" in selection.summary()

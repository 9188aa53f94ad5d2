"""The same batches from files, from shards and from tar files: sample for sample, augmented, on any file system."""

import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from jasper_tf.audio.graph_errors import user_error_in
from jasper_tf.data.augment import AudioAugmentor
from jasper_tf.data.batches.bad_audio import BadAudio
from jasper_tf.data.batches.pipeline import SpeechBatches
from jasper_tf.data.manifest.columns import read_manifest
from jasper_tf.data.storage.shard_index import resolve_shards
from jasper_tf.data.storage.shard_plan import ShardSettings
from jasper_tf.data.storage.shard_writer import write_shards
from jasper_tf.data.storage.tar_index import TarIndex, expand_tar_paths
from jasper_tf.io.object_storage import upload
from jasper_tf.text.tokenizer import CharacterTokenizer

TOKENIZER = CharacterTokenizer(list("abcdefghijklmnopqrstuvwxyz "))
AUGMENTATIONS = {"speed": {"prob": 0.8}, "gain": {"prob": 0.8}, "white_noise": {"prob": 0.8, "min_level": -50}}


@pytest.fixture(scope="module")
def corpora(tmp_path_factory) -> dict[str, str]:
    """Manifests of the same 16-bit sound: files, shards of both codecs, shards and manifest on memory://, tar files."""
    folder = tmp_path_factory.mktemp("corpora")
    chance = np.random.default_rng(1)
    lines = []
    for i in range(14):
        name, seconds = f"{i}.{'flac' if i % 3 == 0 else 'wav'}", 0.2 + 0.11 * i
        pcm = chance.normal(0, 3000, round(seconds * 16000)) * (np.arange(round(seconds * 16000)) > 900)
        soundfile.write(folder / name, pcm.astype(np.int16), 16000)
        lines.append({"audio_filepath": name, "duration": soundfile.info(folder / name).duration, "text": "ab" * i})
    soundfile.write(folder / "long.wav", chance.normal(0, 3000, 16000 * 9).astype(np.int16), 16000)
    for i in range(4):
        name = f"long-sub{i}.wav" if i else "long.wav"
        lines.append({"audio_filepath": name, "offset": 2 + 1.003 * i, "duration": 0.4 + 0.2 * i, "text": "long"})

    tarred = folder / "tarred.json"
    tarred.write_text("".join(json.dumps({**line, "shard_id": i % 2}) + "\n" for i, line in enumerate(lines)))
    for shard in range(2):
        with tarfile.open(folder / f"audio_{shard}.tar", "w") as tar:
            for name in {line["audio_filepath"] for line in lines[shard::2] if "offset" not in line} | {"long.wav"}:
                tar.add(folder / name, arcname=name)
    for line in lines[-4:]:
        line["audio_filepath"] = "long.wav"
    files = folder / "m.jsonl"
    files.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = {"files": str(files), "tar": str(tarred)}
    for codec in ("pcm", "flac"):
        settings = ShardSettings(codec=codec, shard_size_mb=0.15)
        index = write_shards(str(files), folder / codec, settings, workers=2)
        assert index.rounded == index.clipped_samples == 0 and len(index.shards) > 1
        found[codec] = resolve_shards(str(folder / codec))
    remote = f"memory://corpora-{os.getpid()}"
    for file in (folder / "pcm").iterdir():
        upload(file, f"{remote}/{file.name}")
    found["remote"] = resolve_shards(f"{remote}/index.json")
    return found


def batches_of(manifest, bad_audio=False, **changes):
    tars = None
    if manifest.endswith("tarred.json"):
        tars = TarIndex(expand_tar_paths(f"{Path(manifest).parent}/audio__OP_0..1_CL_.tar"))
    utterances = read_manifest(manifest, tars)
    noting = BadAudio(utterances, 0.5, "train_ds") if bad_audio else None
    arguments = {"batch_size": 4, "shuffle": True, "buckets": 3, "seed": 7, "bad_audio": noting} | changes
    return SpeechBatches(utterances, TOKENIZER, **arguments)


def epoch_of(batches, epoch=0, first_step=0):
    batches.epoch, batches.first_step = epoch, first_step
    return list(batches.dataset().as_numpy_iterator())


@pytest.mark.parametrize("augmented", [False, True])
def test_batches_are_those_of_the_files(corpora, augmented):
    changes = {"augmentor": AudioAugmentor(AUGMENTATIONS, 7), "trim_silence": True} if augmented else {}
    expected = epoch_of(batches_of(corpora["files"], **changes), epoch=1)
    assert len(expected) == 5
    for other in ("pcm", "flac", "remote", "tar"):
        found = epoch_of(batches_of(corpora[other], **changes), epoch=1)
        tf.nest.map_structure(np.testing.assert_array_equal, expected, found)
    if not augmented:
        assert sum(int(x["audio_len"].sum()) for x, _ in found) == batches_of(corpora["files"]).audio_len.sum()


def test_they_begin_at_any_step(corpora):
    whole, rest = (epoch_of(batches_of(corpora["pcm"]), first_step=step) for step in (0, 3))
    tf.nest.map_structure(np.testing.assert_array_equal, whole[3:], rest)


def test_a_damaged_record_is_one_line_or_left_out(corpora, tmp_path):
    folder = Path(corpora["pcm"]).parent
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    damaged = read_manifest(str(tmp_path / "manifest.jsonl"))[9]
    file, (start, size) = Path(damaged.path), damaged.record
    content = bytearray(file.read_bytes())
    content[start + size // 2] ^= 1
    file.write_bytes(content)
    line = f"{file}: the record at byte {start} is damaged (wrong checksum); copy the shard again, or create it again"
    with pytest.raises(tf.errors.OpError) as caught:
        epoch_of(batches_of(str(tmp_path / "manifest.jsonl")))
    assert str(user_error_in(caught.value)) == line
    skipping = batches_of(str(tmp_path / "manifest.jsonl"), bad_audio=True)
    assert sum(len(x["audio_len"]) for x, _ in epoch_of(skipping)) == 17
    assert skipping.bad_audio.reasons == {9: line}


def test_one_utterance_read_outside_the_graph(corpora):
    expected = batches_of(corpora["files"]).read(9)
    for other in ("pcm", "flac", "remote", "tar"):
        np.testing.assert_array_equal(batches_of(corpora[other]).read(9), expected)

"""A manifest of sound of many kinds, and shards of it."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from jasper_tf.data.storage.shard_plan import ShardSettings
from jasper_tf.data.storage.shard_writer import write_shards
from jasper_tf.errors import UserError


@pytest.fixture(scope="session")
def source(tmp_path_factory) -> Path:
    """A manifest of sound of every kind that shards change or must not change, 16 kHz 16 bit mono the most."""
    folder = tmp_path_factory.mktemp("source")
    chance = np.random.default_rng(3)
    lines = []

    def add(name, samples, rate, subtype, **more):
        soundfile.write(folder / name, samples, rate, subtype=subtype)
        duration = len(samples) / rate - more.get("offset", 0)
        lines.append({"audio_filepath": name, "duration": duration, "text": f"text of {name}", **more})

    for i in range(8):
        pcm = chance.integers(-32768, 32767, 8000 + 400 * i, np.int16, endpoint=True)
        add(f"{i}.{'flac' if i % 2 else 'wav'}", pcm, 16000, "PCM_16", speaker=i)
    add("part.wav", chance.integers(-9000, 9000, 32000, np.int16), 16000, "PCM_16", offset=0.5, duration=0.75)
    add("24.wav", chance.uniform(-0.5, 0.5, 12345), 16000, "PCM_24")
    add("stereo.wav", chance.uniform(-0.5, 0.5, (44100, 2)), 44100, "PCM_16")
    add("loud.wav", chance.uniform(-1.5, 1.5, 16000), 16000, "FLOAT", text="héllo \u2028 \U0001f600", tags=["a", None])
    (folder / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "m.jsonl"


@pytest.fixture(scope="session", params=["pcm", "flac"])
def shards(request, source, tmp_path_factory) -> Path:
    """Finished shards of `source`, not to be changed."""
    folder = tmp_path_factory.mktemp("shards") / request.param
    write_shards(str(source), folder, ShardSettings(codec=request.param, shard_size_mb=0.1), workers=2)
    return folder


@pytest.fixture
def copied(shards, tmp_path) -> Path:
    return Path(shutil.copytree(shards, tmp_path / "shards"))


@pytest.fixture(scope="session")
def fails():
    """`fails(part, ...)`: expects the one line of a UserError with all of the parts in it, in this order."""
    return lambda *parts: pytest.raises(UserError, match="^.*" + ".*".join(map(re.escape, parts)) + ".*$")

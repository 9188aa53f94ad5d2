"""Any bytes in place of a manifest or of its lines."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import strategies as st

from tests.fuzz.mutations import damaged

pytestmark = pytest.mark.slow

KEYS = ("audio_filepath", "offset", "duration", "text", "text_filepath", "record")
VALID = (
    b'{"audio_filepath": "a.wav", "offset": 0.25, "duration": 0.5, "text": "na\\u00efve \xc3\xa9", "speaker": ["x", 1]}'
)
PIECES = (
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b'{"duration": ' + b"9" * 5000 + b"}",
    b"1e999",
    b"\0",
    b"\xff",
    b"\\ud800",
    b"\xe2\x80\xa8",
    b"\x1b[2J",
    b"\n",
    b"NaN",
)
# orjson reads whole numbers beyond 64 bits as floats.
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
odd_paths = st.sampled_from(
    "a.wav a.txt . .. b\n.wav \ud800.wav a\0.wav ~nobody/a.wav gs://a file://a /proc/self/mem a.wav/b fifo loop".split(
        " "
    )
    + ["", "x" * 300, "y/" * 3000]
)
entries = st.fixed_dictionaries(
    {}, optional={key: json_values | odd_paths | st.sampled_from([0.5, 1, "yes", "\udfff", [0, 10]]) for key in KEYS}
)
lines = (
    st.binary(max_size=80)
    | damaged(VALID, PIECES)
    | st.tuples(entries, st.booleans()).map(
        lambda pair: json.dumps(pair[0], ensure_ascii=pair[1]).encode("utf-8", "surrogatepass")
    )
)
manifests = st.lists(st.just(VALID) | lines, min_size=1, max_size=6).map(b"\n".join)


def write(folder: Path, manifest: bytes) -> Path:
    soundfile.write(folder / "a.wav", np.zeros(16000, np.int16), 16000)
    (folder / "a.txt").write_text("yes")
    (folder / "loop").symlink_to("loop")
    path = folder / "m.json"
    path.write_bytes(manifest)
    return path


def test_manifests(fuzz):
    fuzz("manifest", manifests | damaged(b"\n".join([VALID] * 3), PIECES), write, b"\n".join([VALID] * 3))

"""Damaged `.nemo` archives: the tar, the zip in it, the pickle in that, and the configuration."""

import gzip
import io
import itertools
import pickletools
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from hypothesis import strategies as st

from jasper_tf.config import load_config
from jasper_tf.inference.load_model import load_model
from jasper_tf.interop.nemo.archive import read_archive
from jasper_tf.interop.nemo.model import export_nemo
from tests.fuzz.mutations import damaged, rearranged

pytestmark = pytest.mark.slow

NAMES = ("./model_config.yaml", "./model_weights.ckpt")
OPERATIONS = (
    b"cos\nsystem\n",
    b"cbuiltins\neval\n",
    b"(S'id'\nios\nsystem\n",
    b"R",
    b"(tR",
    b"b",
    b"0",
    b"1",
    b"2",
    b"(",
    b"t",
    b"u",
    b"s",
    b"Q",
    b".",
    b"}",
    b"N",
    b"\x88",
    b"2\x86" * 34,
    b"\x85" * 100_000,
    b"]" * 1000 + b"\x94" * 1000,
    b"r" + struct.pack("<I", 2**28),
    b"j" + struct.pack("<I", 2**31),
    b"q\0",
    b"h\0",
    b"J" + struct.pack("<i", -1),
    b"J" + struct.pack("<i", 2**31 - 1),
    b"\x8a\xff" + b"\x7f" * 255,
    b"\x8b" + struct.pack("<i", 2**31 - 1),
    b"X\xff\xff\xff\x7f",
    b"X\x05\0\0\0\x1b[2J\n",
    b"\x8d" + struct.pack("<Q", 2**63),
    b"\x95" + struct.pack("<Q", 2**63),
    b"C\xff",
    b"\x82\x01",
    b"F1e999\n",
    b"I" + b"9" * 5000 + b"\n",
    b"P1\n",
    b"\x97",
)
YAML_PIECES = (
    b"labels: []\n",
    b"a: &a [*a]\n",
    b"[" * 2000,
    b"!!bool x",
    b"\x1b[2J",
    b"\0",
    b"1e999",
    b"9" * 500,
    b"{",
)


def tar(*members: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def zipped(records: dict[str, bytes], extra: tuple[str, bytes] | None = None) -> bytes:
    """A zip with right checksums, so that what is in it is looked at."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in records.items():
            archive.writestr(zipfile.ZipInfo(name), content)
        if extra:
            archive.writestr(zipfile.ZipInfo(extra[0]), extra[1])
    return file.getvalue()


@pytest.fixture(scope="module")
def archive(golden, tmp_path_factory) -> tuple[bytes, bytes]:
    """Configuration and weights of a sound archive."""
    run, path = golden / "begun_run" / "begun", tmp_path_factory.mktemp("nemo") / "sound.nemo"
    export_nemo(load_model(run), load_config(run / "config.yaml"), path)
    found = read_archive(path)
    return found.config, found.weights


def write(folder: Path, content: bytes) -> Path:
    path = folder / "model.nemo"
    path.write_bytes(content)
    return path


def operations(pickle: bytes) -> list[bytes]:
    starts = [at for _, _, at in pickletools.genops(pickle)]
    return [pickle[at:end] for at, end in itertools.pairwise([*starts, len(pickle)])]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives(fuzz, archive):
    config, weights = archive
    with zipfile.ZipFile(io.BytesIO(weights)) as file:
        records = {name: file.read(name) for name in file.namelist()}
    [pickle_name] = [name for name in records if name.endswith("data.pkl")]
    pickle = records[pickle_name]

    def packed(config: bytes = config, weights: bytes = weights) -> bytes:
        return tar((NAMES[0], config), (NAMES[1], weights))

    valid = packed()
    pickles = rearranged(operations(pickle), OPERATIONS) | damaged(pickle, OPERATIONS)
    shape = st.integers(0, 64).map(lambda n: b"(" + b"K\x01" * n + b"t")
    deep = shape.flatmap(lambda piece: rearranged(operations(pickle), (piece, b"\x85" * 64, b"K\xff")))
    record_names = st.sampled_from([*records, f"{pickle_name}/../x", "/etc/x", "a\n\x1b[2J", "other/data.pkl", ""])
    lines = yaml.safe_dump(yaml.safe_load(config), sort_keys=False).encode().splitlines(keepends=True)
    configs = rearranged(lines, YAML_PIECES) | damaged(config, YAML_PIECES)
    extra_names = st.sampled_from([*NAMES, "model_config.yaml", "../x", "/x", "a\nb", "\x1b[2J", "x" * 300, "./a/../b"])
    examples = st.one_of(
        damaged(valid),
        damaged(valid).map(lambda file: gzip.compress(file, 1)),
        damaged(gzip.compress(valid, 1)),
        st.one_of(pickles, pickles, deep).map(lambda pickle: packed(weights=zipped({**records, pickle_name: pickle}))),
        damaged(weights).map(lambda weights: packed(weights=weights)),
        st.tuples(record_names, st.sampled_from(sorted(records)), st.binary(max_size=4)).map(
            lambda t: packed(weights=zipped({k: v for k, v in records.items() if k != t[1]}, (t[0], t[2])))
        ),
        configs.map(lambda config: packed(config=config)),
        st.tuples(extra_names, st.binary(max_size=4)).map(
            lambda extra: tar((NAMES[0], config), (NAMES[1], weights), extra)
        ),
    )
    fuzz("nemo", examples, write, valid)

"""PyTorch's zip checkpoints: tensors in and out, and pickles that want more."""

import builtins
import io
import os
import pickle
import zipfile

import ml_dtypes
import numpy as np
import pytest

from jasper_tf.errors import UserError
from jasper_tf.interop.nemo.torch_checkpoint import read_checkpoint, write_checkpoint

RNG = np.random.default_rng(0)
TENSORS = {
    "encoder.weight": RNG.normal(size=(3, 4, 5)).astype(np.float32),
    "half": RNG.normal(size=7).astype(np.float16),
    "brain": RNG.normal(size=7).astype(ml_dtypes.bfloat16),
    "double": RNG.normal(size=(2, 2)),
    "count": np.array(2**40, np.int64),
    "flags": np.array([True, False]),
    "bytes": np.arange(5, dtype=np.uint8),
    "empty": np.zeros((0, 3), np.float32),
    "transposed": RNG.normal(size=(4, 3)).astype(np.float32).T,
}


def with_pickle(content, records=(), prefix="archive", compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr(f"{prefix}/data.pkl", content)
        for name, data in dict(records).items():
            archive.writestr(f"{prefix}/{name}", data)
    return file.getvalue()


def tensor(offset=0, shape="(K\x04t", strides="(K\x01t", count=4, key="0"):
    """A pickle of {"w": tensor over a FloatStorage}, numbers as opcodes."""
    storage = f"(X\x07\0\0\0storagectorch\nFloatStorage\nX{chr(len(key))}\0\0\0{key}X\x03\0\0\0cpuK{chr(count)}tQ"
    text = f"}}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n({storage}K{chr(offset)}{shape}{strides}\x89}}tRs."
    return b"\x80\x02" + text.encode("latin-1")


FOUR = {"data/0": np.arange(4, dtype="<f4").tobytes()}


def test_round_trip():
    content = write_checkpoint(TENSORS)
    assert content == write_checkpoint(TENSORS)
    back = read_checkpoint(content, "w")
    assert list(back) == list(TENSORS)
    for name, array in TENSORS.items():
        assert back[name].dtype == array.dtype and back[name].shape == array.shape, name
        np.testing.assert_array_equal(back[name], array)
        assert not back[name].flags.writeable


def test_torch_reads_what_is_written_and_is_read(tmp_path):
    torch = pytest.importorskip(
        "torch", reason="torch itself writes what is read here; only make nemo-parity installs it"
    )
    (tmp_path / "w.ckpt").write_bytes(write_checkpoint(TENSORS))
    loaded = torch.load(tmp_path / "w.ckpt", weights_only=True)
    assert list(loaded) == list(TENSORS)
    for name, array in TENSORS.items():
        assert tuple(loaded[name].shape) == array.shape
        np.testing.assert_array_equal(loaded[name].double().numpy(), array.astype(np.float64))

    base = torch.arange(12.0)
    views = {"row": base[4:8], "columns": base.view(3, 4).T, "parameter": torch.nn.Parameter(base[:2])}
    torch.save(views, tmp_path / "v.ckpt")
    back = read_checkpoint((tmp_path / "v.ckpt").read_bytes(), "v")
    for name, view in views.items():
        np.testing.assert_array_equal(back[name], view.detach().numpy())
    torch.save(views, tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    with pytest.raises(UserError, match="older than 1.6"):
        read_checkpoint((tmp_path / "old.ckpt").read_bytes(), "old.ckpt")


def test_views_of_a_storage_and_big_endian():
    view = read_checkpoint(with_pickle(tensor(1, "(K\x02K\x01t", "(K\x02K\x01t"), FOUR), "w")["w"]
    np.testing.assert_array_equal(view, [[1], [3]])
    big = {"data/0": np.arange(4, dtype=">f4").tobytes(), "byteorder": b"big"}
    np.testing.assert_array_equal(read_checkpoint(with_pickle(tensor(), big, "model_weights"), "w")["w"], range(4))


class Calls:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    ("function", "arguments", "named"),
    [
        (os.system, ("touch executed",), "posix.system"),
        (builtins.eval, ("open('executed', 'w')",), "eval"),
        (builtins.exec, ("open('executed', 'w')",), "exec"),
        (builtins.getattr, ({}, "keys"), "getattr"),
        (np.array, ([1],), "numpy"),
    ],
)
def test_harmful_pickle_is_refused_by_name_and_does_not_run(
    tmp_path, monkeypatch, function, arguments, named, protocol
):
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps({"w": Calls(function, *arguments)}, protocol)
    with pytest.raises(UserError) as refusal:
        read_checkpoint(with_pickle(content), "evil.ckpt")
    line = str(refusal.value)
    assert line.startswith("evil.ckpt: its pickle asks for") and named in line and "\n" not in line
    assert not os.listdir(tmp_path)
    if named == "posix.system":  # the attack is real
        pickle.loads(content)
        assert os.listdir(tmp_path) == ["executed"]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"cunknown.module\nThing\n.", "unknown.module.Thing"),
        (b"ctorch.serialization\nload\n.", "torch.serialization.load"),
        (b"ctorch\nload\n.", "torch.load"),
        (b"\x80\x04\x8c\x0bcollections\x8c\x18OrderedDict.__init__.x.y\x93.", "OrderedDict.__init__"),
        (b"(S'touch executed'\nios\nsystem\n.", "os.system"),
        (b"Psecret\n.", "operation PERSID"),
        (b"}}b.", "a state for"),
        (b"ctorch\nFloatStorage\n)R.", "calls a"),
        (b"ctorch\nFloatStorage\n.", "not tensors by name"),
        (b"}X\x01\0\0\0aK\x01s.", "entry 'a' is not a tensor"),
        (b"]K\x01a.", "operation EMPTY_LIST"),
        (b"", "cut off"),
        (b"\x80\x02}", "cut off"),
        (b"\x80\x04\x8e" + b"\xff" * 8, "pickle"),
        (b"h\x05.", "entry 5 of its memo"),
        (tensor(offset=1), "reaches beyond"),
        (tensor(shape="(K\x05t"), "reaches beyond"),
        (tensor(strides="(K\x02t"), "reaches beyond"),
        (tensor(shape="(J\xff\xff\xff\x7ft", strides="(K\0t"), "reaches beyond"),
        (tensor(strides="(J\xff\xff\xff\xfft"), "are not sizes"),
        (tensor(count=5), "has 16 bytes, its pickle says 5 x 4"),
        (tensor(key="1"), "no record 'archive/data/1'"),
        (tensor(key="../0"), "no record 'archive/data/../0'"),
    ],
)
def test_other_pickles(content, word):
    with pytest.raises(UserError) as refusal:
        read_checkpoint(with_pickle(content, FOUR), "w")
    assert word in str(refusal.value) and "\n" not in str(refusal.value)


def test_wrong_containers():
    sound = write_checkpoint(TENSORS)
    for share in (0, 0.3, 0.99):
        with pytest.raises(UserError, match="cut off or damaged"):
            read_checkpoint(sound[: int(share * len(sound))], "w")
    changed = bytearray(sound)
    place = sound.index(TENSORS["encoder.weight"].tobytes())
    changed[place] ^= 1
    with pytest.raises(UserError, match="damaged"):
        read_checkpoint(bytes(changed), "w")
    with pytest.raises(UserError, match="'archive/data.pkl' is compressed"):
        read_checkpoint(with_pickle(tensor(), FOUR, compression=zipfile.ZIP_DEFLATED), "w")
    with pytest.raises(UserError, match="needs one data.pkl, has 0"):
        read_checkpoint(with_pickle(b"", prefix="a/b"), "w")
    with pytest.raises(UserError, match="older than 1.6"):
        read_checkpoint(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.", "w")
    with pytest.raises(UserError, match="w: torch has no tensors of complex64"):
        write_checkpoint({"w": np.zeros(1, np.complex64)})


def test_overlapping_records():
    """Two entries of the directory that point to the same bytes: the sum declares more than there is."""
    big = with_pickle(tensor(), {"data/0": b"\0" * 4096, "data/1": b"\0" * 10})
    with zipfile.ZipFile(io.BytesIO(big)) as archive:
        entries = archive.infolist()
    start = big.index(b"PK\x01\x02")
    end = big.index(b"PK\x05\x06")
    size = (entries[1].file_size).to_bytes(4, "little")
    directory = bytearray(big[start:end])
    last = directory.rindex(b"PK\x01\x02")
    directory[last + 20 : last + 28] = size * 2
    with pytest.raises(UserError, match="records declare"):
        read_checkpoint(big[:start] + bytes(directory) + big[end:], "w")


def test_encrypted_and_repeated_records():
    encrypted = bytearray(with_pickle(tensor(), FOUR))
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        encrypted[encrypted.index(signature) + flags] |= 1
    with pytest.raises(UserError, match="'archive/data.pkl' is compressed or encrypted"):
        read_checkpoint(bytes(encrypted), "w")
    twice = io.BytesIO(with_pickle(tensor(), FOUR))
    with zipfile.ZipFile(twice, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("archive/data/0", FOUR["data/0"])
    with pytest.raises(UserError, match="one record twice"):
        read_checkpoint(twice.getvalue(), "w")

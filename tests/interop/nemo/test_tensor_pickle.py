"""Pickles made to do harm: each is refused in one line, in bounded time and memory, in a process that survives it."""

import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from jasper_tf.errors import UserError
from jasper_tf.interop.nemo.tensor_pickle import read_tensor_pickle

START = b"\x80\x02"


def text(content):
    return b"X" + struct.pack("<I", len(content)) + content.encode()


def size(number):
    return b"\x8a\x08" + struct.pack("<q", number)


def tensor(shape, strides, count=4, offset=0, name="w"):
    """A state dict of one float32 tensor."""
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + size(count) + b"tQ"
    sizes = b"".join(b"(" + b"".join(map(size, numbers)) + b"t" for numbers in (shape, strides))
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + size(offset) + sizes + b"\x89}tR"
    return START + b"}" + text(name) + rebuild + b"s."


HOSTILE = {
    "80 dimensions": tensor([1] * 80, [1] * 80),
    "100 dimensions": tensor([1] * 100, [2**62] * 100),
    "33 dimensions": tensor([1] * 33, [1] * 33),
    "tuple nested 200,000 deep as a key": START + b"})" + b"\x85" * 200_000 + b"Ns.",
    "nested tuples": START + b"})" + b"\x85" * 200_000 + b".",
    "pairs of itself as a key": START + b"}K\x01" + b"2\x86" * 34 + b"Ns.",
    "pairs of itself by the memo": START + b"}K\x01q\x00" + b"q\x00h\x00\x86" * 40 + b"Ns.",
    "pairs of itself as a shape": START + b"}" + text("w") + b"K\x01" + b"q\x00h\x00\x86" * 40 + b"s.",
    "memo index": START + b"Nr" + struct.pack("<I", 2**28) + b"0}.",
    "memo index without POP": START + b"}" + text("w") + b"Nr" + struct.pack("<I", 2**32 - 1) + b"s.",
    "endless integer": START + b"\x8b" + struct.pack("<i", 2**31 - 1) + b"\x01.",
    "long integer": START + b"}" + text("w") + b"\x8a\xff" + b"\x7f" * 255 + b"s.",
    "text that is not there": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"a.",
    "bytes that are not there": b"\x80\x05\x96" + struct.pack("<Q", 2**62) + b"a.",
    "text of a megabyte": START + b"}" + text("x" * 2**20) + b"Ns.",
    "POP_MARK": START + b"(1}.",
    "open marks": START + b"(" * 500_000 + b".",
    "more than there is": START + b"}(su.",
    "value below a mark": START + b"}" + text("w") + b"(Ns.",
    "dict in itself": START + b"}q\x00" + text("w") + b"h\x00s.",
    "OrderedDict of itself": START + b"ccollections\nOrderedDict\n)Rq\x00" + text("w") + b"h\x00sh\x00b.",
    "chain of states": START + b"ccollections\nOrderedDict\n)R" + b"}b" * 100_000 + text("w") + b"Ns.",
    "OrderedDict of a list": START + b"ccollections\nOrderedDict\n(}tR.",
    "storage called": START + b"ctorch\nFloatStorage\nK\x05\x85R.",
    "tensor without arguments": START + b"}" + text("w") + b"ctorch._utils\n_rebuild_tensor_v2\n)Rs.",
    "parameter of a dict": START + b"}" + text("w") + b"ctorch._utils\n_rebuild_parameter\n(}\x89}tRs.",
    "call of a call": START + b"}" + text("w") + b"ccollections\nOrderedDict\n)R)Rs.",
    "number as a key": START + b"}K\x01Ns.",
    "name of two lines": tensor([4], [1], name="a\nb"),
    "code of two lines": b"\x80\x04" + text("os\nerror: fine") + text("system") + b"\x93.",
    "storage of another size": tensor([4], [1], count=2**40),
    "negative storage": tensor([4], [1], count=-1),
    "huge stride": tensor([2, 1], [2**61, 2**61]),
    "huge offset": tensor([1], [1], offset=2**62),
    "negative stride": tensor([4], [-1]),
    "repeated value": tensor([2**40], [0]),
    "huge and empty": tensor([0, 2**62, 2**62], [1, 1, 1]),
}

READ = """
import resource, sys
from jasper_tf.errors import UserError
from jasper_tf.interop.nemo.torch_checkpoint import read_checkpoint
resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30,) * 2)
for path in sys.argv[1:]:
    try:
        tensors = read_checkpoint(open(path, "rb").read(), "w")
    except UserError as error:
        print(error)
    else:
        print(path, "was read:", list(tensors))
"""


def test_hostile_pickles_in_a_process_of_their_own(tmp_path):
    paths = []
    for number, content in enumerate(HOSTILE.values()):
        paths.append(tmp_path / f"{number}.ckpt")
        with zipfile.ZipFile(paths[-1], "w") as archive:
            archive.writestr("archive/data.pkl", content)
            archive.writestr("archive/data/0", np.arange(4, dtype="<f4").tobytes())
    command = [sys.executable, "-c", READ, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == len(HOSTILE)  # one line each, whatever the names in it
    for name, line in zip(HOSTILE, lines, strict=True):
        assert line.startswith("w: ") and len(line) < 400, (name, line)


def read(content):
    return read_tensor_pickle(content, lambda key, dtype, count: np.arange(count, dtype=dtype), "w")


def test_what_a_state_dict_may_have():
    np.testing.assert_array_equal(read(tensor([2, 1], [2, 2**61]))["w"], [[0], [2]])
    assert read(tensor([1] * 32, [1] * 32))["w"].shape == (1,) * 32
    assert read(tensor([0, 3], [3, 1]))["w"].shape == (0, 3)
    assert read(START + b"ccollections\nOrderedDict\n)R}" + text("_metadata") + b"Nsb.") == {}


def test_code_is_named_wherever_it_is():
    for content in (START + b"]K\x01cos\nsystem\n.", pickle.dumps([1.5, pickle.PickleBuffer], 0)):
        with pytest.raises(UserError, match=r"asks for (os\.system|_?pickle\.PickleBuffer)"):
            read(content)


def test_too_large():
    with pytest.raises(UserError, match="a state dict needs less"):
        read(START + bytes(17 * 2**20))
    with pytest.raises(UserError, match="operations"):
        read(START + b"}" + b"N" * 2_100_000 + b".")

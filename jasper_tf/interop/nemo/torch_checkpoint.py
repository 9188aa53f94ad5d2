"""Reads and writes PyTorch's checkpoints without PyTorch and without running their code."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping

import numpy as np

from jasper_tf.errors import UserError, one_line
from jasper_tf.interop.nemo.tensor_pickle import STORAGES, read_tensor_pickle

_STORAGE_OF = {dtype: name for name, dtype in STORAGES.items()}
# The first bytes of torch.save before version 1.6.
_LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def read_checkpoint(content: bytes, source: str) -> dict[str, np.ndarray]:
    """Reads the tensors of `torch.save(model.state_dict(), ...)`, as read-only arrays by name.

    The pickle in it is read by `read_tensor_pickle`, which calls nothing.

    Args:
        content: a torch zip archive (torch >= 1.6).
        source: the file, for messages.

    Raises:
        UserError: another format, damaged, a tensor that reaches beyond its data, or a pickle that asks for more.
    """
    if content.startswith(_LEGACY_START):
        raise UserError(
            f"{source}: written by torch older than 1.6; in torch, `torch.save(torch.load(FILE), FILE)` makes a new one"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as records:
            return _read_records(records, len(content), source)
    except UserError:
        raise
    # UnicodeDecodeError is a ValueError: a name in another encoding than its flag states.
    except (zipfile.BadZipFile, EOFError, NotImplementedError, struct.error, OSError, ValueError) as error:
        reason = one_line(error)
        raise UserError(f"{source}: no torch checkpoint, cut off or damaged ({reason}); get the file again") from None


def write_checkpoint(tensors: Mapping[str, np.ndarray]) -> bytes:
    """Returns a torch zip archive that `torch.load(..., weights_only=True)` reads as an OrderedDict of CPU tensors.

    The same tensors give the same bytes.
    """
    file, order = io.BytesIO(), {name: np.asarray(array, order="C") for name, array in tensors.items()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as records:

        def add(name: str, content: bytes) -> None:
            records.writestr(zipfile.ZipInfo(f"archive/{name}"), content)  # without the time of day

        add("data.pkl", _pickled(order))
        add("byteorder", b"little")
        for key, array in enumerate(order.values()):
            add(f"data/{key}", array.astype(array.dtype.newbyteorder("<")).tobytes())
        add("version", b"3\n")
    return file.getvalue()


# ---------------------------------------------------------------------- reading


def _read_records(records: zipfile.ZipFile, size: int, source: str) -> dict[str, np.ndarray]:
    entries = {entry.filename: entry for entry in records.infolist()}
    if len(entries) != len(records.infolist()):
        raise UserError(f"{source}: holds one record twice; do not trust this file")
    for entry in entries.values():
        # torch stores without compression; then all records together cannot be larger than the file.
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size or entry.flag_bits & 1:
            raise UserError(
                f"{source}: record {entry.filename[:80]!r} is compressed or encrypted, torch's are not; "
                "do not trust this file"
            )
    declared = sum(entry.file_size for entry in entries.values())
    if declared > size:
        raise UserError(f"{source}: its records declare {declared} bytes, the file has {size}; do not trust this file")
    roots = [name.removesuffix("/data.pkl") for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(roots) != 1:
        raise UserError(f"{source}: no torch checkpoint: needs one data.pkl, has {len(roots)}")
    (root,) = roots
    order = records.read(f"{root}/byteorder") if f"{root}/byteorder" in entries else b"little"
    if order not in (b"little", b"big"):
        raise UserError(f"{source}: byte order {order[:20]!r} is neither little nor big")

    contents: dict[str, bytes] = {}

    def storage(key: str, dtype: np.dtype, count: int) -> np.ndarray:
        name = f"{root}/data/{key}"
        if name not in entries:
            raise UserError(f"{source}: has no record {name[:80]!r} that its pickle asks for; cut off?")
        if entries[name].file_size != count * dtype.itemsize:
            raise UserError(
                f"{source}: record {name[:80]!r} has {entries[name].file_size} bytes, "
                f"its pickle says {count} x {dtype.itemsize}; damaged?"
            )
        if name not in contents:
            contents[name] = records.read(name)
        return np.frombuffer(contents[name], dtype.newbyteorder("<" if order == b"little" else ">"))

    return read_tensor_pickle(records.read(f"{root}/data.pkl"), storage, source)


# ---------------------------------------------------------------------- writing


def _pickled(tensors: Mapping[str, np.ndarray]) -> bytes:
    """Returns the pickle that torch would write; the pickle module would import torch."""
    empty = _global("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
    out = [pickle.PROTO, b"\x02", empty, pickle.MARK]
    for key, (name, array) in enumerate(tensors.items()):
        dtype = array.dtype.newbyteorder("=")
        if dtype not in _STORAGE_OF:
            raise UserError(f"{name}: torch has no tensors of {array.dtype}")
        storage = [_text("storage"), _global("torch", _STORAGE_OF[dtype]), _text(str(key)), _text("cpu")]
        strides = [stride // array.itemsize for stride in array.strides]
        arguments = [
            _tuple(*storage, _whole(array.size)) + pickle.BINPERSID,
            _whole(0),
            _tuple(*map(_whole, array.shape)),
            _tuple(*map(_whole, strides)),
            pickle.NEWFALSE,
            empty,
        ]
        out += [_text(name), _global("torch._utils", "_rebuild_tensor_v2"), _tuple(*arguments), pickle.REDUCE]
    return b"".join([*out, pickle.SETITEMS, pickle.STOP])


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _text(text: str) -> bytes:
    content = text.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(content)) + content


def _tuple(*items: bytes) -> bytes:
    return pickle.MARK + b"".join(items) + pickle.TUPLE


def _whole(number: int) -> bytes:
    if number < 2**31:
        return pickle.BININT + struct.pack("<i", number)
    content = pickle.encode_long(number)
    return pickle.LONG1 + bytes([len(content)]) + content

"""Finds the file of a model, or says what a path is instead."""

from __future__ import annotations

import atexit
import difflib
import functools
import itertools
import os
import shutil
import tempfile
from pathlib import Path

from jasper_tf.data.corpora.corpus_entry import AUDIO_SUFFIXES
from jasper_tf.errors import UserError
from jasper_tf.export.edge.formats import FORMATS
from jasper_tf.export.edge.model_info import MODEL_INFO
from jasper_tf.export.saved_model.folder import find_saved_model
from jasper_tf.io.object_storage import download, download_folder, list_remote
from jasper_tf.io.remote import is_remote

KERAS = "model.keras"

_NOT_COPIED = ("checkpoints", "tensorboard")
_MOST_ENTRIES = 1000
"""Entries of a folder that are looked at for a message."""
_MOST_NAMED = 4
_EDGE_SUFFIXES = frozenset(Path(one.file).suffix for one in FORMATS.values())
_EXPORTED = "a model written by export.py, which cannot be trained or exported again"
_TEXTS = {".yaml": "a configuration", ".yml": "a configuration", ".md": "a Markdown file", ".json": "a JSON file"}
_CONTENTS = (
    (0, b"PK\x03\x04", "a .keras or another zip file"),
    (0, b"\x89HDF", "HDF5 weights without their configuration"),
    (0, b"RIFF", "a recording"),
    (0, b"fLaC", "a recording"),
    (0, b"OggS", "a recording"),
    (0, b"ID3", "a recording"),
    (0, b"\x1f\x8b", "a compressed archive (the name of a NeMo archive ends in .nemo)"),
    (257, b"ustar", "a tar archive (the name of a NeMo archive ends in .nemo)"),
)


def find_model_file(path: str | Path, exports: bool = False) -> Path:
    """Returns the `model.keras` of a run's folder, or `path` if that may be a `.keras` file or a NeMo archive.

    Args:
        path: what the user named.
        exports: whether the caller also takes folders that export.py wrote, for the message.

    Raises:
        UserError: it is something else: what it is, and what to give.
    """
    path = Path(path)
    if os.path.isfile(path / KERAS):
        return path / KERAS
    head = _head(path)
    if head is not None and (path.suffix in (".keras", ".nemo") or head.startswith(b"PK\x03\x04")):
        return path  # whoever reads it says what is damaged
    needed = "a run's folder, a model.keras" + (", a .nemo or what export.py wrote" if exports else " or a .nemo")
    raise UserError(f"{path}: {describe_path(path)}; give {needed}")


def require_model_path(path: str | Path, exports: bool = False) -> None:
    """Requires what `load_model` takes, or with `exports` what `load_recognizer` takes, before TensorFlow is loaded.

    Raises:
        UserError: as `find_model_file`.
    """
    copy = local_model(path)
    if exports and (find_edge_model(copy) or find_saved_model(copy)):
        return
    try:
        find_model_file(copy, exports)
    except UserError as error:
        raise UserError(str(error).replace(str(copy), str(path))) from None


def local_model(path: str | Path) -> Path:
    """Returns `path`, or where it is in object storage a copy on this machine, without checkpoints and curves.

    Raises:
        StorageError: it is missing or cannot be read.
    """
    return _copied(str(path)) if is_remote(str(path)) else Path(path)


@functools.cache
def _copied(url: str) -> Path:
    url = url.rstrip("/")
    folder = tempfile.mkdtemp(prefix="jasper-tf-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copy = Path(folder, os.path.basename(url))
    names = list_remote(url)
    if names and "" not in names:
        wanted = [name for name in names if name.split("/")[0] not in _NOT_COPIED]
        copy.mkdir()
        download_folder(url, copy, wanted)
    else:
        download(url, copy)
    return copy


def find_edge_model(path: str | Path) -> Path | None:
    """Returns the model file of an export for devices, from that file or its folder; None if it is none."""
    path = Path(path)
    if path.suffix in _EDGE_SUFFIXES and os.path.isfile(path):
        return path
    if os.path.isfile(path / MODEL_INFO):
        return next((path / one.file for one in FORMATS.values() if os.path.isfile(path / one.file)), None)
    return None


def describe_path(path: str | Path) -> str:
    """Says what a path without a model is, for a message: "an empty folder", "no such file; did you mean ...?"."""
    path = Path(path)
    if os.path.isdir(path):
        return _describe_folder(path)
    head = _head(path)
    if head is not None:
        return _describe_file(path, head)
    if os.path.exists(path):
        return "not a file or folder that can be read"
    near = difflib.get_close_matches(path.name, [entry.name for entry in _entries(path.parent)], n=1)
    return "no such file or folder" + (f", but there is {path.parent / near[0]}" if near else "")


def _head(path: Path) -> bytes | None:
    if not os.path.isfile(path):
        return None
    try:
        with open(path, "rb") as file:
            return file.read(4096)
    except OSError:
        return None


def _describe_file(path: Path, head: bytes) -> str:
    suffix = path.suffix.lower()
    if not head:
        return "an empty file"
    if suffix in _EDGE_SUFFIXES:
        return _EXPORTED
    for at, magic, what in _CONTENTS:
        if head[at : at + len(magic)] == magic:
            return what
    if suffix in AUDIO_SUFFIXES:
        return "a recording"
    if suffix == ".pb":
        return f"a part of the SavedModel {path.parent}"
    try:
        text = "\0" not in head[:-3].decode("utf-8")  # the last character may be cut
    except UnicodeDecodeError:
        text = False
    if not text:
        return "not a model of this package"
    what = _TEXTS.get(suffix, "a text file")
    return f"{what}, its model is in {path.parent}" if os.path.isfile(path.parent / KERAS) else what


def _describe_folder(path: Path) -> str:
    entries = _entries(path)
    if find_saved_model(path):
        return "a SavedModel written by export.py, which cannot be trained or exported again"
    if find_edge_model(path):
        return _EXPORTED
    names = {entry.name for entry in entries}
    if KERAS in names:
        return f"a {KERAS} without the files of its run"
    if "variables.npz" in names or any(os.path.isfile(entry / "variables.npz") for entry in entries):
        run = path.absolute().parent
        run = run if os.path.isfile(run / "config.yaml") else run.parent
        return f"checkpoints, not a model; the run's folder is {_short(run)}, and average-checkpoints makes a model"
    if "config.yaml" in names:
        return f"a run without {KERAS}: no validation has finished yet"
    if any(entry.suffix == ".tfrecord" for entry in entries):
        return "a folder of shards, which hold recordings"
    inside = [entry for entry in entries if _is_model(entry)]
    inside += [inner for entry in entries if entry not in inside for inner in _entries(entry) if _is_model(inner)]
    if inside:
        inside.sort(key=lambda entry: -os.path.getmtime(entry))
        named = ", ".join(map(str, inside[:_MOST_NAMED]))
        more = f" and {len(inside) - _MOST_NAMED} more" if len(inside) > _MOST_NAMED else ""
        return f"holds several: {named}{more}" if len(inside) > 1 else f"holds {named}"
    return "a folder without a model" if names else "an empty folder"


def _is_model(path: Path) -> bool:
    if path.suffix in (".keras", ".nemo"):
        return os.path.isfile(path)
    return os.path.isfile(path / KERAS) or find_saved_model(path) is not None or find_edge_model(path) is not None


def _entries(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as found:
            return sorted(Path(entry.path) for entry in itertools.islice(found, _MOST_ENTRIES))
    except OSError:
        return []


def _short(path: Path) -> str:
    """Relative to the current folder where that is below it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)

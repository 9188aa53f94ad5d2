"""Validates the HDF5 file in a `.keras` before its values are read."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import h5py

from jasper_tf.errors import UserError, one_line
from jasper_tf.io.keras_archive import WEIGHTS


@dataclass(frozen=True)
class StoredWeights:
    """The size of a weights file.

    Attributes:
        arrays: number of arrays.
        values: number of values in all of them.
    """

    arrays: int
    values: int


def extract_keras_weights(path: str | Path, folder: str | Path) -> tuple[Path, StoredWeights]:
    """Extracts the weights of a `.keras` file to `folder` and counts them, those of its optimizer included.

    They are extracted because HDF5 seeks: in a zip each step back reads from the beginning.

    Raises:
        UserError: damaged; an array that is compressed, not numeric or stored in another file; soft or external links.
    """
    found: list[h5py.Dataset] = []

    # Exceptions do not pass through HDF5; a value that these return ends the visit.
    def visit_item(name: str, item: h5py.Group | h5py.Dataset) -> str | None:
        if isinstance(item, h5py.Dataset):
            if item.is_virtual or item.external or item.dtype.kind not in "fiub":
                return f"{name[:100]!r} is not an array of numbers in this file"
            found.append(item)
        return None

    def visit_link(name: str | bytes, link: object) -> str | None:
        return None if isinstance(link, h5py.HardLink) else f"{name[:100]!r} is a link"

    try:
        with zipfile.ZipFile(path) as archive:
            weights = Path(archive.extract(WEIGHTS, folder))
        with h5py.File(weights, "r") as file:
            wrong = file.visititems_links(visit_link) or file.visititems(visit_item)
            stored = StoredWeights(len(found), sum(int(array.size) for array in found))
            declared = sum(int(array.nbytes) for array in found)
    except Exception as error:  # of damaged files: h5py raises every class of exception
        reason = one_line(error)
        raise UserError(f"{path}: {WEIGHTS}: damaged or cut off ({reason}); get the file again") from None
    if wrong:
        raise UserError(f"{path}: {WEIGHTS}: {wrong}; do not trust this file")
    size = weights.stat().st_size
    if declared > size:
        raise UserError(f"{path}: {WEIGHTS}: declares {declared} bytes but has {size}; do not trust this file")
    return weights, stored

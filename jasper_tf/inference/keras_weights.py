"""The HDF5 file in a `.keras`: what it declares, before anything of it is read."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import h5py

from jasper_tf.errors import UserError
from jasper_tf.io.keras_archive import WEIGHTS


@dataclass(frozen=True)
class StoredWeights:
    """How much a file holds.

    Attributes:
        arrays: their number.
        values: their sum.
    """

    arrays: int
    values: int


def extract_keras_weights(path: str | Path, folder: str | Path) -> tuple[Path, StoredWeights]:
    """Unpacks the weights of a `.keras` file into `folder`, and counts them, those of its optimizer too.

    Unpacked, because HDF5 seeks: in the zip every step back reads from the beginning.

    Raises:
        UserError: damaged; an array that is compressed to less than its size, that is not numbers or that is kept in
            another file; links other than those that HDF5 itself makes.
    """
    found: list[h5py.Dataset] = []

    # An exception does not pass through HDF5; what these return ends the visit.
    def see(name: str, item: h5py.Group | h5py.Dataset) -> str | None:
        if isinstance(item, h5py.Dataset):
            if item.is_virtual or item.external or item.dtype.kind not in "fiub":
                return f"{name[:100]!r} is not an array of numbers in this file"
            found.append(item)
        return None

    def follow(name: str | bytes, link: object) -> str | None:
        return None if isinstance(link, h5py.HardLink) else f"{name[:100]!r} is a link"

    try:
        with zipfile.ZipFile(path) as archive:
            weights = Path(archive.extract(WEIGHTS, folder))
        with h5py.File(weights, "r") as file:
            wrong = file.visititems_links(follow) or file.visititems(see)
            stored = StoredWeights(len(found), sum(int(array.size) for array in found))
            declared = sum(int(array.nbytes) for array in found)
    except Exception as error:  # of damaged files: h5py passes on every class of exception
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: {WEIGHTS}: damaged or cut off ({reason}); get the file again") from None
    if wrong:
        raise UserError(f"{path}: {WEIGHTS}: {wrong}; do not trust this file")
    size = weights.stat().st_size
    if declared > size:
        raise UserError(f"{path}: {WEIGHTS}: declares {declared} bytes, it has {size}; do not trust this file")
    return weights, stored

"""Reads and validates the configuration in a `.keras` file before Keras opens it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from jasper_tf.errors import UserError, one_line

CONFIG, WEIGHTS = "config.json", "model.weights.h5"

# The largest published Citrinet takes 60 kB, a tokenizer of 6 MiB (`read_tokenizer.MOST_BYTES`) in base64 8 MiB, once
# for the model and once for each of its two error rates.
_LARGEST_CONFIG = 32 * 2**20


def read_keras_config(path: str | Path) -> dict[str, Any]:
    """The arguments of the JasperCTC that a `.keras` file holds; nothing is built.

    Keras would instantiate any class that the file names; this package's models need only JasperCTC.

    Raises:
        UserError: not a `.keras` file, cut off, a model of another class, members that are encrypted or compressed
            (Keras does neither), or an oversized configuration.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            for member in members:
                if member.flag_bits & 1 or member.compress_type != zipfile.ZIP_STORED:
                    name = f"{member.filename[:80]!r}"
                    raise UserError(f"{path}: {name} is encrypted or compressed, Keras's files are not; save it again")
            if len({member.filename for member in members}) != len(members):
                raise UserError(f"{path}: holds a member twice; do not trust this file")
            size = archive.getinfo(CONFIG).file_size
            if size > _LARGEST_CONFIG:
                raise UserError(f"{path}: its {CONFIG} has {size} bytes; a model needs less than {_LARGEST_CONFIG}")
            stored = json.loads(archive.read(CONFIG))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; give a run's folder or a model.keras") from None
    except KeyError as error:
        raise UserError(f"{path}: not a readable .keras model: {str(error.args[0])[:200]}") from None
    except RecursionError:
        raise UserError(f"{path}: its {CONFIG} is nested too deeply; do not trust this file") from None
    except UserError:
        raise
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, ValueError) as error:
        reason = one_line(error)
        raise UserError(f"{path}: not a readable .keras model: cut off or damaged ({reason})") from None
    made = stored.get("class_name") if isinstance(stored, dict) else None
    if made != "JasperCTC":
        raise UserError(f"{path}: {CONFIG} describes a {str(made)[:80]!r}, not a JasperCTC made by train.py")
    if not isinstance(stored.get("config"), dict):
        raise UserError(f"{path}: {CONFIG} has no arguments of the model")
    if not any(member.filename == WEIGHTS for member in members):
        raise UserError(f"{path}: has no {WEIGHTS}; cut off, or written by another program")
    return stored["config"]

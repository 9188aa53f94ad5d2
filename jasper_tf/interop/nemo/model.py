"""NeMo's EncDecCTCModel to JasperCTC and back: every tensor is accounted for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from jasper_tf.config import Config
from jasper_tf.errors import UserError
from jasper_tf.interop.nemo.archive import CONFIG, WEIGHTS, read_archive, write_archive
from jasper_tf.interop.nemo.config import from_nemo_config, to_nemo_config
from jasper_tf.interop.nemo.torch_checkpoint import read_checkpoint, write_checkpoint
from jasper_tf.io.atomic_write import atomic_path, atomic_write
from jasper_tf.model.jasper_ctc import JasperCTC, build_model
from jasper_tf.model.validate_weights import validate_weights

# Of the largest value. librosa's filters and torch's window differ from ours by 1e-7, those of a checkpoint that was
# rounded to float16 by 5e-4; another window, mel scale or band edge by 1e-2 and more.
_BUFFER_TOLERANCE = 1e-3
_MOST_NAMES = 8


@dataclass(frozen=True)
class NemoImport:
    """An imported model.

    Attributes:
        model: with the weights of the archive.
        config: the archive's configuration in this package's schema.
        tensors: what became of each tensor of the checkpoint, by its name.
        notes: what was left out or ignored, a line each.
    """

    model: JasperCTC
    config: Config
    tensors: dict[str, str]
    notes: list[str]

    def write(self, folder: str | Path) -> None:
        """Writes `model.keras` and `config.yaml`, as in a run's folder; makes `folder`.

        Raises:
            UserError: `folder` cannot be made or written to.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: cannot write here ({error.strerror or error})") from None
        with atomic_path(folder / "model.keras") as beside:
            self.model.save(beside)
        with atomic_write(folder / "config.yaml") as file:
            yaml.safe_dump(self.config.to_dict(), file, sort_keys=False, allow_unicode=True)


def import_nemo(path: str | Path, generation: str = "modern") -> NemoImport:
    """A NeMo 1.x to 3.x `.nemo` archive of a character CTC model as a model of this package, without PyTorch.

    Args:
        path: the archive.
        generation: of the features: "modern" computes them as NeMo >= 2.5 does for this archive, "legacy" as the older
            NeMo did that trained it (see `LogMelSpectrogram`).

    Raises:
        UserError: no sound archive; a model or setting that is not supported; tensors that are missing, left over or of
            another shape, by name; values that are not finite.
    """
    archive = read_archive(path)
    config, notes = from_nemo_config(archive.config, f"{path}: {CONFIG}", Path(path).stem, generation)
    notes += [f"{name} in the archive is not read" for name in archive.others]
    checkpoint = read_checkpoint(archive.weights, f"{path}: {WEIGHTS}")
    del archive
    model = build_model(config)
    tensors = assign_checkpoint(model, checkpoint, str(path))
    validate_weights(model.weights, str(path))
    return NemoImport(model, config, tensors, notes)


def export_nemo(model: JasperCTC, config: Config, path: str | Path) -> list[str]:
    """Writes `model` as an archive that `EncDecCTCModel.restore_from` of NeMo loads.

    Args:
        model: a model built from `config`.
        config: gives the archive the sections that only training reads.
        path: of the archive; replaced if there.

    Returns:
        lines to tell the user: where NeMo will not compute the same.

    Raises:
        UserError: `config` is another model's; NeMo has no such model; `path` cannot be written.
    """
    nemo_config, notes = to_nemo_config(model.get_config(), config)
    variables = nemo_variables(model)
    tensors = {name: np.asarray(array, np.float32) for name, array in model.get_layer("log_mel").nemo_buffers().items()}
    for name, variable in variables.items():
        tensors[name] = variable.numpy().astype(np.float32)
        if name.endswith(".running_var"):
            # NeMo wants the count and, with a fixed momentum, never reads it.
            tensors[name.replace("running_var", "num_batches_tracked")] = np.zeros((), np.int64)
    text = yaml.safe_dump(nemo_config, sort_keys=False, allow_unicode=True)
    write_archive(path, text, write_checkpoint(tensors))
    return notes


def nemo_variables(model: JasperCTC) -> dict[str, Any]:
    """Every variable of encoder and head under its NeMo name."""
    return model.encoder.nemo_variables() | model.decoder.nemo_variables()


def assign_checkpoint(model: JasperCTC, checkpoint: Mapping[str, np.ndarray], source: str) -> dict[str, str]:
    """Gives `model` the tensors of a NeMo checkpoint, all or none.

    Returns:
        for each tensor its shape and what it became, by name.

    Raises:
        UserError: names every tensor that is missing, left over or of another shape; window or filters are not ours.
    """
    variables, buffers = nemo_variables(model), model.get_layer("log_mel").nemo_buffers()
    counts = {name.replace("running_var", "num_batches_tracked") for name in variables if name.endswith(".running_var")}
    shapes = {name: v.shape for name, v in variables.items()} | {name: b.shape for name, b in buffers.items()}
    wrong = [
        f"{name} {checkpoint[name].shape}, the configuration makes {shape}"
        for name, shape in shapes.items()
        if name in checkpoint and checkpoint[name].shape != shape
    ]
    problems = [
        _listed("missing", shapes.keys() - checkpoint.keys()),
        _listed("left over", checkpoint.keys() - shapes.keys() - counts),
        _listed("of another shape", wrong),
    ]
    if any(problems):
        raise UserError(f"{source}: weights and configuration differ: {'; '.join(filter(None, problems))}")
    differences: dict[str, float] = {}
    for name, ours in buffers.items():
        difference = differences[name] = float(np.max(np.abs(np.asarray(checkpoint[name], np.float64) - ours)))
        if not difference <= _BUFFER_TOLERANCE * np.max(np.abs(ours)):
            raise UserError(
                f"{source}: {name} is not what the preprocessor section makes (up to {difference:.2g} apart); "
                "the model was trained on other features"
            )
    became: dict[str, str] = {}
    for name, array in checkpoint.items():
        if name in variables:
            variables[name].assign(np.asarray(array))
            became[name] = f"{array.shape} -> {variables[name].variable.path}"
        else:
            same = f"as this package computes it, up to {differences.get(name, 0):.1g}"
            became[name] = f"{array.shape} {same}" if name in buffers else f"{array.shape} a count that nothing reads"
    return became


def _listed(what: str, names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - _MOST_NAMES} more" if len(ordered) > _MOST_NAMES else ""
    return f"{what}: {', '.join(ordered[:_MOST_NAMES])}{more}" if ordered else ""

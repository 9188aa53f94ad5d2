"""Imports and exports NeMo's EncDecCTCModel and EncDecCTCModelBPE; every tensor is accounted for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from jasper_tf.config import Config
from jasper_tf.decoding.build_tokenizer import TOKENIZER_FOLDER, write_tokenizer
from jasper_tf.errors import UserError
from jasper_tf.interop.nemo.archive import CONFIG, WEIGHTS, read_archive, write_archive
from jasper_tf.interop.nemo.config import from_nemo_config, to_nemo_config
from jasper_tf.interop.nemo.torch_checkpoint import read_checkpoint, write_checkpoint
from jasper_tf.interop.nemo.weights import assign_checkpoint, checkpoint_of
from jasper_tf.io.atomic_write import atomic_path, atomic_write
from jasper_tf.model.jasper_ctc import JasperCTC, build_model
from jasper_tf.model.validate_weights import validate_weights


@dataclass(frozen=True)
class NemoImport:
    """An imported model.

    Attributes:
        model: with the weights of the archive.
        config: the archive's configuration in this package's schema.
        tensors: for each tensor of the checkpoint, by name, what it was used for.
        notes: a line for each thing that was ignored.
    """

    model: JasperCTC
    config: Config
    tensors: dict[str, str]
    notes: list[str]

    def write(self, folder: str | Path) -> None:
        """Writes `model.keras`, `config.yaml` and the tokenizer's files, as in a run's folder; makes `folder`.

        Raises:
            UserError: `folder` cannot be made or written to.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: cannot write here ({error.strerror or error})") from None
        with atomic_path(folder / "model.keras") as temporary:
            self.model.save(temporary)
        write_tokenizer(self.model.tokenizer, folder)
        values = self.config.to_dict()
        if values["model"]["tokenizer"] is not None:
            values["model"]["tokenizer"]["dir"] = str(folder / TOKENIZER_FOLDER)
        with atomic_write(folder / "config.yaml") as file:
            yaml.safe_dump(values, file, sort_keys=False, allow_unicode=True)


def import_nemo(path: str | Path, generation: str = "modern") -> NemoImport:
    """Imports a `.nemo` archive (NeMo 1.x to 3.x) of a CTC model of characters or word pieces, without PyTorch.

    Args:
        path: the archive.
        generation: of the features: "modern" computes them as NeMo >= 2.5 does for this archive, "legacy" as older
            versions did (see `LogMelSpectrogram`).

    Raises:
        UserError: a damaged archive; an unsupported model or setting; tensors that are missing, left over or of another
            shape, by name; values that are not finite.
    """
    archive = read_archive(path)
    config, notes = from_nemo_config(archive, f"{path}: {CONFIG}", Path(path).stem, generation)
    notes += [f"{name} in the archive is not read" for name in archive.others]
    checkpoint = read_checkpoint(archive.weights, f"{path}: {WEIGHTS}")
    del archive
    model = build_model(config)
    tensors = assign_checkpoint(model, checkpoint, str(path))
    validate_weights(model.weights, str(path))
    return NemoImport(model, config, tensors, notes)


def export_nemo(model: JasperCTC, config: Config, path: str | Path) -> list[str]:
    """Writes `model` as an archive that `EncDecCTCModel.restore_from` of NeMo loads, or `EncDecCTCModelBPE`'s.

    Args:
        model: a model built from `config`.
        config: supplies the sections that only training reads.
        path: of the archive; replaced if there.

    Returns:
        A line for each way in which NeMo's results will differ.

    Raises:
        UserError: `config` belongs to another model; NeMo has no such model; `path` cannot be written.
    """
    nemo_config, files, notes = to_nemo_config(model.get_config(), model.tokenizer, config)
    text = yaml.safe_dump(nemo_config, sort_keys=False, allow_unicode=True)
    write_archive(path, text, write_checkpoint(checkpoint_of(model)), files)
    return notes

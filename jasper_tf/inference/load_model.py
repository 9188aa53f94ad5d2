"""Loads a trained model: a run's folder, a `.keras` file, a NeMo archive or what export.py wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jasper_tf.errors import UserError, one_line
from jasper_tf.export.saved_model.folder import find_saved_model
from jasper_tf.inference.edge.recognizer import EdgeRecognizer
from jasper_tf.inference.model_path import find_edge_model, find_model_file, local_model
from jasper_tf.io.keras_archive import CONFIG

if TYPE_CHECKING:  # an edge model does without TensorFlow, whose import takes seconds
    from jasper_tf.inference.saved_model import SavedModelTranscriber
    from jasper_tf.model.jasper_ctc import JasperCTC


def load_recognizer(path: str | Path, threads: int | None = None) -> JasperCTC | SavedModelTranscriber | EdgeRecognizer:
    """Loads whatever `--model` names, for a Transcriber: what `load_model` takes, or what export.py wrote.

    Args:
        path: of a folder or file.
        threads: of the runtime of an edge model; TensorFlow's are those of the process. Default: see `EdgeRecognizer`.

    Raises:
        UserError: it is missing, not a model of this package, damaged or malicious.
    """
    path = local_model(path)
    if find_edge_model(path):
        return EdgeRecognizer(path, threads)
    if exported := find_saved_model(path):
        from jasper_tf.inference.saved_model import SavedModelTranscriber

        return SavedModelTranscriber(exported)
    return _load(find_model_file(path, exports=True))


def load_model(path: str | Path) -> JasperCTC:
    """Loads a run's folder (its best weights so far), a `.keras` file or a NeMo archive (`.nemo`).

    The file need not be trusted: none of its code is run, no class but JasperCTC is created, and the sizes it declares
    are compared with its content before memory is allocated.

    Raises:
        UserError: it is missing, not a model of this package, damaged or malicious.
    """
    return _load(find_model_file(local_model(path)))


def _load(file: Path) -> JasperCTC:
    if file.suffix == ".nemo":
        from jasper_tf.interop.nemo.model import import_nemo

        return import_nemo(file).model
    from jasper_tf.inference.keras_file import load_keras_file
    from jasper_tf.model.validate_weights import validate_weights

    try:
        model = load_keras_file(file)
    except Exception as error:  # of damaged files: Keras, TensorFlow and h5py raise every class of exception
        if isinstance(error, UserError):
            raise UserError(f"{file}: {str(error).removeprefix(f'{file}: ')}") from error
        reason = one_line(str(error).partition(". ")[0])  # Keras goes on for paragraphs
        raise UserError(f"{file}: its weights are not those of its {CONFIG} ({reason}); get the file again") from error
    validate_weights(model.weights, str(file))
    return model

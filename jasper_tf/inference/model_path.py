"""Whether the path of a model leads anywhere, before TensorFlow is loaded."""

from __future__ import annotations

from pathlib import Path

from jasper_tf.errors import UserError, shorten


def require_model_path(path: str | Path) -> None:
    """Requires that `path` exists; what it holds is for `load_model` to say.

    Raises:
        UserError: there is no such file or folder.
    """
    if not Path(path).exists():
        raise UserError(f"{shorten(path)}: no such file; give a run's folder, a model.keras or a .nemo")

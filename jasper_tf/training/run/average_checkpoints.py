"""Averages several checkpoints of one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np

from jasper_tf.errors import UserError
from jasper_tf.model.jasper_ctc import JasperCTC
from jasper_tf.training.run.checkpoint_manager import CheckpointManager, model_variables


def average_checkpoints(
    model: JasperCTC, checkpoints: CheckpointManager, paths: Sequence[Path], say: Callable[[str], None] = print
) -> None:
    """Sets `model` to the mean of its weights and running statistics over the checkpoints `paths`.

    Summed in float64. The random states of dither, masks and dropout come from the newest checkpoint.

    Args:
        model: built from the run's configuration.
        checkpoints: of the run.
        paths: one or more checkpoints, each once.
        say: gets a line for each.

    Raises:
        UserError: a checkpoint is damaged, or of another model.
    """
    variables = model_variables(model)
    sums: dict[str, np.ndarray] = {}
    newest = -1
    for n, path in enumerate(paths, start=1):
        state, values = checkpoints.read(path)
        values = {key: value for key, value in values.items() if key.startswith("model/")}
        if {k: v.shape for k, v in values.items()} != {k: tuple(v.shape) for k, v in variables.items()}:
            raise UserError(f"{path}: made for another model than the run's config.yaml describes; leave it out")
        say(f"{n}/{len(paths)} {path.name}")
        for key, value in values.items():
            if np.issubdtype(value.dtype, np.floating):
                sums[key] = sums[key] + value if key in sums else value.astype(np.float64)
            elif state.step > newest:
                variables[key].assign(value)
        newest = max(newest, state.step)
    for key, total in sums.items():
        mean = total / len(paths)
        variables[key].assign(keras.ops.cast(mean, variables[key].dtype))

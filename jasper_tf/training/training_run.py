"""A training run that is ready for its first step."""

from __future__ import annotations

from dataclasses import dataclass

from jasper_tf.config import Config
from jasper_tf.model.jasper_ctc import JasperCTC
from jasper_tf.optim.exponential_moving_average import ExponentialMovingAverage
from jasper_tf.training.distributed.device_peak import DevicePeak
from jasper_tf.training.run.checkpoint_manager import CheckpointManager
from jasper_tf.training.run.folder import RunFolder
from jasper_tf.training.run.training_state import TrainingState
from jasper_tf.training.run_data import RunData


@dataclass(frozen=True)
class TrainingRun:
    """Everything that the callbacks and the loop of one run use.

    Args:
        cfg: the configuration.
        folder: of the run.
        model: compiled, and restored if the run resumes.
        data: training and validation batches.
        checkpoints: None if the configuration asks for none.
        average: moving average of the weights (`trainer.ema`), or None.
        state: progress of the run; kept current by the loop.
        total_steps: optimizer steps of the whole run.
        peak: of all devices, or None if unknown.
    """

    cfg: Config
    folder: RunFolder
    model: JasperCTC
    data: RunData
    checkpoints: CheckpointManager | None
    average: ExponentialMovingAverage | None
    state: TrainingState
    total_steps: int
    peak: DevicePeak | None

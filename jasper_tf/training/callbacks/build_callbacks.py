"""The callbacks of a training run."""

from __future__ import annotations

import functools

import keras

from jasper_tf.config.duration import seconds
from jasper_tf.config.sections.optim_schema import PLATEAU
from jasper_tf.training.callbacks.average_weights import AverageWeights
from jasper_tf.training.callbacks.bad_audio_report import BadAudioReport
from jasper_tf.training.callbacks.early_stopping import EarlyStopping
from jasper_tf.training.callbacks.interruption import Interruption, StopWhenAsked
from jasper_tf.training.callbacks.measure_peak import MeasurePeak
from jasper_tf.training.callbacks.progress import Progress
from jasper_tf.training.callbacks.reduce_on_plateau import ReduceOnPlateau
from jasper_tf.training.callbacks.save_checkpoints import SaveCheckpoints
from jasper_tf.training.callbacks.stop_on_non_finite_loss import StopOnNonFiniteLoss
from jasper_tf.training.callbacks.validation_samples import ValidationSamples
from jasper_tf.training.loop import evaluate
from jasper_tf.training.run.description import RunDescription
from jasper_tf.training.run.log import RunLog
from jasper_tf.training.training_run import TrainingRun


def build_callbacks(run: TrainingRun, interruption: Interruption) -> list[keras.callbacks.Callback]:
    """Returns the callbacks in the order in which they must see a step.

    First what adds results or stops the run, then what reports results, then what saves them.
    """
    cfg, state, folder, data = run.cfg, run.state, run.folder, run.data
    e, say = cfg.exp_manager, folder.say
    callbacks: list[keras.callbacks.Callback] = []
    if run.peak and run.peak.is_measured:
        callbacks.append(MeasurePeak(run.peak, say))
    if run.average:
        score = functools.partial(evaluate, run.model, data.validation) if data.validation else None
        callbacks.append(AverageWeights(run.average, state, score))
    report = folder.path / "non_finite_batch.jsonl" if folder.writes else None
    callbacks.append(StopOnNonFiniteLoss(data.training, state, report))
    log = _build_log(run)
    if log.log_dir:
        callbacks.append(RunDescription(cfg, folder.path.name, log, state, run.total_steps))
        if data.validation:
            callbacks.append(ValidationSamples(data.validation, data.training, log, state))
    sets = data.validation.sets if data.validation else ()
    callbacks += [log, Progress(say, state, run.total_steps, data.training, sets, run.peak)]
    if skipping := [part.bad_audio for part in data.parts() if part.bad_audio]:
        callbacks.append(BadAudioReport(skipping, say))
    sched = cfg.model.optim.sched
    if sched and sched.reduce_on_plateau:
        plateau = {key: getattr(sched, key) for key in ("monitor", *PLATEAU)}
        callbacks.append(ReduceOnPlateau(state, **plateau, say=say))
    if e.create_early_stopping_callback:
        early = e.early_stopping_callback_params
        callbacks.append(EarlyStopping(state, early.monitor, early.mode, early.patience, early.min_delta))
    saver = _build_saver(run) if folder.writes else None
    if saver:
        callbacks.append(saver)
    callbacks.append(StopWhenAsked(interruption, None if cfg.trainer.fast_dev_run else saver))
    return callbacks


def _build_log(run: TrainingRun) -> RunLog:
    folder, validation = run.folder, run.data.validation
    wants_curves = run.cfg.exp_manager.create_tensorboard_logger and folder.writes
    return RunLog(
        folder.metrics_file if folder.writes else None,
        run.data.training,
        run.state,
        run.cfg.trainer.log_every_n_steps,
        folder.tensorboard if wants_curves else None,
        validation.sets if validation else (),
        [metric.name for metric in run.model.output_losses],
        run.peak,
    )


def _build_saver(run: TrainingRun) -> SaveCheckpoints:
    params = run.cfg.exp_manager.checkpoint_callback_params
    interval = params.train_time_interval
    return SaveCheckpoints(
        run.checkpoints,
        run.folder.model_file,
        run.state,
        params.monitor,
        params.every_n_train_steps,
        None if interval is None else seconds(interval),
        params.mode,
    )

"""Trains a model from a configuration."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from jasper_tf.audio.graph_errors import user_error_in
from jasper_tf.config import Config
from jasper_tf.config.duration import seconds
from jasper_tf.errors import UserError
from jasper_tf.model.jasper_ctc import JasperCTC, build_model
from jasper_tf.model.memory_estimate import require_memory
from jasper_tf.optim.exponential_moving_average import ExponentialMovingAverage
from jasper_tf.training.auto_batch_duration import with_batch_duration
from jasper_tf.training.callbacks.build_callbacks import build_callbacks
from jasper_tf.training.callbacks.interruption import Interruption, TrainingInterruptedError
from jasper_tf.training.compilation import compile_model
from jasper_tf.training.distributed.device_peak import find_peak
from jasper_tf.training.distributed.devices import set_precision, strategy_of
from jasper_tf.training.distributed.workers import is_chief, leave_together, lost_worker
from jasper_tf.training.fine_tuning import copy_weights, freeze, read_pretrained
from jasper_tf.training.loop import run_epochs
from jasper_tf.training.requirements import require_training_inputs
from jasper_tf.training.run.checkpoint_manager import CheckpointManager
from jasper_tf.training.run.event_files import event_file_error
from jasper_tf.training.run.folder import RunFolder
from jasper_tf.training.run.place import RunPlace, run_place
from jasper_tf.training.run.training_state import TrainingState
from jasper_tf.training.run_data import RunData, read_data
from jasper_tf.training.training_run import TrainingRun

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


def train(cfg: Config) -> Path | str:
    """Trains the model of `cfg`, or resumes its run; returns the run's folder, a URL where it is in object storage.

    Raises:
        UserError: something in the configuration, the data or the run's folder is wrong.
        TrainingInterruptedError: a signal or `max_time` stopped it; it can resume.
        WorkerLostError: another machine of the job is gone; a new process can resume.
    """
    require_training_inputs(cfg)
    with run_place(cfg) as place:
        several = cfg.trainer.num_nodes > 1
        if cfg.trainer.auto_batch_duration or not several:
            place.load()
        # Before TensorFlow takes a GPU's memory for this process.
        cfg, batch_duration = with_batch_duration(cfg, place.path)
        strategy, devices = strategy_of(cfg.trainer)  # before anything else that TensorFlow does
        if several:
            # Until all machines have met, one that is about to restart may write another checkpoint there, and then
            # they would resume from different ones.
            place.load()
        try:
            _train(cfg, place, strategy, devices, batch_duration)
            if several:
                # A machine that is lost while it saves the end of the run would come back to a job that the others have
                # left, and wait for them.
                leave_together(strategy)
        except tf.errors.OpError as error:  # variables are made by all machines together, long before the first step
            if several and (lost := lost_worker(error)):
                raise lost from error
            raise
    return place.name


def _train(
    cfg: Config, place: RunPlace, strategy: tf.distribute.Strategy, devices: Sequence[str], batch_duration: str | None
) -> None:
    keras.utils.set_random_seed(cfg.seed)
    set_precision(cfg.trainer.precision)
    # The data before the model: an error in a manifest shows at once, however large the model.
    data = read_data(cfg, strategy.num_replicas_in_sync)
    if batch_duration:
        data.report.append(batch_duration)
    _require_memory(cfg, data, strategy, devices)
    # A resumed run has all weights in its checkpoints; the pretrained file may be gone.
    resumes = cfg.exp_manager.resume_if_exists and CheckpointManager(place.path / "checkpoints").paths()
    pretrained = None if resumes else read_pretrained(cfg)
    with strategy.scope():
        model = build_model(cfg, synchronized=strategy.num_replicas_in_sync > 1 and cfg.trainer.sync_batchnorm)
    frozen = freeze(model, cfg.model.freeze, pretrained)

    with RunFolder(cfg, devices, is_chief(strategy), place) as folder:
        for line in _describe(cfg, folder, model, data, devices, strategy):
            folder.say(line)
        with strategy.scope():
            compile_model(model, cfg, data.total_steps, data.training.steps_per_epoch)
        ema = cfg.trainer.ema
        # Before the checkpoint is restored, which holds the average.
        average = ExponentialMovingAverage(model, ema.decay, ema.start_step, ema.every_n_steps) if ema else None
        checkpoints = _build_checkpoints(cfg, folder)
        restored = _restore(folder, checkpoints, model) if folder.resumed else None
        if not restored and (pretrained := pretrained or read_pretrained(cfg)):
            with strategy.scope():
                folder.say(copy_weights(pretrained, model))
        del pretrained  # as large as the model
        if frozen:
            folder.say(frozen)
        state = restored or TrainingState()
        total_steps = _total_steps(cfg, data, state)
        if state.step >= total_steps and state.step_in_epoch == 0:
            folder.say(
                f"{folder.path}: this run is complete ({total_steps} steps); start another with exp_manager.name=..."
            )
            return
        with _user_errors(folder, strategy):
            peak = find_peak(cfg.trainer, devices, strategy.num_replicas_in_sync)
            if peak:
                folder.say(str(peak))
            _run(TrainingRun(cfg, folder, model, data, checkpoints, average, state, total_steps, peak))


def _run(run: TrainingRun) -> None:
    cfg = run.cfg
    limits = [seconds(limit) for limit in (cfg.trainer.max_time, cfg.exp_manager.max_time_per_run) if limit is not None]
    interruption = Interruption(min(limits, default=None))
    callbacks = build_callbacks(run, interruption)
    every = 1 if cfg.trainer.fast_dev_run else cfg.trainer.check_val_every_n_epoch
    with interruption:
        run_epochs(
            run.model,
            run.data.training,
            run.data.validation,
            run.state,
            run.total_steps,
            callbacks,
            validate_every=every,
        )


def _require_memory(cfg: Config, data: RunData, strategy: tf.distribute.Strategy, devices: Sequence[str]) -> None:
    parts = cfg.trainer.accumulate_grad_batches * strategy.num_replicas_in_sync
    rows, samples = data.training.largest_batch(parts)
    on_gpu = "GPU" in devices[0]  # then the activations do not use the memory that is checked
    require_memory(cfg, 1 if on_gpu else rows, 0 if on_gpu else samples)


def _describe(
    cfg: Config,
    folder: RunFolder,
    model: JasperCTC,
    data: RunData,
    devices: Sequence[str],
    strategy: tf.distribute.Strategy,
) -> Iterator[str]:
    """Yields the first lines of the log: place, devices, ignored keys, data and size."""
    replicas, nodes = strategy.num_replicas_in_sync, cfg.trainer.num_nodes
    of_all = f" of {replicas} on {nodes} machines" if nodes > 1 else ""
    kind = devices[0].rsplit(":", 2)[-2]
    yield f"run {folder.path}, {len(devices)} x {kind}{of_all}, precision {cfg.trainer.precision}"
    if cfg.ignored:
        yield f"keys that only steer PyTorch, ignored: {', '.join(cfg.ignored)}"
    if cfg.taken_over:
        yield f"not in {cfg.source}, taken from the pretrained model: {', '.join(cfg.taken_over)}"
    if not cfg.model.decoding.is_greedy:
        yield f"validation decodes greedily; decoding.strategy {cfg.model.decoding.strategy} is for the finished model"
    yield from data.report
    parameters = sum(v.shape.num_elements() for v in model.trainable_weights)
    size = data.training.batch_size
    yield f"{parameters:,} trainable parameters, {data.total_steps} steps of {size} utterances"


def _build_checkpoints(cfg: Config, folder: RunFolder) -> CheckpointManager | None:
    wanted = cfg.exp_manager.create_checkpoint_callback
    if wanted is None:
        wanted = cfg.trainer.enable_checkpointing
    params = cfg.exp_manager.checkpoint_callback_params
    keep = params.monitor, params.save_top_k, params.save_last, params.mode
    return CheckpointManager(folder.checkpoints, *keep, on_save=folder.save) if wanted else None


def _restore(folder: RunFolder, checkpoints: CheckpointManager | None, model: JasperCTC) -> TrainingState | None:
    state = checkpoints.restore(model, warn=folder.say, writes=folder.writes) if checkpoints else None
    if state:
        folder.say(f"resuming at epoch {state.epoch + 1}, step {state.step}")
    else:
        folder.say("no checkpoint found; starting at step 0")
    return state


def _total_steps(cfg: Config, data: RunData, state: TrainingState) -> int:
    e = cfg.exp_manager
    if e.create_early_stopping_callback and state.waited:
        if state.waited[0] >= e.early_stopping_callback_params.patience:
            return state.step  # early stopping ended the run
    return 1 if cfg.trainer.fast_dev_run else data.total_steps


@contextlib.contextmanager
def _user_errors(folder: RunFolder, strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Turns errors with a cause outside of the program into a UserError; logs an interruption."""
    try:
        yield
    except tf.errors.OpError as error:
        wrong = user_error_in(error) or event_file_error(folder.tensorboard, error)
        if wrong is None:
            raise
        raise wrong from error
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise UserError(f"{folder.path}: {error.strerror}; make room, then the same command resumes") from error
    except TrainingInterruptedError as stop:
        folder.say(str(stop))
        if stop.status:
            raise

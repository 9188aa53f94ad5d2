"""One training run, from a configuration to its folder."""

from __future__ import annotations

import contextlib
import errno
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from jasper_tf.audio.graph_errors import user_error_in
from jasper_tf.config import Config
from jasper_tf.config.duration import seconds
from jasper_tf.config.optim_schema import PLATEAU
from jasper_tf.config.section import MISSING
from jasper_tf.data.batches.pipeline import SpeechBatches
from jasper_tf.errors import UserError
from jasper_tf.inference.pretrained_config import INIT_KEYS
from jasper_tf.losses.ctc import CTCLoss
from jasper_tf.metrics.keras_metric import ErrorRate
from jasper_tf.model.jasper_ctc import JasperCTC, build_model
from jasper_tf.model.memory_estimate import require_memory
from jasper_tf.optim.exponential_moving_average import ExponentialMovingAverage
from jasper_tf.optim.optimizer import build_optimizer
from jasper_tf.training.callbacks.average_weights import AverageWeights
from jasper_tf.training.callbacks.bad_audio_report import BadAudioReport
from jasper_tf.training.callbacks.early_stopping import EarlyStopping
from jasper_tf.training.callbacks.finite_loss import StopOnNonFiniteLoss
from jasper_tf.training.callbacks.interruption import Interruption, StopWhenAsked, TrainingInterruptedError
from jasper_tf.training.callbacks.progress import Progress
from jasper_tf.training.callbacks.reduce_on_plateau import ReduceOnPlateau
from jasper_tf.training.callbacks.save_checkpoints import SaveCheckpoints
from jasper_tf.training.callbacks.validation_samples import ValidationSamples
from jasper_tf.training.datasets import build_batches, data_key, first_batches, longest_batch
from jasper_tf.training.distributed.devices import set_precision, strategy_of
from jasper_tf.training.distributed.workers import is_chief, lost_worker
from jasper_tf.training.fine_tuning import copy_weights, freeze, read_pretrained
from jasper_tf.training.loop import evaluate, run_epochs
from jasper_tf.training.run.checkpoint import CheckpointFolder, Position
from jasper_tf.training.run.description import RunDescription
from jasper_tf.training.run.event_files import event_file_error
from jasper_tf.training.run.folder import RunFolder, run_path
from jasper_tf.training.run.log import RunLog

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


def compile_model(model: JasperCTC, cfg: Config, total_steps: int, steps_per_epoch: int = 1) -> None:
    """Compiles `model` with the configuration's optimiser, loss, error rates, accumulation and clipping."""
    model.compile(
        optimizer=build_optimizer(cfg, total_steps, steps_per_epoch, model.trainable_variables),
        loss=CTCLoss(cfg.model.ctc_reduction),
        metrics=[ErrorRate(model.tokenizer, unit, model.decoding) for unit in ("word", "character")],
        accumulate_grad_batches=cfg.trainer.accumulate_grad_batches,
        gradient_clip_val=cfg.trainer.gradient_clip_val,
        jit_compile=cfg.trainer.jit_compile,
    )
    model.optimizer.build(model.trainable_variables)


def train(cfg: Config) -> Path:
    """Trains as `cfg` says, or resumes the run in its folder; returns the run's folder.

    Raises:
        UserError: something in the configuration, the data or the run's folder is wrong.
        TrainingInterruptedError: a signal or `max_time` stopped it; it can go on.
        WorkerLostError: another machine of the job is gone; a new process can go on.
    """
    _require(cfg)
    strategy, devices = strategy_of(cfg.trainer)
    keras.utils.set_random_seed(cfg.seed)
    set_precision(cfg.trainer.precision)
    # The data before the model: what is wrong with a manifest shows at once, however large the model.
    training, validation, total_steps, report = read_data(cfg, strategy.num_replicas_in_sync)
    rows, samples = training.largest_batch(cfg.trainer.accumulate_grad_batches * strategy.num_replicas_in_sync)
    on_gpu = "GPU" in devices[0]  # whose memory holds the activations, and is not the machine's
    require_memory(cfg, 1 if on_gpu else rows, 0 if on_gpu else samples)
    # A run that goes on has all weights in its checkpoints; the pretrained file may be gone.
    begun = cfg.exp_manager.resume_if_exists and CheckpointFolder(run_path(cfg) / "checkpoints").paths()
    pretrained = None if begun else read_pretrained(cfg)
    replicas = strategy.num_replicas_in_sync
    with strategy.scope():
        model = build_model(cfg, synchronized=replicas > 1 and cfg.trainer.sync_batchnorm)
    frozen = freeze(model, cfg.model.freeze, pretrained)

    with RunFolder(cfg, devices, writes=is_chief(strategy)) as run:
        for line in [*_first_lines(cfg, run, devices, replicas), *report]:
            run.say(line)
        parameters = sum(v.shape.num_elements() for v in model.trainable_weights)
        run.say(f"{parameters:,} trainable parameters, {total_steps} steps of {training.batch_size} utterances")
        with strategy.scope():
            compile_model(model, cfg, total_steps, training.steps_per_epoch)
        ema = cfg.trainer.ema
        # Before the checkpoint is read: it holds the average.
        average = ExponentialMovingAverage(model, ema.decay, ema.start_step, ema.every_n_steps) if ema else None

        checkpoints = _checkpoints(cfg, run)
        position, restored = Position(), None
        if run.resumed:
            restored = checkpoints.restore(model, warn=run.say, writes=run.writes) if checkpoints else None
            position = restored or position
            where = f"going on at epoch {position.epoch + 1}, step {position.step}"
            run.say(where if restored else "no checkpoint to go on from; beginning at step 0")
        if not restored and (pretrained := pretrained or read_pretrained(cfg)):
            with strategy.scope():
                run.say(copy_weights(pretrained, model))
        del pretrained  # as large as the model
        if frozen:
            run.say(frozen)
        if cfg.trainer.fast_dev_run:
            total_steps = 1
        e = cfg.exp_manager
        patience = e.early_stopping_callback_params.patience
        if e.create_early_stopping_callback and position.waited and position.waited[0] >= patience:
            total_steps = position.step  # it stopped there
        if position.step >= total_steps and position.step_in_epoch == 0:
            run.say(f"{run.path}: this run is complete ({total_steps} steps); exp_manager.name=... starts another")
            return run.path

        limits = [seconds(limit) for limit in (cfg.trainer.max_time, e.max_time_per_run) if limit is not None]
        interruption = Interruption(min(limits, default=None))
        with _in_one_line(run, strategy):
            callbacks = _callbacks(
                cfg, model, run, checkpoints, position, training, validation, total_steps, interruption
            )
            if average:  # before all that reads results, or saves
                score = functools.partial(evaluate, model, validation) if validation else None
                callbacks.insert(0, AverageWeights(average, position, score))
            with interruption:
                every = 1 if cfg.trainer.fast_dev_run else cfg.trainer.check_val_every_n_epoch
                run_epochs(model, training, validation, position, total_steps, callbacks, validate_every=every)
    return run.path


def _first_lines(cfg: Config, run: RunFolder, devices: Sequence[str], replicas: int) -> Iterator[str]:
    """What the run is, for a person."""
    of_all = f" of {replicas} on {cfg.trainer.num_nodes} machines" if cfg.trainer.num_nodes > 1 else ""
    kind = devices[0].rsplit(":", 2)[-2]
    yield f"run {run.path}, {len(devices)} x {kind}{of_all}, precision {cfg.trainer.precision}"
    if cfg.ignored:
        yield f"keys that only steer PyTorch, ignored: {', '.join(cfg.ignored)}"
    if cfg.taken_over:
        yield f"not in {cfg.source}, taken from the pretrained model: {', '.join(cfg.taken_over)}"


def _checkpoints(cfg: Config, run: RunFolder) -> CheckpointFolder | None:
    """Where the run keeps its checkpoints; None where the configuration asks for none."""
    wanted = cfg.exp_manager.create_checkpoint_callback
    if wanted is None:
        wanted = cfg.trainer.enable_checkpointing
    params = cfg.exp_manager.checkpoint_callback_params
    keep = params.monitor, params.save_top_k, params.save_last, params.mode
    return CheckpointFolder(run.checkpoints, *keep) if wanted else None


@contextlib.contextmanager
def _in_one_line(run: RunFolder, strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Says what a person can mend in one line; a stop that was asked for is said, and is no error."""
    try:
        yield
    except tf.errors.OpError as error:
        wrong = user_error_in(error) or event_file_error(run.tensorboard, error) or lost_worker(strategy, error)
        if wrong is None:
            raise
        raise wrong from error
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise UserError(f"{run.path}: {error.strerror}; make room, then the same command goes on") from error
    except TrainingInterruptedError as stop:
        run.say(str(stop))
        if stop.status:
            raise


def _require(cfg: Config) -> None:
    """Raises a UserError that names every key without a value."""
    sections = ["train_ds"] + (["validation_ds"] if cfg.model.validation_ds is not None else [])
    needed = [data_key(cfg, section) for section in sections]
    needed += [f"model.{section}" for section in (*sections, "labels", "preprocessor", "encoder", "decoder", "optim")]
    if cfg.trainer.max_epochs is None and cfg.trainer.max_steps == -1:
        needed.append("trainer.max_epochs")
    needed += [key for key in INIT_KEYS if getattr(cfg, key) == MISSING]
    cfg.require(*needed, "trainer", "exp_manager")


def read_data(cfg: Config, replicas: int) -> tuple[SpeechBatches, SpeechBatches | None, int, list[str]]:
    """Training and validation batches, the optimizer steps of the whole run, and lines for a person."""
    parts = cfg.trainer.accumulate_grad_batches * replicas
    training, selection = build_batches(cfg, "train_ds", parts=parts)
    report = [f"train_ds: {selection.summary()}; {training.padding_share():.1%} of the batches is padding"]
    validation = None
    if cfg.model.validation_ds is not None:
        validation, selection = build_batches(cfg, "validation_ds", parts=replicas)
        report.append(f"validation_ds: {selection.summary()}")
    few = cfg.trainer.overfit_batches
    if few:
        utterances = first_batches(training, few)
        training, _ = build_batches(cfg, "train_ds", parts=parts, only=utterances)
        instead = ", not on the named sets" if validation and validation.sets else ""
        report.append(f"overfit_batches: {training.steps_per_epoch} batches, for training and for validation{instead}")
        if validation:
            validation, _ = build_batches(cfg, "validation_ds", parts=replicas, only=utterances)
    total_steps = training.total_steps(cfg.trainer.max_epochs or 0)
    if cfg.trainer.max_steps != -1:
        total_steps = min(total_steps or cfg.trainer.max_steps, cfg.trainer.max_steps)
    if cfg.trainer.fast_dev_run:
        training, _ = build_batches(cfg, "train_ds", parts=parts, only=longest_batch(training))
        longest_s = training.audio_len.max() / cfg.model.sample_rate
        report.append(f"fast_dev_run: one batch of {len(training.utterances)}, the longest {longest_s:.1f} s")
        if validation:
            validation, _ = build_batches(cfg, "validation_ds", parts=replicas, only=longest_batch(validation))
    return training, validation, total_steps, report


def _parts(training: SpeechBatches, validation: SpeechBatches | None) -> list[SpeechBatches]:
    """The batches that are read: the sets in place of those that hold them all."""
    return [training, *(list(validation.sets.values()) or [validation] if validation else [])]


def _callbacks(
    cfg: Config,
    model: JasperCTC,
    run: RunFolder,
    checkpoints: CheckpointFolder | None,
    position: Position,
    training: SpeechBatches,
    validation: SpeechBatches | None,
    total_steps: int,
    interruption: Interruption,
) -> list[keras.callbacks.Callback]:
    """In the order in which they must see a step: what may stop the run, what tells of it, what saves it."""
    e, params = cfg.exp_manager, cfg.exp_manager.checkpoint_callback_params
    tensorboard = run.tensorboard if e.create_tensorboard_logger and run.writes else None
    callbacks: list[keras.callbacks.Callback] = [
        StopOnNonFiniteLoss(training, position, run.path / "non_finite_batch.jsonl" if run.writes else None)
    ]
    metrics_file = run.metrics_file if run.writes else None
    every, sets = cfg.trainer.log_every_n_steps, validation.sets if validation else ()
    losses = [metric.name for metric in model.output_losses]
    log = RunLog(metrics_file, training, position, every, tensorboard, sets, losses)
    callbacks += [log, Progress(run.say, position, total_steps, training, sets)]
    skipping = [part.bad_audio for part in _parts(training, validation) if part.bad_audio]
    if skipping:
        callbacks.append(BadAudioReport(skipping, run.say))
    sched = cfg.model.optim.sched
    if sched and sched.reduce_on_plateau:
        plateau = {key: getattr(sched, key) for key in ("monitor", *PLATEAU)}
        callbacks.append(ReduceOnPlateau(position, **plateau, say=run.say))
    if log.writer:
        callbacks.append(RunDescription(cfg, run.path.name, log.writer, position, total_steps))
        if validation:
            callbacks.append(ValidationSamples(validation, training, log.writer, position))
    if e.create_early_stopping_callback:
        early = e.early_stopping_callback_params
        callbacks.append(EarlyStopping(position, early.monitor, early.mode, early.patience, early.min_delta))
    saver = None
    if run.writes:
        interval = params.train_time_interval
        saver = SaveCheckpoints(
            checkpoints,
            run.model_file,
            position,
            params.monitor,
            params.every_n_train_steps,
            None if interval is None else seconds(interval),
            params.mode,
        )
        callbacks.append(saver)
    callbacks.append(StopWhenAsked(interruption, saver))
    return callbacks

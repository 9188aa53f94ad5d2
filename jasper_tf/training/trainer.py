"""One training run, from a configuration to its folder."""

from __future__ import annotations

from pathlib import Path

import keras
import tensorflow as tf

from jasper_tf.config import Config
from jasper_tf.config.pretrained import INIT_KEYS
from jasper_tf.config.section import MISSING
from jasper_tf.data.audio import user_error_in
from jasper_tf.data.pipeline import SpeechBatches
from jasper_tf.jasper_ctc import JasperCTC, build_model
from jasper_tf.training.checkpoint import CheckpointFolder, Position
from jasper_tf.training.cosine_annealing import CosineAnnealing
from jasper_tf.training.ctc import CTCLoss
from jasper_tf.training.datasets import build_batches
from jasper_tf.training.devices import build_strategy, choose_devices, set_precision
from jasper_tf.training.error_rate_metric import ErrorRate
from jasper_tf.training.fine_tuning import copy_weights, freeze, read_pretrained
from jasper_tf.training.novograd import NovoGrad
from jasper_tf.training.progress import Progress
from jasper_tf.training.run_description import RunDescription
from jasper_tf.training.run_folder import RunFolder, run_path
from jasper_tf.training.run_log import RunLog
from jasper_tf.training.save_checkpoints import SaveCheckpoints, TrackPosition
from jasper_tf.training.validation_samples import ValidationSamples


def build_optimizer(cfg: Config, total_steps: int) -> keras.optimizers.Optimizer:
    """`model.optim` with its schedule, which ends at `sched.max_steps`, or at `total_steps` when that is not given."""
    o = cfg.model.optim
    rate: float | CosineAnnealing = o.lr
    if o.sched is not None:
        s = o.sched
        rate = CosineAnnealing(
            o.lr,
            max_steps=s.max_steps or total_steps,
            warmup_steps=s.warmup_steps,
            warmup_ratio=s.warmup_ratio,
            constant_steps=s.constant_steps,
            constant_ratio=s.constant_ratio,
            min_lr=s.min_lr,
        )
    return NovoGrad(
        rate,
        betas=o.betas,
        epsilon=o.eps,
        weight_decay=o.weight_decay,
        grad_averaging=o.grad_averaging,
        amsgrad=o.amsgrad,
    )


def compile_model(model: JasperCTC, cfg: Config, total_steps: int) -> None:
    """Compiles `model` with the configuration's optimiser, loss, error rates, accumulation and clipping."""
    model.compile(
        optimizer=build_optimizer(cfg, total_steps),
        loss=CTCLoss(cfg.model.ctc_reduction),
        metrics=[ErrorRate(model.labels, "word"), ErrorRate(model.labels, "character")],
        accumulate_grad_batches=cfg.trainer.accumulate_grad_batches,
        gradient_clip_val=cfg.trainer.gradient_clip_val,
    )
    model.optimizer.build(model.trainable_variables)


def train(cfg: Config) -> Path:
    """Trains as `cfg` says, or goes on where the run in its folder stopped; returns the run's folder.

    Raises:
        UserError: something in the configuration, the data or the run's folder is wrong.
    """
    sections = ["train_ds"] + (["validation_ds"] if cfg.model.validation_ds is not None else [])
    needed = [f"model.{section}.manifest_filepath" for section in sections]
    needed += [f"model.{section}" for section in (*sections, "labels", "preprocessor", "encoder", "decoder", "optim")]
    if cfg.trainer.max_epochs is None and cfg.trainer.max_steps == -1:
        needed.append("trainer.max_epochs")
    needed += [key for key in INIT_KEYS if getattr(cfg, key) == MISSING]
    cfg.require(*needed, "trainer", "exp_manager")
    keras.utils.set_random_seed(cfg.seed)
    devices = choose_devices(cfg.trainer.accelerator, cfg.trainer.devices)
    strategy = build_strategy(devices)
    set_precision(cfg.trainer.precision)
    # The data before the model: what is wrong with a manifest shows at once, however large the model.
    divisor = cfg.trainer.accumulate_grad_batches * len(devices)
    training, selection = build_batches(cfg, "train_ds", divisor=divisor)
    validation = None
    if cfg.model.validation_ds is not None:
        validation, validation_selection = build_batches(cfg, "validation_ds", divisor=len(devices))
    # A run that goes on has all weights in its checkpoints; the pretrained file may be gone.
    begun = cfg.exp_manager.resume_if_exists and CheckpointFolder(run_path(cfg) / "checkpoints").paths()
    pretrained = None if begun else read_pretrained(cfg)
    with strategy.scope():
        model = build_model(cfg, synchronized=len(devices) > 1)
    frozen = freeze(model, cfg.model.freeze, pretrained)

    run = RunFolder(cfg)
    run.say(f"run {run.path}, {len(devices)} x {devices[0].rsplit(':', 2)[-2]}, precision {cfg.trainer.precision}")
    if cfg.ignored:
        run.say(f"keys that only steer PyTorch, ignored: {', '.join(cfg.ignored)}")
    if cfg.taken_over:
        run.say(f"not in {cfg.source}, taken from the pretrained model: {', '.join(cfg.taken_over)}")
    run.say(f"train_ds: {selection.summary()}; {training.padding_share():.1%} of the batches is padding")
    if validation:
        run.say(f"validation_ds: {validation_selection.summary()}")
    steps_per_epoch = training.steps_per_epoch
    total_steps = (cfg.trainer.max_epochs or 0) * steps_per_epoch
    if cfg.trainer.max_steps != -1:
        total_steps = min(total_steps or cfg.trainer.max_steps, cfg.trainer.max_steps)
    parameters = sum(v.shape.num_elements() for v in model.trainable_weights)
    run.say(f"{parameters:,} trainable parameters, {total_steps} steps of {training.batch_size} utterances")
    with strategy.scope():
        compile_model(model, cfg, total_steps)

    e = cfg.exp_manager
    params = e.checkpoint_callback_params
    wanted = e.create_checkpoint_callback
    checkpoints = None
    if cfg.trainer.enable_checkpointing if wanted is None else wanted:
        checkpoints = CheckpointFolder(run.checkpoints, params.monitor, params.save_top_k, params.save_last)
    position, restored = Position(), None
    if run.resumed:
        restored = checkpoints.restore(model, warn=run.say) if checkpoints else None
        position = restored or position
        where = f"going on at epoch {position.epoch + 1}, step {position.step}"
        run.say(where if restored else "no checkpoint to go on from; beginning at step 0")
    if not restored and (pretrained := pretrained or read_pretrained(cfg)):
        with strategy.scope():
            run.say(copy_weights(pretrained, model))
    del pretrained  # as large as the model
    if frozen:
        run.say(frozen)
    if position.step >= total_steps:
        run.say(f"{run.path}: this run is complete ({total_steps} steps); exp_manager.name=... starts another")
        return run.path
    log = RunLog(
        run.metrics_file,
        training,
        position,
        cfg.trainer.log_every_n_steps,
        run.tensorboard if e.create_tensorboard_logger else None,
    )
    callbacks: list[keras.callbacks.Callback] = [
        TrackPosition(position, training, total_steps),
        log,
        Progress(run.say, position, total_steps, training),
    ]
    if log.writer:
        callbacks.append(RunDescription(cfg, run.path.name, log.writer, position, total_steps))
        if validation:
            callbacks.append(ValidationSamples(validation, training, log.writer, position))
    callbacks.append(SaveCheckpoints(checkpoints, run.model_file, position, params.monitor, params.every_n_train_steps))
    try:
        _fit(model, training, validation, position, total_steps, cfg.trainer.check_val_every_n_epoch, callbacks)
    except tf.errors.OpError as error:
        wrong = user_error_in(error)
        if wrong is None:
            raise
        raise wrong from error
    return run.path


def _fit(
    model: JasperCTC,
    training: SpeechBatches,
    validation: SpeechBatches | None,
    position: Position,
    total_steps: int,
    validation_freq: int,
    callbacks: list[keras.callbacks.Callback],
) -> None:
    """`model.fit` from `position` on; twice when that lies inside an epoch, whose remaining steps are fewer."""
    epochs = -(-total_steps // training.steps_per_epoch)
    begin = position.epoch
    for end in (begin + 1, epochs) if position.step_in_epoch else (epochs,):
        if begin == end:
            break
        training.epoch, training.first_step = begin, position.step_in_epoch
        model.fit(
            training.dataset(),
            initial_epoch=begin,
            epochs=end,
            validation_data=validation.dataset() if validation else None,
            validation_freq=validation_freq,
            callbacks=callbacks,
            shuffle=False,  # the dataset does
            verbose=0,
        )
        begin = end
        position.step_in_epoch = 0

"""A configuration file as typed dataclasses, in NeMo's layout. Its `model` section is in `model_schema`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from jasper_tf.config.section import (
    MISSING,
    OFF,
    BelowOne,
    Epochs,
    NonNegative,
    Range,
    Seconds,
    Section,
    Seed,
    Steps,
    StepsOrZero,
)
from jasper_tf.config.sections.augment_schema import AugmentorConfig
from jasper_tf.config.sections.model_schema import ModelConfig
from jasper_tf.config.sections.optim_schema import EMAConfig
from jasper_tf.errors import UserError


@dataclass(kw_only=True)
class TrainerConfig(Section):
    """The keys of PyTorch Lightning's Trainer that have an effect here.

    Attributes:
        accelerator: `auto` takes the GPUs, if there are any.
        devices: their number, -1 for all, or a list of their numbers.
        num_nodes: machines.
        sync_batchnorm: statistics of batch norms over all devices and machines.
        max_epochs: null and -1 are without end: give `max_steps` or `max_time`.
        max_steps: optimizer steps; -1 is as many as `max_epochs` has.
        max_time: DD:HH:MM:SS, `{hours: 1, minutes: 30}` or seconds, from each start (NeMo: `StatelessTimer`).
        accumulate_grad_batches: micro-batches of a step.
        precision: of the computation; weights are float32.
        jit_compile: XLA compiles the step; one device. Not in NeMo.
        auto_batch_duration: finds the longest `model.train_ds.batch_duration` that fits into the memory, where none is
            given. Not in NeMo.
        gradient_clip_val: largest norm of the gradient; null and 0 do not clip.
        fast_dev_run: the longest batch through training, validation, checkpoint and export, in a temporary folder.
        overfit_batches: trains and validates on that many first batches, or that fraction of them; 0 is off.
        enable_checkpointing: whether checkpoints are written.
        log_every_n_steps: optimizer steps from one line of metrics.csv to the next.
        peak_tflop_per_s: of one device, to which `train/mfu` relates; null: a GPU's by its name, a CPU's is measured.
            Not in NeMo.
        check_val_every_n_epoch: epochs from one validation to the next.
        ema: averaged weights; null is none. Not in NeMo (there `exp_manager.ema`).
    """

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Annotated[int, Range(-1, 1024, without=(0,))] | list[Annotated[int, Range(0, 1023)]] | Literal["auto"] = 1
    num_nodes: Annotated[int, Range(1, 1024)] = 1
    sync_batchnorm: bool = True
    max_epochs: Annotated[int, Range(-1, 10**6, without=(0,))] | None = None
    max_steps: Annotated[int, Range(-1, 10**9, without=(0,))] = -1
    max_time: str | dict[str, Any] | Seconds | None = None
    accumulate_grad_batches: Annotated[int, Range(1, 10_000)] = 1
    precision: Literal[32, "32", "32-true", 16, "16", "16-mixed", "bf16", "bf16-mixed"] = 32
    jit_compile: bool = False
    auto_batch_duration: bool = False
    gradient_clip_val: NonNegative | None = None
    fast_dev_run: bool = False
    overfit_batches: StepsOrZero | BelowOne = 0
    enable_checkpointing: bool = True
    log_every_n_steps: Steps = 50
    peak_tflop_per_s: Annotated[float, Range(1e-6, 10**6)] | None = None
    check_val_every_n_epoch: Epochs = 1
    ema: EMAConfig | None = None

    TARGETS = ("Trainer",)
    IGNORED = frozenset(
        "strategy logger num_sanity_val_steps enable_progress_bar progress_bar_refresh_rate enable_model_summary"
        " weights_summary benchmark deterministic inference_mode use_distributed_sampler replace_sampler_ddp".split()
    )
    ONLY = {
        "val_check_interval": (None, 1.0),
        "gradient_clip_algorithm": (None, "norm"),
        "limit_train_batches": (None, 1.0),
        "limit_val_batches": (None, 1.0),
        "limit_test_batches": (None, 1.0),
        "detect_anomaly": OFF,
        "profiler": OFF,
        "min_epochs": (None,),
        "min_steps": (None,),
        "callbacks": (None,),
        "plugins": (None,),
        "resume_from_checkpoint": (None,),
        "reload_dataloaders_every_n_epochs": (None, 0),
        "barebones": OFF,
    }
    NULL_MEANS = {"max_steps": -1, "devices": "auto", "fast_dev_run": False, "overfit_batches": 0}


@dataclass(kw_only=True)
class CheckpointCallbackParams(Section):
    """Which checkpoints are written and kept.

    Attributes:
        monitor: the metric of the best: `val_wer`, `val_cer` or `val_loss`; with the name of a set, with `_ema`.
        mode: whether less or more is better.
        save_top_k: the best that are kept; -1 keeps all.
        save_last: whether the newest is kept too.
        every_n_train_steps: optimizer steps from one checkpoint to the next, besides those of validations.
        train_time_interval: the same as a duration, written as `trainer.max_time`.
    """

    monitor: str = "val_wer"
    mode: Literal["min", "max"] = "min"
    save_top_k: Annotated[int, Range(-1, 10**6)] = 3
    save_last: bool = True
    every_n_train_steps: Steps | None = None
    train_time_interval: str | dict[str, Any] | Seconds | None = None

    IGNORED = frozenset(
        "verbose always_save_nemo save_best_model save_nemo_on_train_end prefix postfix model_parallel_size"
        " auto_insert_metric_name async_save".split()
    )
    ONLY = {
        "every_n_epochs": (None, 1),
        "filename": (None,),
        "dirpath": (None,),
        "filepath": (None,),
        "save_weights_only": OFF,
        "save_on_train_epoch_end": OFF,
    }


@dataclass(kw_only=True)
class EarlyStoppingParams(Section):
    """Ends a run that no longer improves.

    Attributes:
        monitor: as in `checkpoint_callback_params`.
        mode: whether less or more is better.
        patience: validations without an improvement.
        min_delta: the least that counts as one.
    """

    monitor: str = "val_loss"
    mode: Literal["min", "max"] = "min"
    patience: Epochs = 10
    min_delta: NonNegative = 0.001

    IGNORED = frozenset({"verbose", "strict"})
    ONLY = {
        "check_finite": (None, True),
        "stopping_threshold": (None,),
        "divergence_threshold": (None,),
        "check_on_train_epoch_end": OFF,
        "log_rank_zero_only": OFF,
    }


def _is_off(ema: Any) -> bool:
    """`enable: false`; see trainer.ema."""
    return not ema or (isinstance(ema, dict) and not ema.get("enable"))


@dataclass(kw_only=True)
class ExpManagerConfig(Section):
    """Where a run is kept and what it writes.

    Attributes:
        exp_dir: the folder of the runs.
        name: the run's folder in it; null is the configuration's `name`.
        version: a folder in that one; null is the time of the start, unless `resume_if_exists`.
        resume_if_exists: the run's folder is `exp_dir/name`, and a start there resumes.
        resume_ignore_no_checkpoint: without effect: where there is no checkpoint, a run begins.
        allow_config_change: lets a run resume with another configuration than it began with. Not in NeMo.
        use_datetime_version: false numbers the versions: `version_0`, `version_1`, ...
        max_time_per_run: as `trainer.max_time`; the shorter counts.
        create_tensorboard_logger: whether `tensorboard/` is written.
        create_checkpoint_callback: null is as `trainer.enable_checkpointing`.
        checkpoint_callback_params: which checkpoints.
        create_early_stopping_callback: whether a run that no longer improves ends.
        early_stopping_callback_params: when.
    """

    exp_dir: str = "runs"
    name: str | None = None
    version: str | int | None = None
    resume_if_exists: bool = False
    resume_ignore_no_checkpoint: bool = False
    allow_config_change: bool = False
    use_datetime_version: bool = True
    max_time_per_run: str | dict[str, Any] | Seconds | None = None
    create_tensorboard_logger: bool = True
    create_checkpoint_callback: bool | None = None  # as trainer.enable_checkpointing says
    checkpoint_callback_params: CheckpointCallbackParams = field(default_factory=CheckpointCallbackParams)
    create_early_stopping_callback: bool = False
    early_stopping_callback_params: EarlyStoppingParams = field(default_factory=EarlyStoppingParams)

    IGNORED = frozenset(
        "wandb_logger_kwargs mlflow_logger_kwargs dllogger_logger_kwargs clearml_logger_kwargs neptune_logger_kwargs"
        " summary_writer_kwargs step_timing_kwargs log_step_timing"
        " log_local_rank_0_only log_global_rank_0_only model_parallel_size seconds_to_sleep resume_past_end"
        " create_preemption_callback log_delta_step_timing log_tflops_per_sec_per_gpu".split()
    )
    ONLY = {
        "create_wandb_logger": OFF,
        "create_mlflow_logger": OFF,
        "create_dllogger_logger": OFF,
        "create_clearml_logger": OFF,
        "create_neptune_logger": OFF,
        "explicit_log_dir": (None,),
        "resume_from_checkpoint": (None,),
        "files_to_copy": (None,),
        "disable_validation_on_resume": OFF,
        "resume_past_end": OFF,
        "ema": _is_off,
    }
    NULL_MEANS = {"exp_dir": "runs"}


@dataclass(kw_only=True)
class Config(Section):
    """A whole configuration file.

    `taken_over` lists the keys of `model` that came from a pretrained model, `ignored` the full keys that were accepted
    but only steer PyTorch, `source` the file's name.

    Attributes:
        name: of the run.
        model: the model, its data and its optimizer.
        trainer: devices and the length of the training.
        exp_manager: the run's folder.
        seed: of weights, order, augmentation and dropout. Not in NeMo.
        init_from_nemo_model: a `.nemo` that training starts from.
        init_from_pretrained_model: a run's folder or a `.keras` that training starts from.
    """

    name: str
    model: ModelConfig
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    exp_manager: ExpManagerConfig = field(default_factory=ExpManagerConfig)
    seed: Seed = 0
    init_from_nemo_model: str | None = None
    init_from_pretrained_model: str | None = None
    taken_over: list[str] = field(default_factory=list, compare=False)
    ignored: list[str] = field(default_factory=list, compare=False)
    source: str = field(default="configuration", compare=False, repr=False)

    IGNORED = frozenset({"hydra", "defaults"})
    ONLY = {"init_from_ptl_ckpt": (None,)}

    def to_dict(self) -> dict[str, Any]:
        """Every value as plain mappings and lists, for YAML; `config_from_dict` makes an equal `Config` of it."""
        plain = dataclasses.asdict(self)
        del plain["ignored"], plain["taken_over"], plain["source"]
        if self.model.tokenizer is not None:
            del plain["model"]["tokenizer"]["content"]
        for name, dataset in self.model.datasets():
            if isinstance(dataset.augmentor, AugmentorConfig):  # where null would be a perturbation with its defaults
                given = {key: value for key, value in plain["model"][name]["augmentor"].items() if value is not None}
                plain["model"][name]["augmentor"] = given
        optim = plain["model"]["optim"]
        optim.update({key: list(value) for key, value in optim.items() if isinstance(value, tuple)})
        return plain

    def open_keys(self) -> list[str]:
        """Lists the full keys whose value is still `???`."""
        return [key for name, value in self.to_dict().items() for key in _missing_below(name, value)]

    def require(self, *keys: str) -> None:
        """Raises one UserError naming what is still `???` at or below `keys`, and which of `keys` has no value."""
        tree, open_keys = self.to_dict(), []
        for key in keys:
            value: Any = tree
            for part in key.split("."):
                value = value[int(part)] if isinstance(value, list) else (value or {}).get(part)
            open_keys += [key] if value is None else _missing_below(key, value)
        if open_keys:
            names = ", ".join(dict.fromkeys(open_keys))
            raise UserError(
                f"{self.source}: no value for {names}; set it in the file (read its comments) or on the command line"
                f" as {open_keys[0]}=VALUE"
            )


def _missing_below(key: str, value: Any) -> list[str]:
    if isinstance(value, dict):
        return [missing for name, inner in value.items() for missing in _missing_below(f"{key}.{name}", inner)]
    if isinstance(value, list):
        return [missing for i, inner in enumerate(value) for missing in _missing_below(f"{key}.{i}", inner)]
    return [key] if value == MISSING else []

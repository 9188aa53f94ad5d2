"""Data of a training run: training and validation batches, and the number of steps."""

from __future__ import annotations

from typing import NamedTuple

from jasper_tf.config import Config
from jasper_tf.data.batches.pipeline import SpeechBatches
from jasper_tf.training.datasets import build_batches, first_batches, longest_batch


class RunData(NamedTuple):
    """Batches of a run.

    Args:
        training: training batches.
        validation: validation batches; None for no validation.
        total_steps: optimizer steps of the whole run.
        report: lines for the log.
    """

    training: SpeechBatches
    validation: SpeechBatches | None
    total_steps: int
    report: list[str]

    def parts(self) -> list[SpeechBatches]:
        """Lists the batches that are read; several validation sets are listed separately."""
        if self.validation is None:
            return [self.training]
        return [self.training, *(self.validation.sets.values() or [self.validation])]


def read_data(cfg: Config, replicas: int) -> RunData:
    """Reads the manifests of `model.train_ds` and `model.validation_ds`.

    Args:
        cfg: the configuration.
        replicas: devices that share a step.

    Raises:
        UserError: a section or a manifest is wrong.
    """
    parts = cfg.trainer.accumulate_grad_batches * replicas
    training, selection = build_batches(cfg, "train_ds", parts=parts)
    report = [f"train_ds: {selection.summary()}; {training.padding_ratio():.1%} of the batches is padding"]
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
    return RunData(training, validation, total_steps, report)

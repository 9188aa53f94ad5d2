"""Compiles a model for training."""

from __future__ import annotations

from jasper_tf.config import Config
from jasper_tf.losses.ctc import CTCLoss
from jasper_tf.metrics.keras_metric import ErrorRate
from jasper_tf.model.jasper_ctc import JasperCTC
from jasper_tf.optim.optimizer import build_optimizer


def compile_model(model: JasperCTC, cfg: Config, total_steps: int, steps_per_epoch: int = 1) -> None:
    """Compiles `model` with the configuration's optimizer, loss, error rates, accumulation and clipping."""
    model.compile(
        optimizer=build_optimizer(cfg, total_steps, steps_per_epoch, model.trainable_variables),
        loss=CTCLoss(cfg.model.ctc_reduction),
        # Greedy, whatever decodes later: a beam in each validation takes minutes, and a language model hides what the
        # acoustic model has not learned.
        metrics=[ErrorRate(model.tokenizer, unit) for unit in ("word", "character")],
        accumulate_grad_batches=cfg.trainer.accumulate_grad_batches,
        gradient_clip_val=cfg.trainer.gradient_clip_val,
        jit_compile=cfg.trainer.jit_compile,
    )
    model.optimizer.build(model.trainable_variables)

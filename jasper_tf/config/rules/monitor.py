"""Rules of `monitor`: which metrics a run has."""

from __future__ import annotations

from jasper_tf.config.schema import Config
from jasper_tf.config.section import MISSING
from jasper_tf.config.sections.data_schema import DatasetConfig
from jasper_tf.config.sections.optim_schema import METRICS
from jasper_tf.config.source import ConfigSource, Keys
from jasper_tf.errors import shorten


def check_monitor(config: Config, monitor: str, at: Keys, source: ConfigSource) -> None:
    """Checks that the run writes the metric named `monitor`, the value of the key `at`. Raises UserError."""
    validation = config.model.validation_ds
    sets = validation.manifest_filepath if isinstance(validation, DatasetConfig) else None
    names = sets if isinstance(sets, dict) else ()
    kinds = [f"val_{kind}" for kind in ("wer", "cer", "loss")]
    of_sets = {f"{kind}_{name}{ema}": f"{kind}{ema}" for name in names for ema in ("", "_ema") for kind in kinds}
    known = (*METRICS, *of_sets)
    if monitor not in (*known, MISSING):
        raise source.error(at, f"expected one of {', '.join(known)}, got '{shorten(monitor)}'")
    if monitor in of_sets and config.trainer.overfit_batches not in (0, MISSING):
        reason = f"{monitor} is of a named set, but trainer.overfit_batches validates on training batches"
        raise source.error(at, f"{reason}; use {of_sets[monitor]}")
    ema = config.trainer.ema
    if monitor.endswith("_ema") and ema != MISSING and (ema is None or not ema.enable):
        raise source.error(at, f"{monitor} is of averaged weights; switch them on with trainer.ema={{decay: 0.999}}")

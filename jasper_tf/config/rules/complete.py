"""All rules of a configuration in their order, and the values that follow from others."""

from __future__ import annotations

from typing import Any

from jasper_tf.config.pretrained import INIT_KEYS
from jasper_tf.config.rules.data import check_data
from jasper_tf.config.rules.labels import check_labels
from jasper_tf.config.rules.model import check_model
from jasper_tf.config.rules.optim import complete_optim
from jasper_tf.config.rules.run import check_run
from jasper_tf.config.schema import Config
from jasper_tf.config.section import MISSING
from jasper_tf.config.sections.data_schema import DATASETS
from jasper_tf.config.sections.optim_schema import EMAConfig
from jasper_tf.config.source import ConfigSource

_PRECISION = {"32": 32, "32-true": 32, 16: "16-mixed", "16": "16-mixed", "bf16": "bf16-mixed"}


def inherit(values: dict[Any, Any]) -> None:
    """Sets `sample_rate` to the model's in the sections that leave it out."""
    model = values.get("model")
    if not isinstance(model, dict):
        return
    for name in (*DATASETS, "preprocessor"):
        if isinstance(model.get(name), dict) and "sample_rate" in model:
            model[name].setdefault("sample_rate", model["sample_rate"])


def complete(config: Config, source: ConfigSource) -> None:
    """Checks values against each other, then fills in those that follow from others.

    Raises:
        UserError: two values do not fit; names the file, the line and the key of one.
    """
    model, trainer = config.model, config.trainer
    check_labels(model, source)
    check_data(model, source)
    check_model(model, source)
    if model.freeze and not any(getattr(config, key) for key in INIT_KEYS):
        keys = " or ".join(INIT_KEYS)
        raise source.error(("model", "freeze"), f"would keep new, random weights; name what to start from with {keys}")
    complete_optim(config, source)
    check_run(config, source)

    # NeMo: ConvASREncoder keeps a block's residual_mode for the later blocks that name none.
    mode = model.encoder.residual_mode
    blocks = [] if model.encoder.jasper == MISSING else model.encoder.jasper
    for block in blocks:
        mode = block.residual_mode = block.residual_mode or mode
    if model.decoder.feat_in == -1 and blocks:
        model.decoder.feat_in = blocks[-1].filters
    if model.decoder.num_classes == -1 and model.labels and model.labels != MISSING:
        model.decoder.num_classes = len(model.labels)
    if isinstance(trainer.ema, EMAConfig) and not trainer.ema.enable:
        trainer.ema = None
    if config.exp_manager.name is None:
        config.exp_manager.name = config.name
    if trainer.max_epochs == -1:
        trainer.max_epochs = None
    if trainer.gradient_clip_val == 0:
        trainer.gradient_clip_val = None
    # One spelling for each precision.
    trainer.precision = _PRECISION.get(trainer.precision, trainer.precision)  # type: ignore[assignment]  # a dict of Literals

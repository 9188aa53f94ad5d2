"""What a configuration must have before a training can start."""

from __future__ import annotations

from jasper_tf.config import Config
from jasper_tf.config.pretrained import INIT_KEYS
from jasper_tf.config.section import MISSING
from jasper_tf.data.manifest.sections import data_key, require_manifests


def require_training_inputs(cfg: Config) -> None:
    """Requires the values that a training reads and the manifests that they name; needs no TensorFlow.

    Raises:
        UserError: names every key without a value, or the first manifest that is missing.
    """
    sections = ["train_ds"] + (["validation_ds"] if cfg.model.validation_ds is not None else [])
    needed = [data_key(cfg, section) for section in sections]
    needed.append(cfg.model.labels_key)
    needed += [f"model.{section}" for section in (*sections, "preprocessor", "encoder", "decoder", "optim")]
    if cfg.trainer.max_epochs is None and cfg.trainer.max_steps == -1:
        needed.append("trainer.max_epochs")
    needed += [key for key in INIT_KEYS if getattr(cfg, key) == MISSING]
    cfg.require(*needed, "trainer", "exp_manager")
    require_manifests(cfg, sections)

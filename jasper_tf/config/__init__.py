"""The typed schema of the YAML, in NeMo's layout, and its reader."""

from jasper_tf.config.loading import config_from_dict, load_config
from jasper_tf.config.schema import CheckpointCallbackParams, Config, ExpManagerConfig, TrainerConfig
from jasper_tf.config.sections.data_schema import DatasetConfig
from jasper_tf.config.sections.model_schema import (
    DecoderConfig,
    EncoderConfig,
    JasperBlockConfig,
    ModelConfig,
    PreprocessorConfig,
    SpecAugmentConfig,
)
from jasper_tf.config.sections.optim_schema import EMAConfig, OptimConfig, SchedConfig

__all__ = [
    "CheckpointCallbackParams",
    "Config",
    "DatasetConfig",
    "DecoderConfig",
    "EMAConfig",
    "EncoderConfig",
    "ExpManagerConfig",
    "JasperBlockConfig",
    "ModelConfig",
    "OptimConfig",
    "PreprocessorConfig",
    "SchedConfig",
    "SpecAugmentConfig",
    "TrainerConfig",
    "config_from_dict",
    "load_config",
]

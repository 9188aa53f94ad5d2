"""The typed schema of the YAML, in NeMo's layout, and its reader."""

from jasper_tf.config.data_schema import DatasetConfig
from jasper_tf.config.loading import config_from_dict, load_config
from jasper_tf.config.model_schema import (
    DecoderConfig,
    EncoderConfig,
    JasperBlockConfig,
    ModelConfig,
    PreprocessorConfig,
    SpecAugmentConfig,
)
from jasper_tf.config.optim_schema import EMAConfig, OptimConfig, SchedConfig
from jasper_tf.config.schema import CheckpointCallbackParams, Config, ExpManagerConfig, TrainerConfig

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

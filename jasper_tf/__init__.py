"""Jasper-family CTC speech recognition in Keras 3 and TensorFlow.

    cfg = jasper_tf.load_config("an4.yaml", ["model.train_ds.manifest_filepath=train.json"])
    model = jasper_tf.build_model(cfg)
    train = jasper_tf.build_dataset(cfg, "train_ds")

The names load when they are first used: a command that needs no TensorFlow does not wait for it.
"""

import importlib

_WHERE = {
    "load_config": "jasper_tf.inference.pretrained_config",
    "build_model": "jasper_tf.model.jasper_ctc",
    "load_model": "jasper_tf.inference.load_model",
    "Transcriber": "jasper_tf.inference.transcriber",
    "JasperCTC": "jasper_tf.model.jasper_ctc",
    "build_dataset": "jasper_tf.training.datasets",
    "build_optimizer": "jasper_tf.optim.optimizer",
    "train": "jasper_tf.commands._train",
    "CTCLoss": "jasper_tf.losses.ctc",
    "NovoGrad": "jasper_tf.optim.novograd",
    "CosineAnnealing": "jasper_tf.optim.schedules.cosine_annealing",
    "ErrorRate": "jasper_tf.metrics.keras_metric",
    "UserError": "jasper_tf.errors",
}
__all__ = list(_WHERE)
__version__ = "0.3.0"


def __getattr__(name: str):
    if name not in _WHERE:
        raise AttributeError(f"module 'jasper_tf' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Hyperparameter search: keras-tuner chooses the values, `training.trainer.train` trains."""

"""Search for hyper-parameters: keras-tuner chooses, `training.trainer.train` trains."""

"""A run's folder: configuration, log, metrics, checkpoints."""

"""Optimizers, gradient clipping, averages of weights."""

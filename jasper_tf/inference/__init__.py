"""Inference: loading trained models, transcribing recordings."""

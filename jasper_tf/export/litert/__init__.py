"""Exports for LiteRT (TensorFlow Lite)."""

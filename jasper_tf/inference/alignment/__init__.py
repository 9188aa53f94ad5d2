"""Forced alignment of recordings with known texts."""

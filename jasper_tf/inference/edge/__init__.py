"""Transcribes with exported edge models."""

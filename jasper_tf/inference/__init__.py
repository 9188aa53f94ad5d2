"""Trained models in use: loading them, recordings to transcripts."""

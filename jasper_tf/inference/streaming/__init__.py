"""Transcribes audio while it is heard."""

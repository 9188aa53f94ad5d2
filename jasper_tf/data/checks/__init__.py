"""Checks of a corpus: its lines, texts and audio files."""

"""Transcripts as sequences of labels."""

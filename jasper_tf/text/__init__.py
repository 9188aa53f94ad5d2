"""Normalization and tokenization of transcripts."""

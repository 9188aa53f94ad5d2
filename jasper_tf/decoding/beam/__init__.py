"""Beam search with language models and hot words."""

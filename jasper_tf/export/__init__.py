"""Trained models in the formats that other runtimes load."""

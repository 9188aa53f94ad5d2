"""Greedy decoding, as a Keras layer and of NumPy arrays."""

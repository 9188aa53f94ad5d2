"""Recordings to samples: containers, decoding, resampling, silence."""

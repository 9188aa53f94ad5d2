"""Mask of the valid frames in a padded batch."""

from keras import ops


def valid_frames(length, frames):
    """True on the first `length` of `frames` positions of each row: [B] integers -> [B, frames] bool."""
    return ops.arange(frames, dtype="int32") < ops.cast(length, "int32")[:, None]

"""The mask of what lies within each length."""

from keras import ops


def valid_frames(length, frames):
    """Which of `frames` positions lie within each length: [B] integers -> [B, frames] bool."""
    return ops.arange(frames, dtype="int32") < ops.cast(length, "int32")[:, None]

"""Tells remote paths from local ones."""


def is_remote(path: str) -> bool:
    """Whether `tf.io.gfile` reads it (gs://, s3://, ...), not the file system."""
    return "://" in path

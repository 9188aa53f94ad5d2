"""Tells remote paths from local ones, and keeps credentials out of what is printed."""

from __future__ import annotations

from jasper_tf.errors import UserError, hide_secrets


def is_remote(path: str) -> bool:
    """Whether it is in object storage (gs://, s3://, ...), not in the file system."""
    return "://" in path


def remote_name(folder: str, name: str) -> str:
    """The path of a file in a folder, remote or local."""
    return f"{folder.rstrip('/')}/{name}"


def require_no_secret(path: str) -> None:
    """Refuses a URL with credentials in it: configurations, manifests and logs keep it.

    Raises:
        UserError: it has a password or a signed query; the message shows neither.
    """
    if hide_secrets(path) != path:
        raise UserError(f"{path}: has credentials in it; give them in the environment, as the storage's own tools do")

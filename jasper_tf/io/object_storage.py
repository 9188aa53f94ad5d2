"""Files in object storage (s3://, gs://, az://, hdfs://), through fsspec."""

from __future__ import annotations

import functools
import itertools
import logging
import math
import os
import random
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Literal, TypeVar

from jasper_tf.errors import UserError
from jasper_tf.io.remote import remote_name, require_no_secret
from jasper_tf.io.thread_pool import map_in_order

StorageErrorKind = Literal["missing", "denied", "unreachable", "package", "other"]

_TRIES = 5
_FIRST_WAIT_S = 0.5
"""Doubled before each further try, and up to a quarter longer, so that many workers do not come back together."""
_BLOCK_BYTES = 1 << 24
_CONNECTIONS = 8
"""Requests at the same time for one file; with `_BLOCK_BYTES` 128 MiB are in memory at most."""
_PACKAGES = {
    "hdfs": "pyarrow",
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
}
_CREDENTIALS = {
    "s3fs": "AWS_ACCESS_KEY_ID, ...",
    "gcsfs": "GOOGLE_APPLICATION_CREDENTIALS",
    "adlfs": "AZURE_STORAGE_CONNECTION_STRING",
}
_SCHEMES = frozenset((*_PACKAGES, "hdfs", "webhdfs", "memory"))
# By the name of their class: the libraries of three clouds need not be installed.
_NO_CREDENTIALS = ("NoCredentials", "PartialCredentials", "DefaultCredentials", "ClientAuthentication")
_PERMANENT = (ValueError, TypeError, AttributeError, NotImplementedError, ImportError, IsADirectoryError)

logger = logging.getLogger("jasper_tf")

T = TypeVar("T")


class StorageError(UserError):
    """A file in object storage that cannot be read or written.

    The message names the path, never what the library or the server said, which may hold credentials.

    Args:
        path: the file.
        kind: what is wrong, for programs.
        detail: what is wrong and what to do.
    """

    def __init__(self, path: str, kind: StorageErrorKind, detail: str):
        super().__init__(f"{path}: {detail}")
        self.path = path
        self.kind = kind
        self.detail = detail

    def __reduce__(self) -> tuple:
        return type(self), (self.path, self.kind, self.detail)


def remote_size(path: str) -> int:
    """The bytes of a file. Raises StorageError, as all functions here do; "missing" for a folder too."""

    def size(files: Any) -> int:
        info = files.info(path)
        if info["type"] != "file":
            raise FileNotFoundError
        return info["size"]

    return _attempt(path, size)


def remote_exists(path: str) -> bool:
    """Whether there is such a file or folder."""
    return _attempt(path, lambda files: files.exists(path))


def is_remote_folder(path: str) -> bool:
    """Whether there are files below `path`."""
    return _attempt(path, lambda files: files.isdir(path))


def read_remote(path: str, start: int = 0, end: int | None = None) -> bytes:
    """The bytes `start` to `end` of a file, in one request."""
    return _attempt(path, lambda files: files.cat_file(path, start=start or None, end=end))


def scan_remote(path: str, function: Callable[[IO[bytes]], T]) -> T:
    """What `function` returns for the file, opened for reading with seeks; called again where the connection failed."""

    def scan(files: Any) -> T:
        with files.open(path, "rb") as file:
            return function(file)

    return _attempt(path, scan)


def download(path: str, local: str | Path) -> None:
    """Copies a file to this machine by several range requests at a time."""
    size = remote_size(path)

    def block(start: int) -> bytes:
        return read_remote(path, start, min(start + _BLOCK_BYTES, size))

    with open(local, "wb") as file:
        for content in map_in_order(block, range(0, size, _BLOCK_BYTES), _CONNECTIONS, _CONNECTIONS):
            file.write(content)


def upload(local: str | Path, path: str) -> None:
    """Copies a file of this machine; it appears complete or not at all, in place of one that is there."""
    _attempt(path, lambda files: files.put_file(os.fspath(local), path))


def write_remote(path: str, content: bytes) -> None:
    """Writes a file; it appears complete or not at all."""
    _attempt(path, lambda files: files.pipe_file(path, content))


def remove_remote(path: str) -> None:
    """Removes a file; one that is not there is no error."""
    try:
        _attempt(path, lambda files: files.rm_file(path))
    except StorageError as error:
        if error.kind != "missing":
            raise


def list_remote(folder: str) -> dict[str, int]:
    """Maps the names of all files below `folder`, relative to it, to their bytes; empty where there is none."""

    def found(files: Any) -> dict[str, int]:
        root = files._strip_protocol(folder).rstrip("/") + "/"
        entries = files.find(folder, detail=True)
        return {name.removeprefix(root): entry["size"] for name, entry in entries.items() if name.startswith(root)}

    return _attempt(folder, found)


def download_folder(folder: str, local: str | Path, names: list[str]) -> None:
    """Copies the named files of `list_remote(folder)` below the folder `local`."""
    for name in names:
        if ".." in name.split("/") or name.startswith("/"):
            raise StorageError(remote_name(folder, name), "other", "its name leads out of the folder; rename it")
        target = Path(local, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        download(remote_name(folder, name), target)


def _attempt(path: str, call: Callable[[Any], T]) -> T:
    """Calls `call(file system)`, again after a pause where the connection failed."""
    require_no_secret(path)
    files = _file_system(path.partition("://")[0], os.getpid())
    for tried in itertools.count(1):
        try:
            return call(files)
        except UserError:
            raise
        except Exception as error:  # of botocore, aiohttp, google.auth, azure.core, which share no class
            wrong = _explain(path, error)
            if wrong.kind != "unreachable" or tried == _TRIES:
                raise wrong from None
            wait_s = _FIRST_WAIT_S * 2 ** (tried - 1) * random.uniform(1, 1.25)
            logger.warning("%s: no answer (%s); try %d of %d in %.1f s", path, _name(error), tried + 1, _TRIES, wait_s)
            time.sleep(wait_s)
    raise AssertionError


@functools.lru_cache(maxsize=32)
def _file_system(scheme: str, process: int) -> Any:
    """The file system of a scheme; one for each process, whose connections a fork would share."""
    if scheme not in _SCHEMES:  # fsspec knows forty, among them local files and logins
        raise StorageError(f"{scheme}://", "other", "no such storage; use s3, gs, az or hdfs")
    timeout_s = _timeout_s()
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # logs a traceback of each lost connection
    try:
        import fsspec  # an extra; local files do without

        options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
        if _PACKAGES.get(scheme) == "s3fs":
            # We try again ourselves, and say so.
            options["config_kwargs"] = {
                "connect_timeout": min(10.0, timeout_s),
                "read_timeout": timeout_s,
                "retries": {"total_max_attempts": 1},
                "max_pool_connections": 64,
            }
        with warnings.catch_warnings(action="ignore"):  # Google's, about versions of Python
            files = fsspec.filesystem(scheme, **options)
    except ImportError:
        package = _PACKAGES.get(scheme, "fsspec")
        install = "jasper-tf[cloud]" if package != "pyarrow" else package
        detail = f"needs the package {package}; run pip install '{install}'"
        raise StorageError(f"{scheme}://", "package", detail) from None
    except ValueError:
        raise _no_credentials(f"{scheme}://") from None
    if hasattr(files, "retries"):
        files.retries = 1
    return files


def _timeout_s() -> float:
    given = os.environ.get("JASPER_STORAGE_TIMEOUT_S", "30")
    try:
        timeout_s = float(given)
    except ValueError:
        timeout_s = 0.0
    if not 0 < timeout_s < math.inf:
        raise UserError(f"JASPER_STORAGE_TIMEOUT_S: {given!r} is not a number of seconds above 0")
    return timeout_s


def _explain(path: str, error: Exception) -> StorageError:
    code = _code(error)
    if code == "NoSuchBucket" or "bucket does not exist" in str(error):
        return StorageError(path, "missing", "no such bucket; check its name")
    if isinstance(error, FileNotFoundError):
        return StorageError(path, "missing", "no such file; check the path")
    if any(part in name for part in _NO_CREDENTIALS for name in _chain(error)):
        return _no_credentials(path)
    if isinstance(error, PermissionError):
        return StorageError(
            path, "denied", f"access denied{f' ({code})' if code else ''}; check the credentials and their rights"
        )
    if isinstance(error, (*_PERMANENT, FileExistsError)):
        return StorageError(path, "other", f"cannot be used ({_name(error)}); check the path")
    return StorageError(
        path, "unreachable", f"no answer in {_TRIES} tries ({_name(error)}); check the network and the endpoint"
    )


def _no_credentials(path: str) -> StorageError:
    names = _CREDENTIALS.get(_PACKAGES.get(path.partition("://")[0], ""), "see its documentation")
    return StorageError(path, "denied", f"no credentials; set them in the environment ({names}), or as a profile")


def _chain(error: BaseException) -> list[str]:
    """Names of the classes of an error and its causes."""
    names: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(names) < 8:
        names.append(type(cause).__name__)
        cause = cause.__cause__
    return names


def _name(error: Exception) -> str:
    """A short name of an error, such as "timeout" or "SlowDown"; no text of a library."""
    names = _chain(error)
    if any("Timeout" in name for name in names):
        return "timeout"
    return _code(error) or names[-1]


def _code(error: BaseException) -> str:
    """The server's code, such as AccessDenied."""
    cause = error.__cause__ or error
    response = getattr(cause, "response", None)
    code = response.get("Error", {}).get("Code", "") if isinstance(response, dict) else ""
    return code if code.isalnum() and len(code) < 40 else ""

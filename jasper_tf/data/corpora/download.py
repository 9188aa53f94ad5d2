"""A file from a web server: resumed, checked, whole or not there."""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from jasper_tf.errors import UserError
from jasper_tf.io.progress import ProgressLine, megabytes

_CHUNK = 1 << 18
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
"""Answers of a server that may be better next time."""


def download(
    url: str,
    path: str | os.PathLike,
    checksum: str | None = None,
    *,
    attempts: int = 5,
    wait_s: float = 2.0,
    timeout_s: float = 60.0,
    say: Callable[[str], None] = print,
) -> Path:
    """Fetches `url` to `path`. Bytes go to `path`.part, which is renamed when it is whole and its checksum right.

    A `.part` left by an earlier call is gone on with (an HTTP Range request); a server that does not know Range sends
    everything again. A file that is at `path` already is checked and kept.

    Args:
        url: http or https.
        path: the file; its folder is made.
        checksum: "md5:..." or "sha256:..." in hexadecimal. Default: only the length is compared.
        attempts: so many in a row that bring no byte are given up after.
        wait_s: seconds before the second attempt, doubled before each further one.
        timeout_s: a server that is silent for so long has cut the connection.
        say: prints a line.

    Raises:
        UserError: one line: the server refuses or cannot be reached, the disk is full, the checksum is another.
    """
    path = Path(path)
    if not re.match(r"https?://[^/]", url):
        raise UserError(f"{url}: is no http:// or https:// address")
    if path.exists():
        _compare(path, checksum, f"{path}: is there already, but")
        return path
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        resumed = part.exists() and part.stat().st_size > 0
        _fetch(url, part, attempts, wait_s, timeout_s, say)
        try:
            _compare(part, checksum, f"{url}:")
        except UserError as error:
            part.unlink()
            if not resumed:
                raise UserError(f"{error}; nothing is kept, run the same command again") from None
            say(f"{path.name}: what was left of an earlier download does not fit; fetching all of it again")
            _fetch(url, part, attempts, wait_s, timeout_s, say)
            try:
                _compare(part, checksum, f"{url}:")
            except UserError as again:
                part.unlink()
                raise UserError(f"{again}; nothing is kept, run the same command again") from None
        os.replace(part, path)
    except OSError as error:
        raise _disk_error(part, error) from None
    return path


def _fetch(url: str, part: Path, attempts: int, wait_s: float, timeout_s: float, say: Callable[[str], None]) -> None:
    failures, pause = 0, wait_s
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if _fetch_once(url, part, before, timeout_s):
                return
            trouble = "the connection was cut"
        except urllib.error.HTTPError as error:
            if error.code not in _AGAIN:
                raise UserError(
                    f"{url}: the server answers {error.code} {error.reason}; check the address (--base-url), "
                    "or fetch the file by hand and give it as --source"
                ) from None
            trouble = f"the server answers {error.code} {error.reason}"
        except urllib.error.URLError as error:
            trouble = f"the server cannot be reached ({getattr(error.reason, 'strerror', None) or error.reason})"
        except (TimeoutError, ConnectionError, ssl.SSLError, http.client.HTTPException) as error:
            trouble = f"the connection was cut ({str(error) or type(error).__name__})"
        now = part.stat().st_size if part.exists() else 0
        failures, pause = (0, wait_s) if now > before else (failures + 1, pause)
        if failures >= attempts:
            kept = f"; {megabytes(now)} are kept in {part}" if now else ""
            raise UserError(f"{url}: {trouble}, {attempts} times in a row{kept}; run the same command again later")
        say(f"{part.stem}: {trouble} at {megabytes(now)}; trying again in {pause:g} s")
        time.sleep(pause)
        pause *= 2 if failures else 1


def _fetch_once(url: str, part: Path, start: int, timeout_s: float) -> bool:
    """One request; True when the file is whole."""
    request = urllib.request.Request(url, headers={"User-Agent": "jasper-tf", "Accept-Encoding": "identity"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        answer = urllib.request.urlopen(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not start:
            raise
        # Nothing lies behind what is there: it is whole, or longer than the file and so of another.
        if re.fullmatch(rf"bytes \*/{start}", error.headers.get("Content-Range", "")):
            return True
        part.unlink()
        return False
    with answer:
        if answer.status == 206:
            sent = re.match(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
            if not sent or int(sent[1]) != start:
                raise http.client.HTTPException("an answer to Range that does not begin where it was asked to")
        else:
            start = 0
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else None
        if total is not None and total - start > shutil.disk_usage(part.parent).free:
            raise OSError(errno.ENOSPC, f"{megabytes(total - start)} are needed")
        with open(part, "ab" if start else "wb") as file, ProgressLine(part.stem, total, megabytes, start) as progress:
            return _copy(answer, file, progress, total)


def _copy(answer: http.client.HTTPResponse, file: BinaryIO, progress: ProgressLine, total: int | None) -> bool:
    while chunk := answer.read(_CHUNK):
        file.write(chunk)
        progress.advance(len(chunk))
    # http.client ends without a word where a server stops early.
    return total is None or progress.done == total


def _compare(path: Path, checksum: str | None, subject: str) -> None:
    if checksum is None:
        return
    kind, _, expected = checksum.partition(":")
    digest = hashlib.new(kind, usedforsecurity=False)
    with open(path, "rb") as file, ProgressLine(f"checking {path.name}", path.stat().st_size, megabytes) as progress:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
            progress.advance(len(chunk))
    if digest.hexdigest() != expected:
        advice = "; remove it or give it another name" if subject.endswith("but") else ""
        raise UserError(f"{subject} its {kind} is {digest.hexdigest()}, it should be {expected}{advice}")


def _disk_error(part: Path, error: OSError) -> UserError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        needed = f" ({error.strerror})" if "needed" in (error.strerror or "") else ""
        return UserError(
            f"{part}: the disk is full{needed}; make room and run the same command again, it goes on from there"
        )
    return UserError(f"{part}: cannot be written ({error.strerror or error})")

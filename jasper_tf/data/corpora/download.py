"""Downloads a file: resumable, verified by checksum, complete or absent."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from pathlib import Path

import requests
from urllib3.exceptions import HTTPError, MaxRetryError, ProtocolError
from urllib3.response import BaseHTTPResponse
from urllib3.util import Retry

from jasper_tf.errors import UserError, one_line
from jasper_tf.io.progress import Progress, logger, megabytes

_CHUNK = 1 << 18
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
"""HTTP status codes after which a request is repeated."""


def download(
    url: str,
    path: str | os.PathLike,
    checksum: str | None = None,
    *,
    attempts: int = 5,
    wait_s: float = 2.0,
    timeout_s: float = 60.0,
) -> Path:
    """Downloads `url` to `path`. Bytes go to `path`.part, which is renamed when it is whole and its checksum right.

    A `.part` left by an earlier call is continued (an HTTP Range request); a server that does not know Range sends
    everything again. A file that is at `path` already is checked and kept.

    Args:
        url: http or https.
        path: the file; its folder is made.
        checksum: "md5:..." or "sha256:..." in hexadecimal. Default: only the length is compared.
        attempts: it gives up after this many in a row without a byte received.
        wait_s: the second attempt follows at once, the third after twice as many seconds, doubled before each further
            one; a Retry-After of the server is obeyed.
        timeout_s: a server that is silent for this long counts as disconnected.

    Raises:
        UserError: one line: the server refuses or cannot be reached, the disk is full, the checksum does not match.
    """
    path = Path(path)
    if not re.match(r"https?://[^/]", url):
        raise UserError(f"{url}: is not an http:// or https:// address")
    if path.exists():
        _compare(path, checksum, f"{path}: is there already, but")
        return path
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            resumed = _size(part) > 0
            _fetch(url, part, attempts, wait_s, timeout_s)
            try:
                _compare(part, checksum, f"{url}:")
                break
            except UserError as error:
                part.unlink()
                if not resumed:
                    raise UserError(f"{error}; nothing is kept, run the same command again") from None
            logger.warning("%s: what was left of an earlier download does not fit; fetching all of it again", path.name)
        os.replace(part, path)
    except OSError as error:
        raise _disk_error(part, error) from None
    return path


def _fetch(url: str, part: Path, attempts: int, wait_s: float, timeout_s: float) -> None:
    retries = fresh = Retry(attempts - 1, backoff_factor=wait_s)
    while True:
        before = _size(part)
        answer: BaseHTTPResponse | None = None
        error: Exception | None = None
        try:
            answer = _fetch_once(url, part, before, timeout_s)
            if answer is None:
                return
            trouble = f"the server answers {answer.status} {answer.reason}"
        except requests.exceptions.ConnectTimeout as found:
            trouble, error = "the server cannot be reached (it does not answer)", found
        except (HTTPError, requests.exceptions.ReadTimeout) as found:
            trouble, error = "the connection was cut", found
        except requests.exceptions.ConnectionError as found:
            trouble, error = f"the server cannot be reached ({_cause(found)})", found
        except requests.exceptions.RequestException as found:
            raise UserError(f"{url}: cannot be fetched ({_cause(found)}); check the address (--base-url)") from None
        now = _size(part)
        try:
            retries = (fresh if now > before else retries).increment("GET", url, answer, error)
        except MaxRetryError:
            kept = f"; {megabytes(now)} are kept in {part}" if now else ""
            message = f"{url}: {trouble}, {attempts} times in a row{kept}; run the same command again later"
            raise UserError(message) from None
        logger.warning("%s: %s at %s; trying again", part.stem, trouble, megabytes(now))
        retries.sleep(answer)


def _fetch_once(url: str, part: Path, start: int, timeout_s: float) -> BaseHTTPResponse | None:
    """Sends one request; returns None when the file is complete, or else the response after which to try again.

    Raises:
        RequestException: the server cannot be reached.
        HTTPError: the connection was cut.
        UserError: the server refuses.
    """
    headers = {"User-Agent": "jasper-tf", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with requests.get(url, headers=headers, stream=True, timeout=timeout_s) as answer:
        if answer.status_code == 416 and start:
            # The part is complete, or longer than the file and so of another one.
            if re.fullmatch(rf"bytes \*/{start}", answer.headers.get("Content-Range", "")):
                return None
            part.unlink()
            return _fetch_once(url, part, 0, timeout_s)
        if answer.status_code in _AGAIN:
            return answer.raw
        if not answer.ok:
            raise UserError(
                f"{url}: the server answers {answer.status_code} {answer.reason}; check the address (--base-url), "
                "or fetch the file by hand and give it as --source"
            )
        if answer.status_code == 206:
            sent = re.match(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
            if not sent or int(sent[1]) != start:
                raise ProtocolError("the answer does not begin where it was asked to")
        else:
            start = 0
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else None
        if total is not None and total - start > shutil.disk_usage(part.parent).free:
            raise OSError(errno.ENOSPC, f"{megabytes(total - start)} are needed")
        with open(part, "ab" if start else "wb") as file, Progress(part.stem, total, megabytes, start) as progress:
            while chunk := answer.raw.read1(_CHUNK):  # read and iter_content lose what came before a cut
                file.write(chunk)
                progress.advance(len(chunk))
    return None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _cause(error: BaseException) -> str:
    """The reason that the operating system gave, else the library's message, in one line."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror
        seen = seen.__cause__ or seen.__context__
    return one_line(error, 120)


def _compare(path: Path, checksum: str | None, subject: str) -> None:
    if checksum is None:
        return
    kind, _, expected = checksum.partition(":")
    digest = hashlib.new(kind, usedforsecurity=False)
    with open(path, "rb") as file, Progress(f"checking {path.name}", path.stat().st_size, megabytes) as progress:
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

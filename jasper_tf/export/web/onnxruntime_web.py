"""The files of onnxruntime-web that a page needs: of npm's package, always the same bytes."""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from jasper_tf.errors import UserError, one_line
from jasper_tf.io.bounded_file import read_bounded

PACKAGE = "onnxruntime-web@1.30.0"

_INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""SHA-512 of the archive, as package-lock.json has it."""
_MOST_BYTES = 1 << 27
_PATIENCE_S = 600
# Some web servers do not know that .mjs is JavaScript, and browsers run no module of another type.
_FILES = {
    "package/dist/ort.wasm.bundle.min.mjs": "ort.wasm.bundle.min.js",
    "package/dist/ort-wasm-simd-threaded.wasm": "ort-wasm-simd-threaded.wasm",
    "package/package.json": "package.json",
}
_LICENSE = Path(__file__).with_name("onnxruntime_license.txt")
"""npm's package only names it."""


def read_onnxruntime_web(archive: str | None = None) -> dict[str, bytes]:
    """Returns the files by name: the module, WebAssembly, package.json and LICENSE.

    Args:
        archive: a .tgz as `npm pack` writes it. Default: npm brings it, from its cache where it can; its settings
            (registry, proxy) hold.

    Raises:
        UserError: the archive is another one or cannot be read; npm is not installed or has not got it.
    """
    content = _pack() if archive is None else read_bounded(archive, _MOST_BYTES, "archive")
    if hashlib.sha512(content).digest() != base64.b64decode(_INTEGRITY):
        raise UserError(f"{archive or 'npm'}: this is not {PACKAGE} (its SHA-512 differs); run npm pack {PACKAGE}")
    found = {"LICENSE": _LICENSE.read_bytes()}
    with tarfile.open(fileobj=io.BytesIO(content), mode="r|gz") as members:
        for member in members:
            if name := _FILES.get(member.name):
                found[name] = members.extractfile(member).read()  # type: ignore[union-attr] # a file, by the checksum
    return found


def _pack() -> bytes:
    hint = f"run `npm pack {PACKAGE}` where it works, and give its file with --onnxruntime-web"
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(f"--format web: needs npm, which is not installed; {hint}")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", PACKAGE, "--pack-destination", folder, "--prefer-offline", "--ignore-scripts"]
        try:
            done = subprocess.run(
                [*command, "--loglevel=error"], stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE_S
            )
        except subprocess.TimeoutExpired:
            raise UserError(f"--format web: npm did not bring {PACKAGE} in {_PATIENCE_S} s; {hint}") from None
        packed = [*Path(folder).glob("*.tgz")]
        if done.returncode or not packed:
            # npm begins with the code and the cause, and ends with the name of its log.
            said = [line.removeprefix("npm error ") for line in done.stderr.decode(errors="replace").splitlines()]
            reason = one_line(" ".join(said[:3])) or f"exit status {done.returncode}"
            raise UserError(f"--format web: npm did not bring {PACKAGE} ({reason}); {hint}")
        return read_bounded(packed[0], _MOST_BYTES, "archive")

"""python -m jasper_tf doctor: it tells what is there, and says no where something is broken."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from jasper_tf.commands.doctor import EXTRAS
from jasper_tf.io.environment import package_version

pytestmark = pytest.mark.medium

REPOSITORY = Path(__file__).resolve().parents[2]


def doctor(*arguments: str, path: Path | None = None, **environment: str) -> subprocess.CompletedProcess:
    folders = [str(folder) for folder in (path, REPOSITORY) if folder]
    return subprocess.run(
        [sys.executable, "-m", "jasper_tf", "doctor", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def healthy() -> subprocess.CompletedProcess:
    return doctor()


def test_reports_versions_devices_and_decoders(healthy):
    done = healthy
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^bf16-mixed +a convolution takes \d+\.\d\d of float32's time", done.stdout, re.MULTILINE)
    report = dict(re.split(r"  +", line, maxsplit=1) for line in done.stdout.splitlines())
    for package in ("tensorflow", "keras", "keras-tuner", "numpy", "soundfile", "soxr"):
        assert report[package] == importlib.metadata.version(package)
    assert report["keras backend"] == "tensorflow"
    assert "CPU" in report and "GPU" in report
    assert ("no wheels" in report["tensorflow-io"]) == (sys.version_info >= (3, 13))
    for kind in ("WAV", "FLAC", "OGG", "MP3", "Opus"):
        assert report[f"{kind} tried"].endswith("in Python")
    assert "libsndfile" in report["FLAC"]
    assert report["verdict"] == "everything needed works"


def test_an_extra_is_there_or_it_is_said_what_it_would_bring(healthy):
    report = dict(re.split(r"  +", line, maxsplit=1) for line in healthy.stdout.splitlines())
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert [key.removeprefix("extra ") for key in report if key.startswith("extra ")] == sorted(extras)
    for extra, (package, brings) in EXTRAS.items():
        version, found = package_version(package), report[f"extra {extra}"]
        assert found.startswith(f"{package} {version}" if version else "not installed") and brings in found
        if extra != "cuda":  # tensorflow's own extra
            assert any(entry.startswith(package) for entry in extras[extra]), extra


def test_graph_decoding_is_claimed_only_where_the_ops_load(healthy):
    lines = healthy.stdout.splitlines()
    claimed = next(line for line in lines if line.startswith("plain WAV, in the graph"))
    tried = next(line for line in lines if line.startswith("WAV tried"))
    assert ("in the graph" in tried) == ("tensorflow-io: not usable" not in claimed)


def test_a_decoder_that_returns_the_wrong_sound_is_found(tmp_path):
    (tmp_path / "soundfile.py").write_text(
        "import importlib.machinery, importlib.util, sys\n"
        "paths = [p for p in sys.path if not p.startswith(__file__.rsplit('/', 1)[0])]\n"
        "spec = importlib.machinery.PathFinder.find_spec('soundfile', paths)\n"
        "real = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(real)\n"
        "globals().update({k: v for k, v in vars(real).items() if k not in ('__name__', '__spec__')})\n"
        "class SoundFile(real.SoundFile):\n"
        "    def read(self, *a, **k):\n"
        "        audio = super().read(*a, **k)\n"
        "        audio[::2] *= -1\n"
        "        return audio\n"
    )
    done = doctor(path=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FLAC through load_audio: a tone of 440 Hz was decoded to 7560 Hz" in done.stdout
    assert "FLAC through tf.data" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_library_that_does_not_import_is_a_finding(tmp_path):
    (tmp_path / "soundfile.py").write_text("raise OSError('sndfile library not found')\n")
    done = doctor(path=tmp_path)
    assert done.returncode == 1
    assert "TROUBLE" in done.stdout and "sndfile library not found" in done.stdout
    assert "Traceback" not in done.stderr


def test_another_backend_is_trouble():
    done = doctor(KERAS_BACKEND="jax")
    assert done.returncode == 1
    assert "KERAS_BACKEND=jax" in done.stdout
    assert "Traceback" not in done.stderr


def test_wrong_use():
    done = doctor("--loud")
    assert done.returncode == 2 and "--loud" in done.stderr and "Traceback" not in done.stderr

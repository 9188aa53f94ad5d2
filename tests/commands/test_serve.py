"""The verb serve: what is wrong in the command is said before TensorFlow is loaded."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    """`serve(*arguments)`: exit status and stderr, in a folder with what looks like a model; without TensorFlow."""
    folder = tmp_path_factory.mktemp("serve")
    (folder / "run").mkdir()
    (folder / "run" / "model.keras").write_bytes(b"PK\x03\x04")
    (folder / "cert.pem").write_text("no certificate")
    (folder / "tensorflow.py").write_text("raise SystemExit(99)")
    (folder / "keras.py").write_text("raise SystemExit(99)")

    def serve(*arguments, **environment):
        paths = [environment.pop("first", ""), str(folder), str(ROOT)]
        command = [sys.executable, "-m", "jasper_tf", "serve", *arguments]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **environment}
        run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
        assert run.stdout == ""
        return run.returncode, run.stderr

    return serve


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("--model nowhere", "nowhere"),
        ("--model run --lm nothing.arpa", "nothing.arpa"),
        ("--model run --tls-cert nothing.pem", "nothing.pem"),
        ("--model run --tls-cert cert.pem", "cert.pem"),
        ("--model run --tls-key cert.pem", "--tls-cert"),
        ("--model run --port 70000", "--port"),
        ("--model run --queue 0", "--queue"),
        ("--model run --batch-wait-ms -1", "--batch-wait-ms"),
        ("--model run --threads 0", "--threads"),
        ("--model run --max-upload-mb 0", "--max-upload-mb"),
        ("--model run --max-upload-mb inf", "--max-upload-mb"),
        ("--model run --chunk-s 1 --overlap-s 1", "--overlap-s"),
        ("--model run --host 203.0.113.1", "--host 203.0.113.1"),
        ("--model run --host no.such.host.invalid", "no.such.host.invalid"),
        ("--model run decoding.beam.beam_sise=4", "beam_sise"),
        ("--model run recording.wav", "recording.wav"),
    ],
)
def test_wrong_use(serve, arguments, named):
    status, err = serve(*arguments.split())
    lines = [line for line in err.splitlines() if "anyone who reaches" not in line]
    assert status == 2 and len(lines) == 1 and lines[0].startswith("error: ") and named in lines[0]


def test_a_port_in_use(serve):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        status, err = serve("--model", "run", "--port", port)
    assert status == 2 and err.count("\n") == 1 and port in err


def test_a_key_that_no_header_carries(serve):
    status, err = serve("--model", "run", JASPER_API_KEY="a\nb")
    assert status == 2 and err.count("\n") == 1 and "API key" in err


def test_without_the_extra(serve, tmp_path):
    """A finder that knows no fastapi: as where it is not installed."""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'fastapi' else find(name, *rest)\n"
    )
    status, err = serve("--model", "run", first=str(tmp_path))
    assert status == 2 and err.count("\n") == 1 and "pip install 'jasper-tf[server]'" in err

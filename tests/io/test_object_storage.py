"""Files in object storage: moto's S3 server, alone and behind a bad proxy; errors without secrets."""

import importlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from jasper_tf.errors import UserError
from jasper_tf.io import object_storage
from jasper_tf.io.object_storage import (
    StorageError,
    download,
    is_remote_folder,
    list_remote,
    read_remote,
    remote_exists,
    remote_size,
    remove_remote,
    upload,
    write_remote,
)
from jasper_tf.io.working_copy import WorkingCopy

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def other_connections():
    """The environment is read when a file system is made."""
    object_storage._file_system.cache_clear()
    yield
    object_storage._file_system.cache_clear()


class Proxy:
    """Passes connections on to a server, except the first `lost`, which it accepts and closes, or never answers."""

    def __init__(self, target: str, lost: int, silent: bool = False):
        host, port = target.removeprefix("http://").split(":")
        self.target, self.lost, self.silent, self.seen = (host, int(port)), lost, silent, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.held: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.seen += 1
            if self.seen <= self.lost:
                self.held.append(client)
                if not self.silent:
                    client.recv(10)
                    client.close()
                continue
            server = socket.create_connection(self.target)
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    @staticmethod
    def _pass_on(one, other):
        try:
            while content := one.recv(1 << 16):
                other.sendall(content)
        except OSError:
            pass
        other.close()


def test_files_come_and_go(s3, tmp_path):
    content = os.urandom(1 << 20)
    (tmp_path / "a").write_bytes(content)
    upload(tmp_path / "a", f"{s3}/f/a")
    write_remote(f"{s3}/f/g/b", b"b")
    assert read_remote(f"{s3}/f/a", 7, 1000) == content[7:1000] and read_remote(f"{s3}/f/a") == content
    assert remote_size(f"{s3}/f/a") == len(content)
    assert list_remote(f"{s3}/f") == {"a": len(content), "g/b": 1} and list_remote(f"{s3}/none") == {}
    assert is_remote_folder(f"{s3}/f") and not is_remote_folder(f"{s3}/f/a") and remote_exists(f"{s3}/f/a")
    remove_remote(f"{s3}/f/a")
    remove_remote(f"{s3}/f/a")
    assert not remote_exists(f"{s3}/f/a")


def test_a_large_file_in_parts(s3, tmp_path, monkeypatch):
    monkeypatch.setattr(object_storage, "_BLOCK_BYTES", 1000)
    content = os.urandom(20_100)
    write_remote(f"{s3}/a", content)
    download(f"{s3}/a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == content


def test_what_is_wrong_in_one_line_each(s3, monkeypatch):
    for path, kind, words in (
        (f"{s3}/none", "missing", "no such file; check the path"),
        ("s3://no-such-bucket-of-ours/a", "missing", "no such"),
        ("warp://a/b", "other", "no such storage; use s3, gs, az or hdfs"),
    ):
        with pytest.raises(StorageError) as caught:
            read_remote(path)
        assert caught.value.kind == kind and words in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(StorageError, match="^s3://no-such-bucket-of-ours/a: no such bucket; check its name$"):
        write_remote("s3://no-such-bucket-of-ours/a", b"")
    for path in ("s3://key:geheim@bucket/a", "https://host/a.wav?X-Amz-Signature=geheim&X-Amz-Credential=me"):
        with pytest.raises(UserError, match="has credentials in it; give them in the environment") as refused:
            read_remote(path)
        assert "geheim" not in str(refused.value)


def test_no_credentials(s3, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(StorageError, match="no credentials.*AWS_ACCESS_KEY_ID") as caught:
        read_remote(f"{s3}/a")
    assert caught.value.kind == "denied"


def test_a_missing_package_is_one_command(s3, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(importlib.import_module("fsspec.registry")._registry, "s3", raising=False)
    with pytest.raises(StorageError, match=r"needs the package s3fs; run pip install 'jasper-tf\[cloud\]'"):
        read_remote(f"{s3}/a")


@pytest.mark.parametrize("silent", [False, True])
def test_lost_connections_are_tried_again_and_named(s3, s3_server, monkeypatch, caplog, silent):
    write_remote(f"{s3}/a", b"found")
    proxy = Proxy(s3_server[0], lost=2, silent=silent)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    monkeypatch.setenv("JASPER_STORAGE_TIMEOUT_S", "0.4")
    monkeypatch.setattr(object_storage, "_FIRST_WAIT_S", 0.01)
    object_storage._file_system.cache_clear()
    monkeypatch.setattr(logging.getLogger("jasper_tf"), "propagate", True)
    assert read_remote(f"{s3}/a") == b"found"
    tries = list(dict.fromkeys(r.getMessage() for r in caplog.records if "no answer" in r.getMessage()))
    # aiohttp itself repeats the first that is closed at once.
    assert len(tries) == (2 if silent else 1) and f"{s3}/a" in tries[0] and ("timeout" in tries[0]) == silent


def test_a_server_that_is_away_is_named(s3, monkeypatch, caplog):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(object_storage, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(logging.getLogger("jasper_tf"), "propagate", True)
    with pytest.raises(StorageError, match=r"no answer in 5 tries \(\w+\); check the network") as caught:
        read_remote(f"{s3}/a")
    assert caught.value.kind == "unreachable"
    assert "made/up" not in caplog.text + str(caught.value) and "AKIA" not in caplog.text + str(caught.value)


def test_a_working_copy_is_complete_or_not_at_all(s3):
    url = f"{s3}/run"
    for name in ("log.txt", "checkpoints/step=1/position.json", "checkpoints/step=1/variables.npz"):
        write_remote(f"{url}/{name}", b"1")
    write_remote(f"{url}/checkpoints/step=2/variables.npz", b"a killed process did not get further")
    with WorkingCopy(url, "position.json", "checkpoints") as copy:
        copy.download()
        found = {path.relative_to(copy.path).as_posix() for path in copy.path.rglob("*") if path.is_file()}
        assert found == {"log.txt", "checkpoints/step=1/position.json", "checkpoints/step=1/variables.npz"}
        (copy.path / "checkpoints/step=3").mkdir()
        for name in ("variables.npz", "position.json"):
            (copy.path / "checkpoints/step=3" / name).write_text("3")
        (copy.path / "checkpoints/.step=4.partial").mkdir()
        (copy.path / "checkpoints/.step=4.partial/variables.npz").write_text("4")
        for name in ("variables.npz", "position.json"):
            (copy.path / "checkpoints/step=1" / name).unlink()
        copy.upload()
        assert set(list_remote(url)) == {
            "log.txt",
            "checkpoints/step=3/position.json",
            "checkpoints/step=3/variables.npz",
        }


def test_a_process_killed_while_it_uploads_leaves_no_half_checkpoint(s3, tmp_path):
    """SIGKILL before the marker is written: what another process then reads is the checkpoint before."""
    code = """
import sys
from jasper_tf.io import working_copy
put = working_copy.upload
def stop_at_marker(local, path):
    if path.endswith("step=2/position.json"):
        print("here", flush=True)
        sys.stdin.read()
    put(local, path)
working_copy.upload = stop_at_marker
with working_copy.WorkingCopy(sys.argv[1], "position.json", "checkpoints") as copy:
    for step in (1, 2):
        (copy.path / f"checkpoints/step={step}").mkdir(parents=True)
        for name in ("variables.npz", "position.json"):
            (copy.path / f"checkpoints/step={step}" / name).write_text(str(step))
        copy.upload()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, f"{s3}/run"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"here\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert "checkpoints/step=2/variables.npz" in list_remote(f"{s3}/run")
    with WorkingCopy(f"{s3}/run", "position.json", "checkpoints") as copy:
        copy.download()
        assert [path.name for path in (copy.path / "checkpoints").iterdir()] == ["step=1"]

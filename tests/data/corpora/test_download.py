"""download: against a server on the loopback that cuts, ignores Range, refuses, or sends something else."""

import hashlib
import os
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from jasper_tf.data.corpora.download import download
from jasper_tf.errors import UserError

CONTENT = np.random.default_rng(0).bytes(700_001)
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


class Handler(BaseHTTPRequestHandler):
    """/whole, /norange (sends everything, Range or not), /cut/N (answers end after N bytes), /busy/N (N times 503)."""

    def do_GET(self):  # noqa: N802  # the name http.server calls
        ranges = self.server.ranges
        ranges.append(self.headers.get("Range"))
        kind, *number = self.path.strip("/").split("/")
        if kind == "busy" and len(ranges) <= int(number[0]):
            return self.send_error(503)
        if kind not in ("whole", "norange", "cut", "busy"):
            return self.send_error(404)
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(asked[1]) if asked and kind != "norange" else 0
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        end = start + int(number[0]) if kind == "cut" else len(CONTENT)
        self.wfile.write(CONTENT[start:end])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.ranges = []
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.shutdown()


def fetch(url, path, checksum=MD5, **options):
    return download(url, path, checksum, wait_s=0.01, timeout_s=5, **options)


def logged(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "jasper_tf"]


def refusal(url, path, *parts, **options):
    with pytest.raises(UserError) as error:
        fetch(url, path, **options)
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message
    assert not path.exists()


def test_a_whole_file_and_once_only(server, tmp_path, caplog):
    path = fetch(f"{server.url}/whole", tmp_path / "new/folder/file")
    assert path.read_bytes() == CONTENT and not caplog.messages and os.listdir(path.parent) == ["file"]
    fetch(f"{server.url}/whole", path)
    assert server.ranges == [None]


def test_a_connection_that_is_cut_goes_on_where_it_was(server, tmp_path, caplog):
    path = fetch(f"{server.url}/cut/300000", tmp_path / "file")
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-", "bytes=600000-"]
    said = logged(caplog)
    assert len(said) == 2 and "the connection was cut" in said[0] and "at 0.3 MB; trying again" in said[0]


def test_goes_on_with_a_part_of_an_earlier_call(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT[:1234])
    path = fetch(f"{server.url}/whole", tmp_path / "file")
    assert path.read_bytes() == CONTENT and server.ranges == ["bytes=1234-"]


def test_a_part_that_is_whole_already(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT)
    path = fetch(f"{server.url}/whole", tmp_path / "file")
    assert path.read_bytes() == CONTENT and not (tmp_path / "file.part").exists()


def test_a_part_that_is_longer_than_the_file(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT + b"more")
    assert fetch(f"{server.url}/whole", tmp_path / "file").read_bytes() == CONTENT


def test_a_server_that_ignores_range_sends_all_again(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT[:1234])
    path = fetch(f"{server.url}/norange", tmp_path / "file")
    assert path.read_bytes() == CONTENT and server.ranges == ["bytes=1234-"]


def test_a_part_of_another_file_is_fetched_anew(server, tmp_path, caplog):
    (tmp_path / "file.part").write_bytes(b"another file's beginning")
    path = fetch(f"{server.url}/whole", tmp_path / "file")
    assert path.read_bytes() == CONTENT
    assert server.ranges == ["bytes=24-", None] and "does not fit" in logged(caplog)[0]


def test_a_server_that_is_busy_for_a_while(server, tmp_path, caplog):
    path = fetch(f"{server.url}/busy/3", tmp_path / "file")
    assert path.read_bytes() == CONTENT and len(logged(caplog)) == 3 and "503" in logged(caplog)[0]


def test_wrong_checksum(server, tmp_path):
    refusal(f"{server.url}/whole", tmp_path / "file", "its md5 is " + MD5[4:], "should be 00", checksum="md5:00")
    assert os.listdir(tmp_path) == []


def test_a_file_of_that_name_with_another_content_is_kept(server, tmp_path):
    (tmp_path / "file").write_bytes(b"the user's own")
    with pytest.raises(UserError, match="file: is there already, but its md5 is .*remove it"):
        fetch(f"{server.url}/whole", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"the user's own" and server.ranges == []


def test_not_found_is_told_at_once(server, tmp_path):
    refusal(f"{server.url}/absent", tmp_path / "file", "the server answers 404", "--base-url", "--source")
    assert len(server.ranges) == 1


def test_a_server_that_stays_busy_and_what_is_kept(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT[:500_000])
    refusal(f"{server.url}/busy/9", tmp_path / "file", "503", "3 times in a row; 0.5 MB are kept", attempts=3)
    assert len(server.ranges) == 3 and (tmp_path / "file.part").read_bytes() == CONTENT[:500_000]


def test_no_server(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/file"
    refusal(url, tmp_path / "file", "cannot be reached", "2 times in a row", attempts=2)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/file", "file", "http://"])
def test_other_addresses_are_refused(url, tmp_path):
    refusal(url, tmp_path / "file", "is not an http:// or https:// address")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk(server, tmp_path):
    (tmp_path / "file.part").symlink_to("/dev/full")
    refusal(f"{server.url}/whole", tmp_path / "file", "file.part: the disk is full", "goes on from there")


def test_a_disk_with_too_little_room_is_told_before(server, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    refusal(f"{server.url}/whole", tmp_path / "file", "the disk is full (0.7 MB are needed)")


def test_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "occupied").write_text("")
    refusal(f"{server.url}/whole", tmp_path / "occupied/file", "cannot be written")

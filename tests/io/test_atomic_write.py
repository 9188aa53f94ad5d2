"""Files that appear complete or not at all, whatever the path leads to."""

import contextlib
import errno
import os
import resource
import stat
import threading
from pathlib import Path

import pytest

from jasper_tf.errors import UserError
from jasper_tf.io.atomic_write import atomic_path, atomic_write


def write(path, text="new"):
    with atomic_write(path) as file:
        file.write(text)


def write_by_name(path, text="new"):
    with atomic_path(path) as beside:
        beside.write_text(text)


BOTH = pytest.mark.parametrize("write", [write, write_by_name])


@BOTH
def test_a_new_file_has_the_mode_of_any_other(tmp_path, write):
    write(tmp_path / "a")
    (tmp_path / "b").touch()
    assert (tmp_path / "a").read_text() == "new" and (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


@BOTH
@pytest.mark.parametrize("mode", [0o600, 0o444, 0o755])
def test_an_existing_file_keeps_its_mode(tmp_path, write, mode):
    (tmp_path / "a").write_text("old")
    (tmp_path / "a").chmod(mode)
    write(tmp_path / "a")
    assert (tmp_path / "a").read_text() == "new" and stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


def test_until_the_end_the_old_file_is_there(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "a") as file:
        file.write("new" * 10_000)
        file.flush()
        assert (tmp_path / "a").read_text() == "old"
        raise KeyboardInterrupt
    assert (tmp_path / "a").read_text() == "old" and os.listdir(tmp_path) == ["a"]


@BOTH
def test_a_link_stays_and_its_target_is_replaced_in_its_own_folder(tmp_path, write):
    for name in ("there", "here"):
        (tmp_path / name).mkdir()
    target, link, second = tmp_path / "there" / "a", tmp_path / "here" / "a", tmp_path / "here" / "b"
    target.write_text("old")
    link.symlink_to("../there/a")
    second.symlink_to(link)
    write(second)
    assert second.is_symlink() and link.is_symlink() and target.read_text() == "new"
    target.unlink()
    write(second, "dangling")
    assert link.is_symlink() and target.read_text() == "dangling"
    assert sorted(os.listdir(tmp_path / "here")) == ["a", "b"] and os.listdir(tmp_path / "there") == ["a"]


@pytest.fixture
def terminal():
    """A device that not even root could replace by a file, and a function that returns what was written to it."""
    controller, device = os.openpty()
    yield Path(os.ttyname(device)), lambda: os.read(controller, 1000)
    os.close(controller)
    os.close(device)


@BOTH
@pytest.mark.parametrize("link", [False, True])
def test_a_device_is_written_to_and_stays_one(tmp_path, write, link, terminal):
    path, read = terminal
    if link:
        (tmp_path / "link").symlink_to(path)
        path = tmp_path / "link"
    write(path, "through")
    assert read() == b"through" and stat.S_ISCHR(os.stat(path).st_mode) and path.is_symlink() == link


@BOTH
def test_a_pipe_is_written_to_and_stays_one(tmp_path, write):
    os.mkfifo(tmp_path / "p")
    heard = []
    reader = threading.Thread(target=lambda: heard.append((tmp_path / "p").read_text()), daemon=True)
    reader.start()
    write(tmp_path / "p", "through")
    reader.join(60)
    assert heard == ["through"] and (tmp_path / "p").is_fifo() and os.listdir(tmp_path) == ["p"]


@BOTH
def test_an_open_descriptor_goes_on_where_it_is(tmp_path, write):
    """As /dev/stdout does, also when a shell has redirected it to a file."""
    with open(tmp_path / "a", "w") as file:
        file.write("before ")
        file.flush()
        write(f"/dev/fd/{file.fileno()}", "through ")
        (tmp_path / "link").symlink_to(f"/proc/self/fd/{file.fileno()}")
        write(tmp_path / "link", "link")
        file.write(" after")
    assert (tmp_path / "a").read_text() == "before through link after"
    with open(tmp_path / "a") as file, pytest.raises(UserError, match="reading"):
        write(f"/dev/fd/{file.fileno()}")


@BOTH
@pytest.mark.parametrize("name", ["x" * 255, "ä" * 127, "🎤" * 60 + ".keras"])
def test_the_longest_names(tmp_path, write, name):
    for _ in range(2):
        write(tmp_path / name)
    assert os.listdir(tmp_path) == [name]


@BOTH
def test_what_cannot_be_written_is_one_line(tmp_path, write):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "lost").symlink_to("no/such")
    names = ["folder", "folder/", "new/", "no/such/file", "file/below", "loop", "lost", "x" * 256, "nul\0"]
    before = sorted(os.listdir(tmp_path))
    for name in names:
        with pytest.raises(UserError) as caught:
            write(f"{tmp_path}/{name}")
        assert str(caught.value).startswith(str(tmp_path)) and "\n" not in str(caught.value), name
    assert sorted(os.listdir(tmp_path)) == before


@contextlib.contextmanager
def largest_file(size):
    quota = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, quota[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, quota)


@pytest.mark.parametrize("size", [10, 100_000])
@BOTH
def test_a_full_disk(tmp_path, write, size):
    """Found while the text is written, or when the file is closed."""
    (tmp_path / "a").write_text("old")
    with largest_file(5), pytest.raises(UserError, match="a: cannot write: .*make room"):
        write(tmp_path / "a", "x" * size)
    assert (tmp_path / "a").read_text() == "old" and os.listdir(tmp_path) == ["a"]
    with open(tmp_path / "b", "w") as file, largest_file(5):
        with pytest.raises(UserError, match=f"/dev/fd/{file.fileno()}: cannot write: .*make room"):
            write(f"/dev/fd/{file.fileno()}", "x" * size)


def test_errors_of_the_block_are_its_own(tmp_path):
    with pytest.raises(FileNotFoundError, match="other"), atomic_write(tmp_path / "a"):
        open(tmp_path / "other")
    assert os.listdir(tmp_path) == []


@BOTH
def test_file_and_folder_are_on_the_disk_before_it_returns(tmp_path, write, monkeypatch):
    """The file before it has its name, the folder after."""
    synced = []

    def fsync(descriptor):
        synced.append((Path(os.readlink(f"/proc/self/fd/{descriptor}")), (tmp_path / "a").exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    write(tmp_path / "a")
    (file, before), (folder, after) = synced
    assert file.parent == folder == tmp_path and not before and after


def test_a_folder_that_cannot_be_synced_is_no_error(tmp_path, monkeypatch):
    fsync = os.fsync

    def only_files(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", only_files)
    write(tmp_path / "a")
    assert (tmp_path / "a").read_text() == "new"

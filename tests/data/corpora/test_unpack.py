"""unpack: all of an archive in its folder, or nothing anywhere."""

import contextlib
import io
import os
import stat
import tarfile
import zipfile

import pytest

from jasper_tf.data.corpora.unpack import archive_stem, unpack
from jasper_tf.errors import UserError

FILES = {"corpus/a.txt": b"one", "corpus/deep/b.bin": bytes(range(256)) * 300}


def make_tar(path, members, mode="w:gz"):
    """`members`: (name, content) or (name, type of the member, where it points)."""
    with tarfile.open(path, mode) as tar:
        for name, *rest in members:
            member = tarfile.TarInfo(name)
            if len(rest) == 1:
                member.size = len(rest[0])
                tar.addfile(member, io.BytesIO(rest[0]))
            else:
                member.type, member.linkname = rest
                tar.addfile(member)
    return path


def make_zip(path, members):
    with zipfile.ZipFile(path, "w") as packed:
        for name, content, *kind in members:
            member = zipfile.ZipInfo(name)
            member.external_attr = ((kind[0] if kind else stat.S_IFREG) | 0o644) << 16
            packed.writestr(member, content)
    return path


def everything(folder):
    return sorted(os.path.relpath(os.path.join(at, f), folder) for at, _, files in os.walk(folder) for f in files)


def refusal(archive, folder, *parts):
    """Unpacking fails with one line, and nothing is anywhere but what was there before."""
    before = everything(folder.parent.parent)
    with pytest.raises(UserError) as error:
        unpack(archive, folder)
    for part in (archive.name, *parts):
        assert part in str(error.value), error.value
    assert "\n" not in str(error.value)
    assert everything(folder.parent.parent) == before and not folder.exists()


@pytest.fixture
def place(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in/folder"


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.bz2", "tar.xz", "zip"])
def test_all_of_it(kind, tmp_path, place):
    archive = tmp_path / f"corpus.{kind}"
    if kind == "zip":
        make_zip(archive, FILES.items())
    else:
        make_tar(archive, FILES.items(), "w:" + kind.removeprefix("tar").removeprefix("."))
    assert unpack(archive, place) == place and archive_stem(archive) == "corpus"
    for name, content in FILES.items():
        assert (place / name).read_bytes() == content
    assert os.listdir(place.parent) == ["folder"]
    # Again: what is there stays, even what has been added to it.
    (place / "added").write_text("mine")
    assert unpack(archive, place) == place and (place / "added").exists()


def test_a_folder_of_something_else_is_not_touched(tmp_path, place):
    place.mkdir()
    (place / "mine").write_text("")
    with pytest.raises(UserError, match="is there already and not unpacked from this c.tar.gz"):
        unpack(make_tar(tmp_path / "c.tar.gz", FILES.items()), place)
    assert everything(place) == ["mine"]


def test_what_a_killed_call_left_is_removed(tmp_path, place):
    beside = place.with_name(".folder.unpacking")
    beside.mkdir()
    (beside / "half").write_text("")
    unpack(make_tar(tmp_path / "c.tar.gz", FILES.items()), place)
    assert "half" not in everything(place.parent) and len(everything(place)) == 3


@pytest.mark.parametrize("name", ["../evil", "corpus/../../evil", ".."])
def test_names_that_lead_out_of_a_tar(name, tmp_path, place):
    archive = make_tar(tmp_path / "c.tar.gz", [("corpus/good", b"good"), (name, b"evil")])
    refusal(archive, place, "outside the destination", "nothing was unpacked")


@pytest.mark.parametrize("name", ["../evil", "corpus/../../evil", "/tmp/evil_of_jasper", "a\\..\\evil", "C:evil"])
@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_nothing_is_written_elsewhere(name, kind, tmp_path, place):
    archive = tmp_path / f"c.{kind}"
    (make_zip if kind == "zip" else make_tar)(archive, [("corpus/good", b"good"), (name, b"evil")])
    with contextlib.suppress(UserError):
        unpack(archive, place)
    elsewhere = [path for path in everything(tmp_path) if not path.startswith("in/folder/")]
    assert elsewhere == [archive.name] and not os.path.exists("/tmp/evil_of_jasper")


@pytest.mark.parametrize(
    ("kind", "target", "said"),
    [
        (tarfile.SYMTYPE, "/etc", "is a link (to '/etc')"),
        (tarfile.SYMTYPE, "../..", "is a link"),
        (tarfile.SYMTYPE, "corpus/good", "is a link"),
        (tarfile.LNKTYPE, "../../outside", "is a link"),
        (tarfile.CHRTYPE, "", "is a special file"),
        (tarfile.BLKTYPE, "", "is a special file"),
        (tarfile.FIFOTYPE, "", "is a special file"),
    ],
)
def test_links_and_devices(kind, target, said, tmp_path, place):
    (tmp_path / "outside").write_text("outside")
    members = [("corpus/good", b"good"), ("corpus/way", kind, target), ("corpus/way/evil", b"evil")]
    refusal(make_tar(tmp_path / "c.tar.gz", members), place, said)
    assert (tmp_path / "outside").read_text() == "outside"


def test_a_link_in_a_zip(tmp_path, place):
    """It becomes a file with the link's target as its content."""
    archive = make_zip(tmp_path / "c.zip", [("way", b"/etc", stat.S_IFLNK)])
    assert (unpack(archive, place) / "way").read_bytes() == b"/etc" and not (place / "way").is_symlink()


def test_an_encrypted_zip(tmp_path, place):
    archive = make_zip(tmp_path / "c.zip", FILES.items())
    content = bytearray(archive.read_bytes())
    for header, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place_of = content.find(header)
        while place_of >= 0:
            content[place_of + at] |= 1
            place_of = content.find(header, place_of + 1)
    archive.write_bytes(content)
    refusal(archive, place, "encrypted")


def test_permissions_are_not_taken_over(tmp_path, place):
    with tarfile.open(tmp_path / "c.tar", "w") as tar:
        member = tarfile.TarInfo("tool")
        member.mode, member.uid = 0o6777, 12345
        tar.addfile(member)
    unpack(tmp_path / "c.tar", place)
    assert not (place / "tool").stat().st_mode & (stat.S_ISUID | stat.S_ISGID)


@pytest.mark.parametrize("kind", ["tar.gz", "tar.bz2", "tar.xz", "zip", "tar"])
@pytest.mark.parametrize("keep", [0.5, 0.0])
def test_cut_off(kind, keep, tmp_path, place):
    archive = tmp_path / f"c.{kind}"
    noise = [("one", os.urandom(60_000)), ("two", os.urandom(60_000))]
    if kind == "zip":
        make_zip(archive, noise)
    else:
        make_tar(archive, noise, "w:" + kind.removeprefix("tar").removeprefix("."))
    content = archive.read_bytes()
    archive.write_bytes(content[: int(keep * len(content))])
    refusal(archive, place, "cut off, damaged, or no archive")


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_flipped_byte(kind, tmp_path, place):
    # Stored, not compressed: only the checksum can tell.
    noise = os.urandom(100_000)
    archive = (make_zip if kind == "zip" else make_tar)(tmp_path / f"c.{kind}", [("one", noise)])
    content = bytearray(archive.read_bytes())
    content[50_000] ^= 1
    archive.write_bytes(content)
    refusal(archive, place, "cut off, damaged, or no archive", "CRC")


def test_no_archive_and_none_at_all(tmp_path, place):
    (tmp_path / "page.tar.gz").write_text("<html>Please log in</html>")
    refusal(tmp_path / "page.tar.gz", place, "cut off, damaged, or no archive")
    refusal(tmp_path / "absent.tar.gz", place, "No such file")
    refusal(make_tar(tmp_path / "empty.tar.gz", []), place, "holds no file")


def test_too_little_room_for_a_zip(tmp_path, place, monkeypatch):
    archive = make_zip(tmp_path / "c.zip", FILES.items())
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    refusal(archive, place, "the disk is full")

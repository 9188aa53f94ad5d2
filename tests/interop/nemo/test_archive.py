"""The .nemo container: what NeMo writes is read, what was made to do harm is refused in one line."""

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from jasper_tf.errors import UserError
from jasper_tf.interop.nemo.archive import NemoArchive, read_archive, write_archive

CONFIG, WEIGHTS = b"labels: [a]\n", os.urandom(100_000)


def member(name, content=b"", kind=tarfile.REGTYPE, link="", size=None):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = len(content) if size is None else size
    return info.tobuf() + content + b"\0" * (-len(content) % 512)


def sound_members():
    return member("./model_config.yaml", CONFIG) + member("./model_weights.ckpt", WEIGHTS)


END = b"\0" * 1024


def write(tmp_path, content):
    path = tmp_path / "model.nemo"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["tar", "gzip"])
@pytest.mark.parametrize("prefix", ["./", ""])
def test_plain_and_gzip(tmp_path, pack, prefix):
    content = member("./", kind=tarfile.DIRTYPE) + member(f"{prefix}model_config.yaml", CONFIG)
    content += (
        member(f"{prefix}vocab.txt", b"x")
        + member(f"{prefix}notes.txt", b"y")
        + member(f"{prefix}model_weights.ckpt", WEIGHTS)
        + END
    )
    assert read_archive(write(tmp_path, pack(content))) == NemoArchive(
        CONFIG, WEIGHTS, ("notes.txt",), {"vocab.txt": b"x"}
    )


def test_round_trip_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_archive(tmp_path / name, CONFIG.decode(), WEIGHTS)
    assert read_archive(tmp_path / "a") == NemoArchive(CONFIG, WEIGHTS, (), {})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with tarfile.open(tmp_path / "a", "r:") as tar:  # NeMo's way in
        assert tar.getnames() == ["./model_config.yaml", "./model_weights.ckpt"]


@pytest.mark.parametrize(
    ("evil", "word"),
    [
        (member("../../evil.yaml", b"x"), "'../../evil.yaml' points out"),
        (member("a/../../evil", b"x"), "'a/../../evil' points out"),
        (member("/etc/evil", b"x"), "'/etc/evil' points out"),
        (member("C:\\evil", b"x"), "points out"),
        (member("link", kind=tarfile.SYMTYPE, link="/etc/passwd"), "'link' is a link (to '/etc/passwd')"),
        (member("model_weights.ckpt", kind=tarfile.LNKTYPE, link="x"), "is a link"),
        (member("device", kind=tarfile.CHRTYPE), "neither a plain file"),
        (member("fifo", kind=tarfile.FIFOTYPE), "neither a plain file"),
        (member("model_config.yaml", b"labels: [b]"), "model_config.yaml twice"),
        (member("vast", size=2**40), "declares 1099511627776 bytes"),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["tar", "gzip"])
def test_harmful_members(tmp_path, evil, word, pack):
    path = write(tmp_path, pack(sound_members() + evil + END))
    with pytest.raises(UserError) as refusal:
        read_archive(path)
    line = str(refusal.value)
    assert word in line and line.startswith(str(path)) and "\n" not in line
    assert os.listdir(tmp_path) == ["model.nemo"]


def test_sparse_member(tmp_path):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("model_weights.ckpt")
        info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.size": str(2**40)}
        info.pax_headers["GNU.sparse.map"] = "0,1"
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(UserError, match="neither a plain file|declares"):
        read_archive(write(tmp_path, content.getvalue()))


@pytest.mark.parametrize("declared", [False, True], ids=["behind the end", "in a member"])
def test_gzip_bomb_is_not_unpacked(tmp_path, declared):
    zeros, size = b"\0" * 2**20, 300 * 2**20
    path = tmp_path / "model.nemo"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(member("./vast", size=size if declared else 0))
        for _ in range(size // len(zeros)):
            file.write(zeros if declared else member("./many"))
    with pytest.raises(UserError, match="do harm|expand far more|more than 1000|twice"):
        read_archive(path)


def test_gzip_bomb_behind_a_modest_header(tmp_path):
    # 60 MiB are allowed in each member, not in the sum.
    path = tmp_path / "model.nemo"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for number in range(3):
            file.write(member(f"./{number}", size=60 * 2**20) + b"\0" * (60 * 2**20))
    with pytest.raises(UserError, match="expand far more than weights can"):
        read_archive(path)


@pytest.mark.parametrize("share", [0.001, 0.3, 0.7, 0.98])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["tar", "gzip"])
def test_cut_off(tmp_path, share, pack):
    content = pack(sound_members())
    with pytest.raises(UserError, match="cut off|no .nemo"):
        read_archive(write(tmp_path, content[: int(share * len(content))]))


def test_damaged_gzip(tmp_path):
    content = bytearray(gzip.compress(sound_members() + END))
    content[len(content) // 2] ^= 0xFF
    with pytest.raises(UserError, match="damaged"):
        read_archive(write(tmp_path, bytes(content)))


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "no .nemo"),
        (b"this is text, not an archive\n" * 99, "no .nemo"),
        (member("model_config.yaml", CONFIG) + END, "has no model_weights.ckpt (it holds model_config.yaml)"),
        (member("model_config.yaml", kind=tarfile.DIRTYPE) + END, "has no model_config.yaml"),
    ],
)
def test_no_nemo_archive(tmp_path, content, word):
    with pytest.raises(UserError) as refusal:
        read_archive(write(tmp_path, content))
    assert word in str(refusal.value)


def test_absent_file():
    with pytest.raises(UserError, match="No such file"):
        read_archive(Path("absent.nemo"))

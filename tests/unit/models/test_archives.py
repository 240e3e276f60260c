import io
import tarfile
import zipfile

import pytest

from tiffin.errors import StorageError
from tiffin.models import archives


def tar(path, *members, mode="w:gz"):
    with tarfile.open(path, mode) as out:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                out.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = content
                out.addfile(info)
    return path


def packed_zip(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in members:
            out.writestr(name, content)
    return path


@pytest.fixture
def into(tmp_path):
    (tmp_path / "into").mkdir()
    return tmp_path / "into"


@pytest.mark.parametrize(
    ("name", "mode"),
    [("m.tar", "w"), ("m.tar.gz", "w:gz"), ("m.tgz", "w:gz"), ("m.tar.xz", "w:xz"), ("m.zip", "")],
)
def test_files_and_directories_are_unpacked(name, mode, tmp_path, into):
    members = [("a/b/model.joblib", b"weights"), ("names.txt", b"x")]
    archive = tmp_path / name
    tar(archive, *members, mode=mode) if mode else packed_zip(archive, *members)
    assert archives.is_archive(name)
    archives.unpack(archive, into)
    assert (into / "a/b/model.joblib").read_bytes() == b"weights"
    assert (into / "names.txt").read_bytes() == b"x"


BAD_NAMES = ["../out", "a/../../out", "/etc/out", "a/..", "C:/out", "..\\out"]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_name_that_leads_out_is_refused(name, kind, tmp_path, into):
    archive = tmp_path / f"m.{kind}"
    if kind == "tar":
        tar(archive, (name, b"x"), mode="w")
    else:
        packed_zip(archive, (name, b"x"))
    with pytest.raises(StorageError, match="outside of its directory"):
        archives.unpack(archive, into)
    assert list(into.iterdir()) == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "link",
    [(tarfile.SYMTYPE, "/etc/passwd"), (tarfile.LNKTYPE, "../x"), (tarfile.FIFOTYPE, ""), (tarfile.CHRTYPE, "")],
)
def test_links_and_devices_are_refused(link, tmp_path, into):
    with pytest.raises(StorageError, match=r"holds a (link|device), 'x'"):
        archives.unpack(tar(tmp_path / "m.tar.gz", ("x", link)), into)


def test_a_link_in_a_zip_is_refused(tmp_path, into):
    info = zipfile.ZipInfo("x")
    info.external_attr = 0o120777 << 16
    with pytest.raises(StorageError, match="link or device"):
        archives.unpack(packed_zip(tmp_path / "m.zip", (info, "/etc/passwd")), into)


def test_an_archive_that_grows_too_large_is_refused(tmp_path, into):
    archive = packed_zip(tmp_path / "m.zip", ("zeros", b"\0" * 1_000_000))
    with pytest.raises(StorageError, match="grows too large"):
        archives.unpack(archive, into, max_bytes=100_000)
    assert sum(path.stat().st_size for path in into.rglob("*")) <= 100_000


def test_a_bomb_is_refused_by_its_ratio(tmp_path, into, monkeypatch):
    monkeypatch.setattr(archives, "_RATIO_COUNTS_FROM", 0)
    monkeypatch.setattr(archives, "MAX_RATIO", 100)
    archive = packed_zip(tmp_path / "m.zip", ("zeros", b"\0" * 1_000_000))
    with pytest.raises(StorageError, match="grows too large"):
        archives.unpack(archive, into)


def test_too_many_files_are_refused(tmp_path, into, monkeypatch):
    monkeypatch.setattr(archives, "MAX_FILES", 2)
    with pytest.raises(StorageError, match="more than 2 files"):
        archives.unpack(packed_zip(tmp_path / "m.zip", ("a", b""), ("b", b""), ("c", b"")), into)


@pytest.mark.parametrize("name", ["m.zip", "m.tar", "m.tar.gz", "m.tar.xz", "m.tar.bz2"])
@pytest.mark.parametrize("content", [b"", b"<html>", b"\x1f\x8b\x08 nothing", b"PK\x03\x04 nothing"], ids=repr)
def test_what_is_no_archive_is_refused(name, content, tmp_path, into):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StorageError, match="cannot be unpacked"):
        archives.unpack(tmp_path / name, into)


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.9])
def test_a_cut_off_archive_is_refused(cut, tmp_path, into):
    import random

    archive = tar(tmp_path / "m.tar.gz", ("x", random.Random(0).randbytes(50_000)))
    archive.write_bytes(archive.read_bytes()[: int(archive.stat().st_size * cut)])
    with pytest.raises(StorageError, match="cannot be unpacked"):
        archives.unpack(archive, into)


def test_two_files_of_one_name_are_refused(tmp_path, into):
    with pytest.raises(StorageError, match="two things of one name"):
        archives.unpack(tar(tmp_path / "m.tar", ("a", b"1"), ("a", b"2"), mode="w"), into)
    with pytest.raises(StorageError, match="two things of one name"):
        archives.unpack(tar(tmp_path / "n.tar", ("b", b"1"), ("b/c", b"2"), mode="w"), into)

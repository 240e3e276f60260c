"""Archives of trees: the same for the same tree, and safe to unpack."""

import io
import os
import stat
import tarfile
import zipfile

import pytest

from tiffin.errors import BundleError, DiskFull
from tiffin.store import archives

ENDINGS = [".tar", ".tar.gz", ".tar.xz", ".tar.bz2", ".zip", ".tiffin", ".bento"]


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    (root / "deep").mkdir(parents=True)
    (root / "deep/ä.txt").write_text("text" * 100)
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "link").symlink_to("deep/ä.txt")
    return root


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_tree_comes_back_from_its_archive(tree, tmp_path, ending):
    archives.pack(tree, tmp_path / f"out{ending}")
    archives.unpack(tmp_path / f"out{ending}", tmp_path / "back", BundleError)
    assert (tmp_path / "back/deep/ä.txt").read_text() == "text" * 100
    assert os.readlink(tmp_path / "back/link") == "deep/ä.txt"
    assert stat.S_IMODE((tmp_path / "back/run.sh").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "back/deep/ä.txt").stat().st_mode) == 0o644


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_same_tree_makes_the_same_bytes(tree, tmp_path, ending):
    archives.pack(tree, tmp_path / f"a{ending}")
    os.utime(tree / "run.sh", (1, 1))
    (tree / "deep/ä.txt").chmod(0o600)
    archives.pack(tree, tmp_path / f"b{ending}")
    assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()


def test_without_an_ending_it_is_a_directory(tree, tmp_path):
    archives.pack(tree, tmp_path / "copy")
    assert (tmp_path / "copy/link").is_symlink()


def tar_with(path, name, **fields):
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo(name)
        for key, value in fields.items():
            setattr(member, key, value)
        tar.addfile(member, io.BytesIO(b"x" * member.size))


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("../evil", {"size": 1}, "outside of its directory: '../evil'"),
        ("/etc/evil", {"size": 1}, "outside of its directory: '/etc/evil'"),
        ("a/../../evil", {"size": 1}, "outside of its directory"),
        ("a\\evil", {"size": 1}, "outside of its directory"),
        ("../evil", {"type": tarfile.DIRTYPE}, "outside of its directory"),
        ("link", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "link that leads out of it: link -> /etc"),
        ("link", {"type": tarfile.SYMTYPE, "linkname": "../../x"}, "link that leads out of it"),
        ("hard", {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"}, "hard link, 'hard'"),
        ("null", {"type": tarfile.CHRTYPE}, "device or pipe, 'null'"),
        ("pipe", {"type": tarfile.FIFOTYPE}, "device or pipe, 'pipe'"),
    ],
)
def test_what_would_land_elsewhere_is_refused_by_name(tmp_path, name, fields, message):
    tar_with(tmp_path / "evil.tar", name, **fields)
    with pytest.raises(BundleError, match=message.replace("\\", r"\\")):
        archives.unpack(tmp_path / "evil.tar", tmp_path / "into", BundleError)
    assert not [path for path in (tmp_path / "into").rglob("*") if not path.is_dir()]


def test_nothing_is_written_through_a_link(tmp_path):
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        link = tarfile.TarInfo("here")
        link.type, link.linkname = tarfile.SYMTYPE, "there"
        tar.addfile(link)
        inside = tarfile.TarInfo("here/file")
        inside.size = 1
        tar.addfile(inside, io.BytesIO(b"x"))
    with pytest.raises(BundleError, match="two things of one name: here"):
        archives.unpack(tmp_path / "evil.tar", tmp_path / "into", BundleError)


def test_a_link_in_a_zip_may_not_lead_out(tmp_path):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as packed:
        member = zipfile.ZipInfo("link")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(member, "/etc/passwd")
    with pytest.raises(BundleError, match="link that leads out"):
        archives.unpack(tmp_path / "evil.zip", tmp_path / "into", BundleError)


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_RATIO_COUNTS_FROM", 1_000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("zeros", b"\0" * 5_000_000)
    monkeypatch.setattr(archives, "MAX_RATIO", 10)
    with pytest.raises(BundleError, match=r"grows too large when unpacked \(zeros\)"):
        archives.unpack(tmp_path / "bomb.zip", tmp_path / "into", BundleError)


def test_too_many_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as packed:
        for number in range(4):
            packed.writestr(f"{number}", b"")
    with pytest.raises(BundleError, match="more than 3 files"):
        archives.unpack(tmp_path / "many.zip", tmp_path / "into", BundleError)


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".tar.xz", ".zip"])
def test_an_archive_that_is_cut_off_is_refused(tree, tmp_path, ending):
    (tree / "big").write_bytes(os.urandom(100_000))
    archives.pack(tree, tmp_path / f"out{ending}")
    whole = (tmp_path / f"out{ending}").read_bytes()
    (tmp_path / f"cut{ending}").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BundleError, match=r"cut.* cannot be unpacked"):
        archives.unpack(tmp_path / f"cut{ending}", tmp_path / "into", BundleError)


def test_what_is_no_archive_is_refused(tmp_path):
    (tmp_path / "x.tiffin").write_text("no archive")
    with pytest.raises(BundleError, match="cannot be unpacked"):
        archives.unpack(tmp_path / "x.tiffin", tmp_path / "into", BundleError)


def test_a_full_disk_is_told_from_a_damaged_archive(tree, tmp_path, monkeypatch):
    archives.pack(tree, tmp_path / "out.tar")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archives, "_write", full)
    with pytest.raises(DiskFull, match="no room to unpack"):
        archives.unpack(tmp_path / "out.tar", tmp_path / "into", BundleError)


def test_a_failure_leaves_no_half_archive(tree, tmp_path, monkeypatch):
    def fails(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "addfile", fails)
    with pytest.raises(OSError, match="No space"):
        archives.pack(tree, tmp_path / "out.tar")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tree"]

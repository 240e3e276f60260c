"""Layers are tars whose bytes depend on their members alone."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from tiffin.errors import ImageError, StorageError
from tiffin.image import members
from tiffin.image.layers import Workshop
from tiffin.image.members import Member


def written(*parts: Member, mtime: int = 0) -> bytes:
    out = io.BytesIO()
    members.write(parts, out, mtime=mtime)
    return out.getvalue()


def test_the_order_and_the_files_own_times_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("hello")
    one = members.file("opt/a", tmp_path / "a")
    link, folder = members.symlink("opt/b", "a"), members.directory("opt")
    before = written(one, link, folder)
    (tmp_path / "a").touch()
    assert written(folder, link, one) == before
    assert written(folder, link, one, mtime=1) != before


def test_a_layer_holds_what_it_was_given(tmp_path: Path) -> None:
    out = io.BytesIO()
    long = "opt/" + "x" * 200
    made = members.write(
        [members.text("opt/tool", "#!", 0o755), members.symlink("opt/b", "tool"), members.text(long, "ü")], out
    )
    plain = gzip.decompress(out.getvalue())
    assert (made.size, made.compressed) == (len(plain), len(out.getvalue()))
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        held = {one.name: one for one in archive}
    assert set(held) == {"opt/tool", "opt/b", long}
    assert (held["opt/tool"].mode, held["opt/tool"].uid, held["opt/tool"].mtime) == (0o755, 0, 0)
    assert held["opt/b"].linkname == "tool"
    assert out.getvalue()[4:8] == b"\0\0\0\0", "gzip's header has no time"


def test_two_files_at_one_place_are_refused() -> None:
    with pytest.raises(ImageError, match="expected one file at /opt/a in a layer, found two"):
        written(members.text("opt/a", "1"), members.text("opt/a", "2"))


@pytest.mark.parametrize("now", [b"hello!", b"hell"])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, now: bytes) -> None:
    (tmp_path / "a").write_bytes(b"hello")
    one = members.file("opt/a", tmp_path / "a")
    (tmp_path / "a").write_bytes(now)
    with pytest.raises(ImageError, match="/opt/a"):
        written(one)


def test_directories_are_added_down_to_the_prefix_only() -> None:
    made = members.tree("opt/tiffin", [members.text("opt/tiffin/lib/a/b.py", "")])
    assert sorted(one.path for one in made if one.kind == "directory") == [
        "opt/tiffin",
        "opt/tiffin/lib",
        "opt/tiffin/lib/a",
    ]


def test_a_layer_is_made_once_for_its_inputs(tmp_path: Path) -> None:
    told: list[tuple[str, bool]] = []
    workshop = Workshop(tmp_path, tell=lambda title, size, cached: told.append((title, cached)))
    made = []

    def make() -> list[Member]:
        made.append(1)
        return [members.text("a", "1")]

    first = workshop.layer("one", {"of": 1}, make)
    assert workshop.layer("again", {"of": 1}, make).diff_id == first.diff_id
    assert (made, told) == ([1], [("one", False), ("again", True)])
    workshop.layout.path(first.descriptor.digest).unlink()
    assert workshop.layer("one", {"of": 1}, make) == first
    assert len(made) == 2


def test_an_interrupted_layer_leaves_nothing(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)

    def stop() -> list[Member]:
        def content() -> io.BytesIO:
            raise KeyboardInterrupt

        return [members.text("a", "1"), Member("b", size=1, content=content)]

    with pytest.raises(KeyboardInterrupt):
        workshop.layer("one", 1, stop)
    assert not [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]
    assert not workshop.has(1)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "images").write_text("")
    with pytest.raises(StorageError, match="images"):
        Workshop(tmp_path / "images").layer("one", 1, list)

"""An OCI layout keeps blobs by digest, names what it is told to, and notices what was changed."""

import multiprocessing
from pathlib import Path

import pytest

from tiffin.errors import ImageError, StorageError
from tiffin.oci.layout import Layout
from tiffin.oci.records import IMAGE_CONFIG, INDEX, LAYER_GZIP, MANIFEST, Descriptor, Index, Manifest, encode


def image(layout: Layout, *layers: bytes) -> Descriptor:
    config = layout.write(b"{}", IMAGE_CONFIG)
    held = [layout.write(layer, LAYER_GZIP) for layer in layers]
    return layout.write_record(Manifest(schema_version=2, media_type=MANIFEST, config=config, layers=held))


def test_a_blob_is_found_by_its_digest(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    assert not layout.exists
    kept = layout.write(b"hello", LAYER_GZIP)
    assert kept.digest == "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert (layout.exists, layout.read(kept), layout.has(kept)) == (True, b"hello", True)
    assert (layout.root / "oci-layout").read_text() == '{"imageLayoutVersion":"1.0.0"}'
    assert not list((layout.root / "blobs").glob(".new-*"))


@pytest.mark.parametrize("move", [True, False])
def test_a_file_becomes_a_blob(tmp_path: Path, move: bool) -> None:
    (tmp_path / "file").write_bytes(b"hello")
    layout = Layout(tmp_path / "layout")
    first = layout.place(tmp_path / "file", LAYER_GZIP, move=move)
    assert (tmp_path / "file").exists() is not move
    assert layout.path(first.digest).read_bytes() == b"hello"


@pytest.mark.parametrize(
    "digest", ["sha256:../../etc/passwd", "sha256:abc", "md5:" + "0" * 32, "", "sha256:" + "A" * 64]
)
def test_what_is_no_digest_leads_nowhere(tmp_path: Path, digest: str) -> None:
    with pytest.raises(ImageError, match="expected a digest"):
        Layout(tmp_path).path(digest)


def test_a_changed_blob_is_named(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    found = image(layout, b"layer")
    layout.verify_all(found)
    layer = layout.read_manifest(found).layers[0]
    layout.path(layer.digest).write_bytes(b"lAyer")
    with pytest.raises(ImageError, match=f"the blob {layer.digest} is corrupted"):
        layout.verify_all(found)
    layout.path(layer.digest).unlink()
    with pytest.raises(ImageError, match=f"expected the blob {layer.digest}, found none"):
        layout.verify_all(found)


def test_a_manifest_that_is_none_is_refused(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    for content in (b"[]", b'{"schemaVersion":2}', b"\xff"):
        broken = layout.write(content, MANIFEST)
        with pytest.raises(ImageError, match="expected a manifest in the blob"):
            layout.closure(broken)


def test_a_manifest_may_leave_out_its_media_type(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    kept = layout.read(image(layout, b"layer")).replace(b'"mediaType":"%b",' % MANIFEST.encode(), b"")
    found = layout.write(kept, MANIFEST)
    assert b'"mediaType":"' + MANIFEST.encode() not in kept
    assert layout.read_manifest(found).media_type == MANIFEST


def test_indexes_may_not_nest_for_ever(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    found = image(layout, b"layer")
    for _ in range(3):
        found = layout.write_record(Index(schema_version=2, media_type=INDEX, manifests=[found]))
    assert len(layout.closure(found)) == 6
    for _ in range(3):
        found = layout.write_record(Index(schema_version=2, media_type=INDEX, manifests=[found]))
    with pytest.raises(ImageError, match="nested"):
        layout.closure(found)


def test_names_lead_to_the_last_that_was_given(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    one, other = image(layout, b"1"), image(layout, b"2")
    layout.tag(one, "app:1")
    assert layout.find().digest == one.digest
    layout.tag(other, "app:1")
    layout.tag(one, "app:0")
    assert layout.find("app:1").digest == other.digest
    with pytest.raises(ImageError, match="expected one image in the layout, found 2 \\(app:0, app:1\\)"):
        layout.find()
    with pytest.raises(ImageError, match="'app:2'"):
        layout.find("app:2")
    assert layout.untag("app:1")
    assert not layout.untag("app:1")
    assert list(layout.names()) == ["app:0"]


def test_a_copy_is_whole_and_verified(tmp_path: Path) -> None:
    layout, other = Layout(tmp_path / "a"), Layout(tmp_path / "b")
    found = image(layout, b"1", b"2")
    layout.copy_to(other, found)
    other.verify_all(found)
    broken = image(layout, b"3")
    layout.path(layout.read_manifest(broken).layers[0].digest).write_bytes(b"4")
    with pytest.raises(ImageError, match="corrupted"):
        layout.copy_to(other, broken)
    assert not other.has(broken)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write an OCI layout"):
        Layout(tmp_path / "file").write(b"x", LAYER_GZIP)


def test_a_broken_index_is_named(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    image(layout, b"1")
    (tmp_path / "index.json").write_text("[")
    with pytest.raises(ImageError, match=r"index\.json: expected the index"):
        layout.find()


def _tag(root: Path, number: int) -> None:
    layout = Layout(root)
    layout.tag(image(layout, str(number).encode()), f"app:{number}")


def test_names_that_are_given_at_once_are_all_kept(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    several = [context.Process(target=_tag, args=(tmp_path, number)) for number in range(4)]
    for one in several:
        one.start()
    for one in several:
        one.join(60)
    assert sorted(Layout(tmp_path).names()) == [f"app:{number}" for number in range(4)]


def test_records_are_the_same_bytes_however_they_were_made() -> None:
    one = Descriptor(media_type=MANIFEST, digest="sha256:0", size=1, annotations={"b": "1", "a": "2"})
    other = Descriptor(media_type=MANIFEST, digest="sha256:0", size=1, annotations={"a": "2", "b": "1"})
    assert encode(one) == encode(other)

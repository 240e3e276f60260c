"""Archives of images: what is written is read back, what is wrong is refused by name."""

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest

from tiffin.errors import ImageError, StorageError
from tiffin.oci import archives
from tiffin.oci.layout import Layout
from tiffin.oci.records import (
    IMAGE_CONFIG,
    INDEX,
    LAYER_GZIP,
    MANIFEST,
    Descriptor,
    Index,
    Manifest,
    Platform,
)


def tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
    return out.getvalue()


def image(layout: Layout) -> Descriptor:
    config = layout.write(json.dumps({"architecture": "amd64", "os": "linux"}).encode(), IMAGE_CONFIG)
    layer = layout.write(gzip.compress(tar({"a": b"1"}), mtime=0), LAYER_GZIP)
    return layout.write_record(Manifest(schema_version=2, media_type=MANIFEST, config=config, layers=[layer]))


@pytest.mark.parametrize("form", ["oci", "docker"])
def test_what_is_written_is_read_back(tmp_path: Path, form: archives.Form) -> None:
    layout = Layout(tmp_path / "one")
    made = image(layout)
    for name in ("a.tar", "b.tar"):
        archives.export(layout, made, tmp_path / name, name="repo/app:1", form=form)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    for wanted in ("", "repo/app:1"):
        other = Layout(tmp_path / f"two{len(wanted)}")
        found = archives.read(tmp_path / "a.tar", other, name=wanted)
        assert found == made
        other.verify_all(found)
    with pytest.raises(ImageError, match="'repo/app:2'"):
        archives.read(tmp_path / "a.tar", other, name="repo/app:2")


def test_what_docker_saved_long_ago_is_read(tmp_path: Path) -> None:
    layer = tar({"a": b"1"})
    saved = [{"Config": "c.json", "RepoTags": ["app:1"], "Layers": ["x/layer.tar"]}]
    files = {"c.json": b"{}", "x/layer.tar": layer, "manifest.json": json.dumps(saved).encode()}
    (tmp_path / "a.tar").write_bytes(tar(files))
    layout = Layout(tmp_path / "layout")
    found = layout.read_manifest(archives.read(tmp_path / "a.tar", layout))
    assert gzip.decompress(layout.path(found.layers[0].digest).read_bytes()) == layer
    assert found.layers[0].media_type == LAYER_GZIP


def broken(tmp_path: Path, how: str) -> bytes:
    layout = Layout(tmp_path / "one")
    archives.export(layout, image(layout), tmp_path / "good.tar", name="a:1", form="oci")
    with tarfile.open(tmp_path / "good.tar") as archive:
        held = {one.name: archive.extractfile(one).read() for one in archive if one.isreg()}  # type: ignore[union-attr]
    blob = next(name for name in held if name.startswith("blobs/") and held[name][:2] == b"\x1f\x8b")
    saved = json.dumps([{"Config": "../../etc/passwd", "Layers": ["x"]}]).encode()
    match how:
        case "corrupted":
            held[blob] = b"other"
        case "missing":
            del held[blob]
        case "no index":
            del held["index.json"]
        case "index":
            held["index.json"] = b"["
        case "nothing":
            held = {"readme": b""}
        case "outside":
            held = {"manifest.json": saved}
        case "no list":
            held = {"manifest.json": b"{}"}
        case "no layer":
            held = {"manifest.json": saved.replace(b"../../etc/passwd", b"c"), "c": b"{}", "x": b"text" * 300}
    return tar(held)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("corrupted", r"the blob sha256:[0-9a-f]{64} is corrupted"),
        ("missing", r"expected the blob sha256:[0-9a-f]{64}, found none"),
        ("no index", "expected index.json in the archive, found none"),
        ("index", "expected the index of an OCI layout"),
        ("nothing", "found neither oci-layout nor manifest.json"),
        ("outside", "expected ../../etc/passwd in the archive, found none"),
        ("no list", "expected docker's list of images"),
        ("no layer", "expected a layer at x, found something else"),
    ],
)
def test_a_broken_archive_is_refused_and_leaves_nothing(tmp_path: Path, how: str, says: str) -> None:
    (tmp_path / "bad.tar").write_bytes(broken(tmp_path, how))
    layout = Layout(tmp_path / "two")
    with pytest.raises(ImageError, match=says):
        archives.read(tmp_path / "bad.tar", layout)
    assert layout.names() == {}
    assert not list(layout.root.glob(".import-*"))


@pytest.mark.parametrize("content", [b"", b"junk" * 1000, gzip.compress(b"junk")[:12]])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.tar: expected the archive of an image"):
        archives.read(tmp_path / "a.tar", Layout(tmp_path / "layout"))


def test_several_platforms_fit_into_ocis_form_alone(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "one")
    platform = Platform(architecture="amd64")
    one = image(layout)
    held = Descriptor(media_type=one.media_type, digest=one.digest, size=one.size, platform=platform)
    several = layout.write_record(Index(schema_version=2, media_type=INDEX, manifests=[held]))
    archives.export(layout, several, tmp_path / "a.tar", name="a:1", form="oci")
    assert archives.read(tmp_path / "a.tar", Layout(tmp_path / "two")) == several
    with pytest.raises(ImageError, match="one platform for docker's archive"):
        archives.export(layout, several, tmp_path / "b.tar", name="a:1", form="docker")


def test_a_corrupted_blob_is_never_written_out(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "one")
    made = image(layout)
    (tmp_path / "a.tar").write_text("before")
    layer = layout.read_manifest(made).layers[0]
    layout.path(layer.digest).write_bytes(b"x")
    with pytest.raises(ImageError, match=layer.digest):
        archives.export(layout, made, tmp_path / "a.tar", name="a:1", form="oci")
    assert (tmp_path / "a.tar").read_text() == "before"


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "one")
    with pytest.raises(StorageError, match=r"cannot write .*nowhere"):
        archives.export(layout, image(layout), tmp_path / "nowhere" / "a.tar", name="a:1", form="oci")

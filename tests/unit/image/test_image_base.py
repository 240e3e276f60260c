"""What a base has is seen through its layers, and a base that does not fit is refused."""

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from tiffin.bundle.manifest import Recipe
from tiffin.errors import ImageError
from tiffin.image import base as bases
from tiffin.image import building, members, platforms
from tiffin.image.base import Base
from tiffin.image.layers import Workshop
from tiffin.image.looking import Look, look
from tiffin.image.platforms import Libc
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

GLIBC = b"\0GNU C Library (Debian GLIBC 2.36-9+deb12u10) stable release version 2.36.\n\0"
AMD64, ARM64 = Platform(architecture="amd64"), Platform(architecture="arm64")


def layer(layout: Layout, files: dict[str, bytes]) -> Descriptor:
    out = io.BytesIO()
    members.write([members.text(path, data) for path, data in files.items()], out)
    return layout.write(out.getvalue(), LAYER_GZIP)


def image(layout: Layout, *layers: dict[str, bytes], architecture: str = "amd64") -> Descriptor:
    held = [layer(layout, files) for files in layers]
    plain = [gzip.decompress(layout.path(one.digest).read_bytes()) for one in held]
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Env": ["PATH=/usr/local/bin", "A=b"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(p).hexdigest()}" for p in plain]},
    }
    written = layout.write(json.dumps(config).encode(), IMAGE_CONFIG)
    return layout.write_record(Manifest(schema_version=2, media_type=MANIFEST, config=written, layers=held))


DEBIAN = {
    "usr/local/bin/python3.11": b"ELF",
    "usr/bin/python3.12": b"ELF",
    "usr/lib/x86_64-linux-gnu/libc.so.6": GLIBC,
    "etc/passwd": b"root:x:0:0::/root:/bin/sh\n",
    "etc/os-release": b'ID=debian\nVERSION_ID="12"\n',
}


def nothing(reference: str, layout: Layout, platform: Platform) -> Descriptor:
    raise AssertionError("no registry is asked here")


def resolved(tmp_path: Path, *layers: dict[str, bytes]) -> Base:
    layout = Layout(tmp_path / "base")
    layout.tag(image(layout, *layers), "python:3.11")
    workshop = Workshop(tmp_path / "images")
    return bases.resolve(f"oci:{layout.root}:python:3.11", AMD64, workshop, fetch=nothing)


def test_python_and_the_c_library_are_found(tmp_path: Path) -> None:
    found = resolved(tmp_path, DEBIAN)
    assert found.look.pythons == {"3.11": "/usr/local/bin/python3.11", "3.12": "/usr/bin/python3.12"}
    assert found.look.libc == Libc("glibc", 2, 36)
    assert found.look.release == {"ID": "debian", "VERSION_ID": "12"}
    assert found.variables == {"PATH": "/usr/local/bin", "A": "b"}
    building.check_base(found, "3.12")


def test_an_upper_layer_counts_and_takes_away(tmp_path: Path) -> None:
    upper = {"etc/passwd": b"me:x:1:1::/:\n", "usr/bin/.wh.python3.12": b"", "usr/local/.wh..wh..opq": b""}
    found = resolved(tmp_path, DEBIAN, upper)
    assert found.look.texts["etc/passwd"] == "me:x:1:1::/:\n"
    assert found.look.pythons == {}


@pytest.mark.parametrize(
    ("files", "libc"),
    [
        ({"lib/ld-musl-x86_64.so.1": b"\x001.2.5\0"}, Libc("musl", 1, 2)),
        ({"lib/ld-musl-x86_64.so.1": b""}, Libc("musl", 1, 1)),
        ({"lib/x86_64-linux-gnu/libc-2.31.so": b""}, Libc("glibc", 2, 31)),
        ({"opt/python": b""}, None),
    ],
)
def test_c_libraries_are_told_apart(tmp_path: Path, files: dict[str, bytes], libc: Libc | None) -> None:
    layout = Layout(tmp_path)
    one = layer(layout, files)
    assert look([(one, layout.path(one.digest))]).libc == libc


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"usr/lib/libc.so.6": GLIBC}, "expected Python 3.11 in the base .*, found no Python at all"),
        ({**DEBIAN, "usr/local/bin/python3.11": b""}, ""),
        ({"usr/bin/python3.9": b"", "usr/lib/libc.so.6": GLIBC}, "found 3.9"),
        ({"usr/bin/python3.11": b""}, "expected glibc or musl in the base"),
    ],
)
def test_a_base_that_does_not_fit_is_refused(tmp_path: Path, files: dict[str, bytes], says: str) -> None:
    found = resolved(tmp_path, files)
    if not says:
        building.check_base(found, "3.11")
        return
    with pytest.raises(ImageError, match=says) as caught:
        building.check_base(found, "3.11")
    assert "--base" in str(caught.value.hint)


def test_one_of_several_platforms_is_chosen(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "base")
    several = []
    for platform in (AMD64, ARM64):
        one = image(layout, DEBIAN, architecture=platform.architecture)
        several.append(Descriptor(media_type=one.media_type, digest=one.digest, size=one.size, platform=platform))
    layout.tag(layout.write_record(Index(schema_version=2, media_type=INDEX, manifests=several)), "base:1")
    workshop = Workshop(tmp_path / "images")
    found = bases.resolve(f"oci:{layout.root}", ARM64, workshop, fetch=nothing)
    assert found.digest == several[1].digest
    with pytest.raises(ImageError, match="is not there for linux/s390x; it is for linux/amd64, linux/arm64"):
        bases.resolve(f"oci:{layout.root}", platforms.parse("s390x"), workshop, fetch=nothing)


def test_a_base_for_another_platform_is_refused(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "base")
    layout.tag(image(layout, DEBIAN, architecture="arm64"), "base:1")
    with pytest.raises(ImageError, match="is for linux/arm64, expected linux/amd64"):
        bases.resolve(f"oci:{layout.root}", AMD64, Workshop(tmp_path / "images"), fetch=nothing)


def test_a_corrupted_base_is_named(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "base")
    made = image(layout, DEBIAN)
    layout.tag(made, "base:1")
    blob = layout.read_manifest(made).layers[0].digest
    layout.path(blob).write_bytes(b"junk")
    with pytest.raises(ImageError, match=f"the blob {blob} is corrupted"):
        bases.resolve(f"oci:{layout.root}", AMD64, Workshop(tmp_path / "images"), fetch=nothing)


@pytest.mark.parametrize("kind", ["oci", "oci-archive", "docker-archive"])
def test_a_base_that_is_not_there_is_named(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ImageError, match=r"expected a base at .*nowhere.*, found nothing there"):
        bases.resolve(f"{kind}:{tmp_path}/nowhere", AMD64, Workshop(tmp_path / "images"), fetch=nothing)


def test_a_layer_that_is_no_tar_is_refused(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    for content in (b"junk" * 500, gzip.compress(b"junk" * 500), gzip.compress(b"x" * 5000)[:20]):
        one = layout.write(content, LAYER_GZIP)
        with pytest.raises(ImageError, match=f"cannot read the layer {one.digest} of the base"):
            look([(one, layout.path(one.digest))])


@pytest.mark.parametrize(
    ("recipe", "base"),
    [
        (Recipe(), "python:3.11-slim"),
        (Recipe(distro="alpine"), "python:3.11-alpine"),
        (Recipe(distro="ubi8", base_image="me/mine:1"), "me/mine:1"),
    ],
)
def test_the_base_of_a_bundle_that_was_told_none(recipe: Recipe, base: str) -> None:
    assert building.base_of(recipe, "3.11") == base


def test_a_distribution_without_an_image_of_python_is_refused() -> None:
    with pytest.raises(ImageError, match="expected the distribution debian or alpine, found 'ubi8'"):
        building.base_of(Recipe(distro="ubi8"), "3.11")


def test_a_look_remembers_no_release_where_there_is_none() -> None:
    assert Look().release == {}


def test_tars_of_tarfile_itself_are_read(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        header = tarfile.TarInfo("./usr/bin/python3.11")
        header.type, header.linkname = tarfile.SYMTYPE, "python3"
        archive.addfile(header)
    layout = Layout(tmp_path)
    one = layout.write(out.getvalue(), LAYER_GZIP)
    assert look([(one, layout.path(one.digest))]).pythons == {"3.11": "/usr/bin/python3.11"}

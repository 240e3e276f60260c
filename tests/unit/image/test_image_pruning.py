"""What of ``images/`` no named image needs."""

import os

import pytest

from tiffin.errors import ImageError
from tiffin.image import pruning
from tiffin.image.layers import Workshop
from tiffin.image.members import Member
from tiffin.oci.layout import Layout
from tiffin.oci.records import LAYER_GZIP, MANIFEST, Manifest


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "images")


def _age(layout):
    for path in (layout.root / "blobs").rglob("*"):
        if path.is_file():
            os.utime(path, (1, 1))


def _image(layout, *layers):
    config = layout.write(b"{}", "application/vnd.oci.image.config.v1+json")
    manifest = Manifest(schema_version=2, media_type=MANIFEST, config=config, layers=list(layers))
    return layout.write_record(manifest)


def test_layers_go_that_no_named_image_needs(layout):
    needed, spare = (layout.write(data, LAYER_GZIP) for data in (b"needed", b"spare"))
    layout.tag(_image(layout, needed), "iris:1")
    before = layout.tag(_image(layout, needed, spare), "iris:2")
    layout.tag(_image(layout, needed), "iris:2")
    (layout.root / "blobs" / ".new-left").write_bytes(b"half")
    assert pruning.spare(layout.root) == []  # an image that is being made may need them
    _age(layout)
    found = pruning.spare(layout.root)
    assert {path.name for what, path in found if what == "layer"} == {
        one.digest.removeprefix("sha256:") for one in (spare, before)
    }
    assert [path.name for what, path in found if what == "unfinished work"] == [".new-left"]


def test_a_layer_in_use_stays(layout):
    workshop = Workshop(layout.root)

    def make():
        return [Member("a", kind="directory", mode=0o755)]

    workshop.layer("source", ["a"], make)
    _age(layout)
    assert len(pruning.spare(layout.root)) == 1
    workshop.layer("source", ["a"], make)
    assert pruning.spare(layout.root) == []


def test_nothing_goes_when_an_image_cannot_be_read(layout):
    image = layout.tag(_image(layout), "iris:1")
    layout.path(image.digest).write_bytes(b"{")
    with pytest.raises(ImageError, match="cannot be read"):
        pruning.spare(layout.root)


def test_without_images_there_is_nothing(tmp_path):
    assert pruning.spare(tmp_path) == []

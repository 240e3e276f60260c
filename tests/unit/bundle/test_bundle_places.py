"""Where a tag is pushed, and what is called here what a registry calls otherwise."""

import pytest

from tiffin.bundle.places import reference_for, tag_of
from tiffin.errors import AuthorError
from tiffin.oci.records import Descriptor
from tiffin.oci.reference import parse

TOP = Descriptor(media_type="m", digest="sha256:" + "ab" * 32, size=1)


@pytest.mark.parametrize(
    ("tag", "reference", "registry", "place"),
    [
        ("iris:v1", "ghcr.io/team/iris", "", "ghcr.io/team/iris:v1"),
        ("iris:v1", "ghcr.io/team/iris:new", "", "ghcr.io/team/iris:new"),
        ("iris", "ghcr.io/team/iris", "", "ghcr.io/team/iris:latest"),
        ("ghcr.io/team/iris:v1", "", "", "ghcr.io/team/iris:v1"),
        ("localhost:5000/iris", "", "", "localhost:5000/iris:latest"),
        ("iris:v1", "", "ghcr.io/team", "ghcr.io/team/iris:v1"),
        ("iris:v1", "ghcr.io/a", "quay.io", "ghcr.io/a:v1"),
    ],
)
def test_a_tag_has_its_place(tag, reference, registry, place):
    assert str(reference_for(tag, reference, registry)) == place


def test_a_tag_without_a_registry_is_refused():
    with pytest.raises(AuthorError, match="which registry iris:v1 is for") as error:
        reference_for("iris:v1", "", "")
    assert "TIFFIN_REGISTRY" in (error.value.hint or "")


@pytest.mark.parametrize(
    ("reference", "tag"),
    [
        ("ghcr.io/team/iris:v1", "iris:v1"),
        ("ghcr.io/iris", "iris:latest"),
        (f"ghcr.io/team/iris@{TOP.digest}", "iris:abababababab"),
        (f"ghcr.io/team/iris:v1@{TOP.digest}", "iris:v1"),
    ],
)
def test_what_is_pulled_has_a_short_name(reference, tag):
    assert tag_of(parse(reference), TOP) == tag

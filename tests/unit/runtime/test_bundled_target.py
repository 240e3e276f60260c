"""Orders that leave it to the bundle what is served."""

import pytest

from tiffin.bundle.manifest import Manifest
from tiffin.errors import BundleError
from tiffin.runtime import bundled_target
from tiffin.spec import Artefact, ClassSource, Component, ReplicaSpec, ServiceSource


def order(source, path):
    return ReplicaSpec(deployment="d", model_name="d", component=Component(source=source), path=str(path))


@pytest.mark.parametrize("kind", [ServiceSource, ClassSource])
def test_an_order_that_names_its_target_stays(kind, tmp_path):
    spec = order(kind(artefact=Artefact("a"), target="m:A"), tmp_path)
    assert bundled_target.named(spec) is spec


@pytest.mark.parametrize("kind", [ServiceSource, ClassSource])
def test_the_bundle_whose_sources_they_are_says_it(kind, tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "bundle.json").write_bytes(Manifest(kind="service", target="iris:Iris", python="3.11").encode())
    found = bundled_target.named(order(kind(artefact=Artefact("a"), target=""), tmp_path / "src"))
    assert found.component.source.target == "iris:Iris"


def test_without_a_bundle_it_is_refused(tmp_path):
    with pytest.raises(BundleError, match="expected a bundle"):
        bundled_target.named(order(ClassSource(artefact=Artefact("a")), tmp_path))

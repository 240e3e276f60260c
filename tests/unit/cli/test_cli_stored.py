"""Which bundle the target of ``tiffin serve`` means."""

import pytest

from tiffin.bundle import BundleStore
from tiffin.cli import stored
from tiffin.kits.paths import DataDirectory


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("TIFFIN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    project = tmp_path / "work" / "iris"
    project.mkdir(parents=True)
    (project / "Iris.py").write_text("class Iris:\n    def predict(self, X): ...\n")
    BundleStore(DataDirectory(tmp_path / "home").bundles).build(project, tag="iris:v1")
    return project.parent


def test_a_directory_with_the_name_of_a_bundle_does_not_hide_it(place):
    assert stored.target_of("iris:v1", place).source.target == "Iris:Iris"


@pytest.mark.parametrize("module", ["iris.py", "iris/__init__.py"])
def test_a_module_comes_before_a_bundle(place, module):
    (place / module).touch()
    assert stored.target_of("iris:v1", place) is None


def test_a_directory_comes_before_a_bundle_that_is_named_without_version(place):
    assert stored.target_of("iris", place) is None

"""Signatures of what was deleted go; those of what is there stay."""

from tiffin.bundle import BundleStore, pruning
from tiffin.kits.paths import DataDirectory
from tiffin.signing.kept import Signatures


def test_signatures_go_with_what_they_are_of(tmp_path):
    data = DataDirectory(tmp_path / "home")
    project = tmp_path / "project"
    project.mkdir()
    (project / "Iris.py").write_text("class Iris:\n    def predict(self, X): ...\n")
    store = BundleStore(data.bundles)
    bundle = store.build(project, tag="iris:1")
    kept = Signatures(data.bundles)
    kept.place(bundle.digest, "a" * 64).write_text("12345")
    assert pruning.prune(data) == []
    store.delete("iris:1")
    planned = pruning.prune(data, is_dry=True)
    assert [(item.what, item.name, item.size) for item in planned] == [
        ("signatures of a bundle", f"sha256:{bundle.digest}", 5)
    ]
    assert kept.digests() == [bundle.digest]
    assert pruning.prune(data) == planned
    assert kept.digests() == []

"""Signatures go with what is exported, and are no part of it."""

import tarfile
from pathlib import Path

import pytest

from tiffin.bundle import BundleStore
from tiffin.bundle import trees as bundle_trees
from tiffin.bundle.manifest import Manifest
from tiffin.signing.kept import Signatures
from tiffin.store import files, trees
from tiffin.store.models import ModelStore

SIGNATURE = b'{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json"}'


def sign(root: Path, digest: str) -> None:
    Signatures(root).place(digest, "ab12").write_bytes(SIGNATURE)


@pytest.fixture
def bundles(tmp_path: Path) -> BundleStore:
    store = BundleStore(tmp_path / "bundles")
    tree = tmp_path / "tree"
    (tree / "src").mkdir(parents=True)
    (tree / "src/service.py").write_text("class S: ...")
    listed = tuple(files.record(tree / "src", path) for path in files.walk(tree / "src"))
    manifest = Manifest(format=2, kind="class", target="service:S", python="3.11", files=listed)
    (tree / "bundle.json").write_bytes(manifest.encode())
    sign(store.root, store.import_tree(tree, ("s:v1",)).digest)
    return store


@pytest.mark.parametrize("name", ["s.tiffin", "plain"])
def test_those_of_a_bundle_arrive_with_it(bundles, tmp_path, name):
    models = ModelStore(tmp_path / "models")
    out = bundle_trees.export(bundles, models, "s:v1", tmp_path / name)
    other = BundleStore(tmp_path / "other")
    found = bundle_trees.import_bundle(other, models, out).bundle
    assert [one.read_bytes() for one in Signatures(other.root).of(found.digest)] == [SIGNATURE]
    assert other.get("s:v1").digest == bundles.get("s:v1").digest


def test_those_of_a_model_arrive_with_it(tmp_path):
    here, there = ModelStore(tmp_path / "here"), ModelStore(tmp_path / "there")
    with here.create("iris:v1") as draft:
        (draft.path / "model.onnx").write_bytes(b"weights")
    sign(here.root, draft.stored.digest)
    out = trees.export_model(here, "iris:v1", tmp_path / "iris.tiffinmodel")
    model = trees.import_model(there, out)
    assert [one.read_bytes() for one in Signatures(there.root).of(model.digest)] == [SIGNATURE]


def test_what_is_not_signed_has_none_in_its_archive(tmp_path):
    store = ModelStore(tmp_path / "here")
    with store.create("iris:v1") as draft:
        (draft.path / "model.onnx").write_bytes(b"weights")
    out = trees.export_model(store, "iris:v1", tmp_path / "iris.tar")
    with tarfile.open(out) as archive:
        assert not [name for name in archive.getnames() if "signatures" in name]


def test_a_signature_that_is_there_is_not_replaced_and_odd_names_are_left(tmp_path):
    store = ModelStore(tmp_path / "here")
    with store.create("iris:v1") as draft:
        (draft.path / "model.onnx").write_bytes(b"weights")
    sign(store.root, draft.stored.digest)
    out = trees.export_model(store, "iris:v1", tmp_path / "plain")
    (out / "signatures/ab120000.sig").write_bytes(b"another")
    for name in ("..sig", "UPPER.sig", "a.txt"):
        (out / "signatures" / name).write_bytes(b"odd")
    (out / "signatures/ab12.sig").write_bytes(b"forged")
    trees.import_model(store, out)
    kept = {one.name: one.read_bytes() for one in Signatures(store.root).of(draft.stored.digest)}
    assert kept == {"ab12.sig": SIGNATURE, "ab120000.sig": b"another"}

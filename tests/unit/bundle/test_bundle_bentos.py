"""BentoML's bentos and files as bundles, bundles as files, and what may be deleted."""

import io
import os
import shutil
import tarfile

import pytest

from tiffin.bundle import BundleStore, bentos, pruning, trees
from tiffin.errors import BundleError, ModelError
from tiffin.kits.paths import DataDirectory
from tiffin.store.models import ModelStore
from tiffin.store.trees import export_model, import_model

# As BentoML 1.4.39 writes them.
BENTO = """service: service:Clf
name: clf-svc
version: b2j2xthg2stfyax4
bentoml_version: 1.4.39
creation_time: '2026-11-23T00:23:11.050902+00:00'
labels: {o: me, a: b}
models: []
entry_service: Clf
services:
- name: Clf
  service: ''
  models:
  - {tag: 'clf:bxhcxehg2s2ecax4', module: bentoml.sklearn, creation_time: '2026-11-23T00:23:06.427095+00:00'}
  dependencies: []
  config: {}
envs:
- {name: K, value: v, stage: all}
- {name: SECRET, value: s, stage: build}
schema: {name: Clf, type: service, routes: []}
args: {}
spec: 2
image:
  base_image: python:3.11-slim
  python_version: '3.11'
  commands: [apt-get update]
  python_requirements: |
    scikit-learn
    bentoml==1.4.39
  post_commands: [echo done]
  build_include: []
"""
BENTO_1 = """service: service:Clf
name: old
version: aaaabbbbccccdddd
bentoml_version: 1.2.0
creation_time: '2024-01-01T00:00:00+00:00'
labels: {}
models: ['clf:bxhcxehg2s2ecax4']
runners: []
apis: []
docker: {distro: debian, python_version: '3.10.4', system_packages: [git], base_image: null}
python: {packages: [scikit-learn]}
conda: {}
"""
MODEL = """name: clf
version: bxhcxehg2s2ecax4
module: bentoml.sklearn
labels: {team: a}
options: {}
metadata: {acc: 0.9}
context: {framework_name: sklearn, framework_versions: {scikit-learn: 1.9.1}, bentoml_version: 1.4.39,
  python_version: 3.11.7}
signatures: {predict: {batchable: true, batch_dim: [0, 0]}}
api_version: v1
creation_time: '2026-11-23T00:23:06.427095+00:00'
"""


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    return DataDirectory(tmp_path / "home").make()


@pytest.fixture
def bundles(data):
    return BundleStore(data.bundles)


@pytest.fixture
def models(data):
    return ModelStore(data.models)


def bento(root, record=BENTO):
    (root / "src").mkdir(parents=True)
    (root / "src/service.py").write_text("import bentoml\n")
    (root / "bento.yaml").write_text(record)
    (root / "README.md").write_text("# Clf\n")
    return root


def model(root):
    root.mkdir(parents=True)
    (root / "model.yaml").write_text(MODEL)
    (root / "saved_model.pkl").write_bytes(b"pickle")
    return root


def packed(root, out):
    """As BentoML packs them: tar.xz, with the directories, and "./" before the names."""
    with tarfile.open(out, "w:xz") as tar:
        tar.add(root, ".")
    return out


@pytest.fixture
def bento_file(tmp_path):
    root = bento(tmp_path / "unpacked")
    model(root / "models/clf/bxhcxehg2s2ecax4")
    (root / "models/clf/latest").write_text("bxhcxehg2s2ecax4")
    return packed(root, tmp_path / "out.bento")


def test_a_bento_file_is_stored_with_its_models(bundles, models, bento_file):
    found = trees.import_bundle(bundles, models, bento_file)
    assert found.tag == "clf-svc:b2j2xthg2stfyax4"
    manifest = bundles.get(found.tag).manifest
    assert manifest.target == "service:Clf"
    assert manifest.python == "3.11"
    assert manifest.environment == {"K": "v"}
    assert manifest.labels == {"o": "me", "a": "b"}
    assert manifest.requirements == "scikit-learn\nbentoml==1.4.39\n"
    assert manifest.recipe.commands == ("apt-get update",)
    assert manifest.provenance.builder == "bentoml/1.4.39"
    assert manifest.description == "# Clf\n"
    stored = models.get("clf:bxhcxehg2s2ecax4")
    assert manifest.models[0].digest == stored.digest
    assert [file.path for file in stored.files] == ["saved_model.pkl"]
    assert stored.labels == {"team": "a"}


def test_a_bento_of_specification_1_is_read(bundles, models, tmp_path):
    root = bento(tmp_path / "unpacked", BENTO_1)
    model(root / "models/clf/bxhcxehg2s2ecax4")
    manifest = trees.import_bundle(bundles, models, root).bundle.manifest
    assert manifest.python == "3.10"
    assert manifest.requirements == "scikit-learn\n"
    assert manifest.recipe.system_packages == ("git",)
    assert [one.tag for one in manifest.models] == ["clf:bxhcxehg2s2ecax4"]


def test_a_bento_of_the_store_is_adopted_and_its_models_stay(bundles, models, data, tmp_path):
    bento(tmp_path / "bentoml/bentos/clf-svc/b2j2xthg2stfyax4")
    model(tmp_path / "bentoml/models/clf/bxhcxehg2s2ecax4")
    bundle = bentos.get("clf-svc:b2j2", data)
    assert bundle.tags == ("clf-svc:b2j2xthg2stfyax4",)
    assert bundle.manifest.models[0].source == "bentoml"
    assert models.list() == []
    with pytest.raises(BundleError, match="there is no bundle absent"):
        bentos.get("absent", data)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (BENTO.replace("service:Clf", "clf"), "expected service: module:Class"),
        ("[]", "expected a mapping"),
        ("{", "cannot read it"),
        (BENTO.replace("name: clf-svc\n", ""), "expected name and version"),
        (BENTO, "there is no model clf:bxhcxehg2s2ecax4 .*, nor in BentoML's store"),
        (BENTO.replace("labels: {o: me, a: b}", "labels: 3"), "expected the record of a bento"),
    ],
)
def test_a_bento_that_cannot_be_a_bundle_is_refused(bundles, models, tmp_path, record, message):
    root = bento(tmp_path / "unpacked", record)
    if record != BENTO:
        model(root / "models/clf/bxhcxehg2s2ecax4")
    with pytest.raises((BundleError, ModelError), match=message):
        trees.import_bundle(bundles, models, root)
    assert bundles.list() == []


def test_a_model_file_of_bentoml_is_stored(models, tmp_path):
    path = packed(model(tmp_path / "unpacked"), tmp_path / "out.bentomodel")
    assert import_model(models, path).tag == "clf:bxhcxehg2s2ecax4"
    assert import_model(models, path, "mine:1").digest == models.get("clf").digest


@pytest.fixture
def built(bundles, models, bento_file):
    return trees.import_bundle(bundles, models, bento_file).bundle


@pytest.mark.parametrize("name", ["out.tiffin", "out.tar", "out.tar.gz", "out.zip", "directory"])
def test_a_bundle_comes_back_with_its_models(built, bundles, models, tmp_path, name):
    written = trees.export(bundles, models, built.tags[0], tmp_path / name)
    other = DataDirectory(tmp_path / "other").make()
    found = trees.import_bundle(BundleStore(other.bundles), ModelStore(other.models), written)
    assert (found.tag, found.bundle.digest) == (built.tags[0], built.digest)
    assert ModelStore(other.models).get("clf").digest == built.manifest.models[0].digest


def test_the_same_bundle_makes_the_same_file(built, bundles, models, tmp_path):
    first = trees.export(bundles, models, built.tags[0], tmp_path / "a.tiffin").read_bytes()
    assert trees.export(bundles, models, built.tags[0], tmp_path / "b.tiffin").read_bytes() == first


def test_an_export_overwrites_nothing(built, bundles, models, tmp_path):
    trees.export(bundles, models, built.tags[0], tmp_path / "a.tiffin")
    with pytest.raises(BundleError, match="something is there already"):
        trees.export(bundles, models, built.tags[0], tmp_path / "a.tiffin")
    with pytest.raises(BundleError, match="expected a directory to write to"):
        trees.export(bundles, models, built.tags[0], tmp_path / "absent/a.tiffin")
    (tmp_path / "clf-svc-b2j2xthg2stfyax4.tiffin").write_text("")
    with pytest.raises(BundleError, match="something is there already"):
        trees.export(bundles, models, built.tags[0], tmp_path)


def test_a_spoilt_file_changes_neither_store(built, bundles, models, tmp_path):
    trees.export(bundles, models, built.tags[0], tmp_path / "tree")
    (weights,) = (tmp_path / "tree/models").glob("*/files/saved_model.pkl")
    weights.write_bytes(b"evil")
    other = DataDirectory(tmp_path / "other").make()
    with pytest.raises(ModelError, match=r"saved_model\.pkl has changed"):
        trees.import_bundle(BundleStore(other.bundles), ModelStore(other.models), tmp_path / "tree")
    assert BundleStore(other.bundles).shelf.digests() == []
    assert ModelStore(other.models).shelf.digests() == []


def test_a_tag_of_another_bundle_is_not_taken(built, bundles, models, tmp_path):
    trees.export(bundles, models, built.tags[0], tmp_path / "a.tiffin")
    source = tmp_path / "other"
    source.mkdir()
    (source / "Iris.py").write_text("class Iris:\n    def predict(self, X): ...\n")
    bundles.build(source, tag="taken:1")
    with pytest.raises(BundleError, match="taken:1 leads to another bundle already"):
        trees.import_bundle(bundles, models, tmp_path / "a.tiffin", "taken:1")
    assert trees.import_bundle(bundles, models, tmp_path / "a.tiffin", "free:1").bundle.digest == built.digest


def test_a_model_for_a_bundle_and_a_bundle_for_a_model_are_told_apart(built, bundles, models, tmp_path):
    export_model(models, "clf", tmp_path / "m.tiffinmodel")
    with pytest.raises(BundleError, match="found a model") as caught:
        trees.import_bundle(bundles, models, tmp_path / "m.tiffinmodel")
    assert "tiffin models import" in caught.value.hint
    trees.export(bundles, models, built.tags[0], tmp_path / "b.tiffin")
    with pytest.raises(ModelError, match="expected a model"):
        import_model(models, tmp_path / "b.tiffin")


def test_an_archive_that_leads_out_is_refused(bundles, models, tmp_path):
    with tarfile.open(tmp_path / "evil.bento", "w:xz") as tar:
        member = tarfile.TarInfo("../../evil")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(BundleError, match=r"outside of its directory: '\.\./\.\./evil'"):
        trees.import_bundle(bundles, models, tmp_path / "evil.bento")


# ---- what may go


def test_a_model_that_a_bundle_needs_stays(built, bundles, models, data):
    tag = built.manifest.models[0].tag
    with pytest.raises(ModelError, match=f"{tag} is needed by clf-svc:b2j2xthg2stfyax4"):
        models.delete(tag, may_go=pruning.keeper(data, tag))
    bundles.delete(built.tags[0])
    assert models.delete(tag, may_go=pruning.keeper(data, tag))


def test_pruning_takes_what_nothing_leads_to_and_keeps_what_is_needed(built, bundles, models, data, tmp_path):
    bundles.import_tree(_copy(built, tmp_path))
    with models.create("spare:1") as draft:
        (draft.path / "w").write_text("x")
    models.shelf._tag_file(models.shelf.find("spare:1")[1]).unlink()
    (data.bundles / ".work-left" / "new").mkdir(parents=True)
    old = data.cache / "requirements" / ("0" * 64)
    old.parent.mkdir()
    old.write_text("x")
    os.utime(old, (1, 1))
    planned = pruning.prune(data, is_dry=True)
    assert {item.what for item in planned} == {"unfinished work", "model", "lock"}
    assert len(models.shelf.digests()) == 2
    assert pruning.prune(data) == planned
    assert bundles.get(built.tags[0])
    assert models.get("clf")
    assert pruning.prune(data) == []
    # Without its tag the bundle goes, and with it what it alone needed.
    bundles.shelf._tag_file(bundles.shelf.find(built.tags[0])[1]).unlink()
    models.shelf._tag_file(models.shelf.find("clf")[1]).unlink()
    assert [item.what for item in pruning.prune(data)] == ["bundle", "model"]


def _copy(bundle, tmp_path):
    return shutil.copytree(bundle.path, tmp_path / "copy", symlinks=True)

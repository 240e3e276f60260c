"""The local bundle store."""

import os

import pytest

from tiffin.bundle import BundleStore, Reference, plan, read_bundle
from tiffin.errors import BundleError


@pytest.fixture
def store(tmp_path):
    return BundleStore(tmp_path / "bundles")


@pytest.fixture
def sources(tmp_path):
    directory = tmp_path / "iris"
    directory.mkdir()
    (directory / "Iris.py").write_text("class Iris:\n    def predict(self, X): ...\n")
    (directory / "run.sh").write_text("#!/bin/sh\n")
    (directory / "run.sh").chmod(0o700)
    (directory / "link.py").symlink_to("Iris.py")
    return directory


def test_the_same_sources_make_the_same_bundle(store, sources, tmp_path):
    first = store.build(sources, tag="iris:1")
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for name in ("run.sh", "Iris.py"):
        (copy / name).write_bytes((sources / name).read_bytes())
        os.utime(copy / name, (1, 1))
    (copy / "run.sh").chmod(0o755)
    (copy / "link.py").symlink_to("Iris.py")
    second = store.build(copy, tag="other:2")
    assert second.digest == first.digest
    assert second.tags == ("iris:1", "other:2")


@pytest.mark.parametrize("change", ["content", "name", "mode"])
def test_a_change_makes_another_bundle(store, sources, change):
    before = store.build(sources, tag="iris:1").digest
    if change == "content":
        (sources / "Iris.py").write_text("class Iris:\n    def predict(self, X): return X\n")
    elif change == "name":
        (sources / "run.sh").rename(sources / "go.sh")
    else:
        (sources / "run.sh").chmod(0o600)
    assert store.build(sources, tag="iris:1").digest != before
    assert store.get("iris:1").digest != before


def test_a_bundle_holds_what_was_there(store, sources):
    bundle = store.build(sources)
    assert bundle.tags == (f"iris:{bundle.digest[:12]}",)
    assert (bundle.source / "Iris.py").read_text() == (sources / "Iris.py").read_text()
    assert (bundle.source / "link.py").is_symlink()
    assert os.access(bundle.source / "run.sh", os.X_OK)
    assert read_bundle(bundle.source).digest == bundle.digest
    assert read_bundle(sources) is None
    assert not [name for name in os.listdir(store.root) if name.startswith(".work")]


def test_a_bundle_is_found_by_tag_name_and_digest(store, sources):
    digest = store.build(sources, tag="registry.example.com:5000/team/iris-image:v0.1").digest
    for name in (
        "registry.example.com:5000/team/iris-image:v0.1",
        "registry.example.com:5000/team/iris-image",
        "registry.example.com:5000/team/iris-image:latest",
        digest,
        f"sha256:{digest[:12]}",
    ):
        assert store.get(name).digest == digest


def test_a_bare_name_is_the_newest_tag_unless_one_is_called_latest(store, sources):
    old = store.build(sources, tag="iris:2").digest
    (sources / "new.txt").write_text("")
    new = store.build(sources, tag="iris:1").digest
    os.utime(store.root / "tags/iris/2", (1, 1))
    assert store.get("iris").digest == new
    os.utime(store.root / "tags/iris/1", (0, 0))
    assert store.get("iris").digest == old
    (sources / "new.txt").unlink()
    store.build(sources, tag="iris:latest")
    os.utime(store.root / "tags/iris/latest", (0, 0))
    assert store.get("iris").digest == old


@pytest.mark.parametrize("name", ["iris:1", "iris", "sha256:0123456789ab", "0123456789ab"])
def test_what_is_not_there_is_told_with_a_way_to_make_it(store, name):
    with pytest.raises(BundleError, match=f"there is no bundle {name}") as caught:
        store.get(name)
    assert caught.value.hint == f"make it: `tiffin build -t {name} DIRECTORY`"


def test_a_version_that_is_not_there_names_those_that_are(store, sources):
    store.build(sources, tag="iris:1")
    with pytest.raises(BundleError) as caught:
        store.get("iris:2")
    assert caught.value.hint == "there is iris:1; `tiffin list` shows all"


def tamper_content(source):
    (source / "Iris.py").write_text("import os\n")


def tamper_extra(source):
    (source / "sitecustomize.py").write_text("")


def tamper_missing(source):
    (source / "run.sh").unlink()


def tamper_mode(source):
    (source / "run.sh").chmod(0o644)


def tamper_link(source):
    (source / "link.py").unlink()
    (source / "link.py").symlink_to("/etc/passwd")


@pytest.mark.parametrize(
    ("tamper", "file"),
    [
        (tamper_content, "Iris.py has changed"),
        (tamper_extra, "sitecustomize.py is not part of it"),
        (tamper_missing, "run.sh is missing"),
        (tamper_mode, "run.sh has another mode"),
        (tamper_link, "link.py is not the link it was"),
    ],
)
def test_a_bundle_that_was_tampered_with_is_refused_and_mended_by_a_build(store, sources, tamper, file):
    bundle = store.build(sources, tag="iris:1")
    tamper(bundle.source)
    with pytest.raises(BundleError, match=file):
        store.get("iris:1")
    assert store.build(sources, tag="iris:1").digest == bundle.digest
    assert store.get("iris:1").digest == bundle.digest


def test_a_manifest_that_was_tampered_with_is_refused(store, sources):
    bundle = store.build(sources, tag="iris:1")
    manifest = bundle.path / "bundle.json"
    manifest.write_bytes(manifest.read_bytes().replace(b"Iris:Iris", b"Iris:Evil"))
    with pytest.raises(BundleError, match="manifest of the bundle iris:1 has changed"):
        store.get("iris:1")
    manifest.write_bytes(b"{")
    with pytest.raises(BundleError, match="cannot read"):
        store.get("iris:1")
    assert store.list() == []


def test_byte_code_beside_the_sources_is_dropped_and_not_trusted(store, sources):
    bundle = store.build(sources, tag="iris:1")
    cache = bundle.source / "__pycache__"
    cache.mkdir()
    (cache / "Iris.cpython-311.pyc").write_bytes(b"planted")
    assert store.get("iris:1").digest == bundle.digest
    assert not cache.exists()


def test_a_file_that_changes_during_a_build_ends_it(store, sources):
    made = plan(sources)
    (sources / "Iris.py").write_text("class Iris: ...\n")
    with pytest.raises(BundleError, match="changed while the bundle was made"):
        store.add(made, Reference("iris", "1"))
    assert store.list() == []
    assert store.shelf.digests() == []


def test_deleting_the_last_tag_deletes_the_content(store, sources):
    bundle = store.build(sources, tag="iris:1")
    store.build(sources, tag="iris:2")
    assert store.delete("iris:1") is False
    assert bundle.path.exists()
    assert store.delete("iris:2") is True
    assert not bundle.path.exists()
    assert store.list() == []
    with pytest.raises(BundleError, match="no bundle iris:2"):
        store.delete("iris:2")


def test_deleting_needs_a_version(store, sources):
    store.build(sources, tag="iris:1")
    with pytest.raises(BundleError, match="expected name:version"):
        store.delete("iris")


def test_the_list_tells_what_each_tag_is(store, sources):
    store.build(sources, tag="b:1")
    store.build(sources, tag="a:1")
    assert [(t.tag, t.kind, t.target) for t in store.list()] == [
        ("a:1", "class", "Iris:Iris"),
        ("b:1", "class", "Iris:Iris"),
    ]


def test_a_tree_is_exported_and_imported_as_the_same_bundle(store, sources, tmp_path):
    bundle = store.build(sources, tag="iris:1")
    store.export("iris:1", tmp_path / "tree")
    other = BundleStore(tmp_path / "other")
    assert other.import_tree(tmp_path / "tree", ["iris:1", "copy"]).digest == bundle.digest
    assert other.get("iris:1").tags == (f"copy:{bundle.digest[:12]}", "iris:1")
    with other.workshop() as place:
        store.export("iris:1", place / "tree")
        other.import_tree(place / "tree", ["moved:1"])
        assert not (place / "tree").exists()


def spoil_content(tree):
    (tree / "src/Iris.py").write_text("import os\n")


def spoil_stray(tree):
    (tree / "setup.py").write_text("")


def spoil_sbom(tree):
    (tree / "sbom.json").write_text("{}")


def spoil_path(tree):
    manifest = tree / "bundle.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"run.sh"', b'"../run.sh"'))


def spoil_link(tree):
    manifest = tree / "bundle.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"link": "Iris.py"', b'"link": "/etc/passwd"'))


def spoil_form(tree):
    manifest = tree / "bundle.json"
    manifest.write_bytes(manifest.read_bytes() + b" ")


def spoil_format(tree):
    manifest = tree / "bundle.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"format": 1', b'"format": 99'))


def spoil_all(tree):
    (tree / "bundle.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_content, "Iris.py has changed"),
        (spoil_stray, "found setup.py beside it"),
        (spoil_sbom, "found sbom.json beside it"),
        (spoil_path, r"expected a path inside the tree, found '\.\./run\.sh'"),
        (spoil_link, "found one to /etc/passwd"),
        (spoil_form, "found other bytes"),
        (spoil_format, "of format 2 or less, found 99"),
        (spoil_all, "expected a bundle"),
    ],
)
def test_a_tree_that_is_not_what_it_says_is_not_imported(store, sources, tmp_path, spoil, message):
    BundleStore(tmp_path / "other").build(sources, tag="iris:1")
    BundleStore(tmp_path / "other").export("iris:1", tmp_path / "tree")
    spoil(tmp_path / "tree")
    with pytest.raises(BundleError, match=message):
        store.import_tree(tmp_path / "tree", ["iris:1"])
    assert store.list() == []
    assert store.shelf.digests() == []

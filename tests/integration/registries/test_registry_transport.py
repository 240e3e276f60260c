"""Bundles and models to a real registry and into another machine's stores."""

import gzip
import io
import json
import tarfile
from pathlib import Path

import msgspec
import pytest

from tiffin.bundle.manifest import Manifest, PinnedModel
from tiffin.bundle.transport import Transport
from tiffin.errors import AuthorError, BundleError, RegistryError, StorageError, TiffinError
from tiffin.kits.paths import DataDirectory
from tiffin.oci import modelpack, records
from tiffin.oci.gathering import Gathered
from tiffin.oci.records import Descriptor
from tiffin.oci.reference import parse
from tiffin.oci.registry import Registry
from tiffin.store import files

pytest.importorskip("oras", reason="pip install 'tiffin[oci]'")

WEIGHTS = bytes(range(256)) * 4000


@pytest.fixture
def here(tmp_path: Path) -> Transport:
    return Transport(DataDirectory(tmp_path / "here"), Registry(environment={}))


@pytest.fixture
def there(tmp_path: Path) -> Transport:
    return Transport(DataDirectory(tmp_path / "there"), Registry(environment={}))


def save(transport: Transport, tag: str, **contents: bytes):
    with transport.models.create(tag, module="tiffin.onnx", labels={"team": "a"}) as draft:
        for name, content in contents.items():
            path = draft.path / name.replace("_", ".")
            path.write_bytes(content)
        (draft.path / "sub").mkdir()
        (draft.path / "sub/run").write_text("#!/bin/sh\n")
        (draft.path / "sub/run").chmod(0o755)
        (draft.path / "link").symlink_to("sub/run")
    assert draft.stored is not None
    return draft.stored


def build(transport: Transport, tree: Path, text: str, *models) -> str:
    (tree / "src").mkdir(parents=True)
    (tree / "src/service.py").write_text(text)
    (tree / "src/same").symlink_to("service.py")
    listed = tuple(files.record(tree / "src", path) for path in sorted(files.walk(tree / "src")))
    manifest = Manifest(
        format=2,
        kind="service",
        target="service:S",
        python="3.11",
        files=listed,
        models=tuple(PinnedModel(tag=m.tag, digest=m.digest, size=m.size) for m in models),
    )
    (tree / "bundle.json").write_bytes(manifest.encode())
    bundle = transport.bundles.import_tree(tree, ("iris:v1",))
    return bundle.digest


def test_a_model_arrives_with_the_digest_it_had(registry, here, there):
    model = save(here, "iris:v1", model_onnx=WEIGHTS, empty=b"")
    pushed = here.push_model("iris:v1", parse(f"{registry.host}/team/iris:v1"))
    pulled = there.pull(parse(f"{registry.host}/team/iris:v1"))
    assert pulled.kind == "model"
    assert (pulled.tag, pulled.digest, pulled.manifest) == ("iris:v1", f"sha256:{model.digest}", pushed.manifest)
    found = there.models.get("iris:v1")
    assert found.module == "tiffin.onnx"
    assert (found.path / "model.onnx").read_bytes() == WEIGHTS
    assert (found.path / "link").read_text() == "#!/bin/sh\n"
    assert not (there._arrivals / "blobs").exists(), "what arrived is kept twice"


def test_other_programs_see_a_modelpack(registry, here, tmp_path):
    save(here, "iris:v1", model_onnx=WEIGHTS, config_json=b"{}", README_md=b"hello", use_py=b"1")
    here.push_model("iris:v1", parse(f"{registry.host}/iris:v1"))
    _, data = Registry(environment={}).resolve(f"{registry.host}/iris:v1")
    manifest = json.loads(data)
    assert manifest["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert manifest["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    kinds = {
        layer["annotations"]["org.cncf.model.filepath"]: layer["mediaType"].split("model.")[1]
        for layer in manifest["layers"]
    }
    assert kinds == {
        "model.onnx": "weight.v1.raw",
        "config.json": "weight.config.v1.raw",
        "README.md": "doc.v1.raw",
        "use.py": "code.v1.raw",
        "sub/run": "weight.v1.raw",
        ".tiffin/model.json": "doc.v1.raw",
    }
    config = json.loads(registry.blob(manifest["config"]["digest"]).read_bytes())
    assert config["descriptor"] == {"name": "iris"}
    assert config["config"] == {"format": "onnx"}
    assert config["modelfs"]["diffIds"] == [layer["digest"] for layer in manifest["layers"]]


def test_a_bundle_arrives_with_its_models(registry, here, there, tmp_path):
    model = save(here, "iris:v1", model_onnx=WEIGHTS)
    digest = build(here, tmp_path / "tree", "one", model)
    here.push_bundle("iris:v1", parse(f"{registry.host}/team/service:v1"))
    pulled = there.pull(parse(f"{registry.host}/team/service:v1"))
    assert (pulled.kind, pulled.tag, pulled.digest) == ("bundle", "service:v1", f"sha256:{digest}")
    assert pulled.models == ("iris:v1",)
    assert there.models.get("iris:v1").digest == model.digest
    assert (there.bundles.get("service:v1").source / "same").read_text() == "one"
    again = there.pull(parse(f"{registry.host}/team/service:v1"))
    assert again.moved < 3000


def test_a_changed_source_sends_the_source_alone(registry, here, there, tmp_path):
    model = save(here, "iris:v1", model_onnx=WEIGHTS)
    build(here, tmp_path / "one", "one", model)
    here.push_bundle("iris:v1", parse(f"{registry.host}/team/service:v1"))
    there.pull(parse(f"{registry.host}/team/service:v1"))
    build(here, tmp_path / "two", "two", model)
    before = registry.uploads()
    pushed = here.push_bundle("iris:v1", parse(f"{registry.host}/team/service:v2"))
    assert registry.uploads() - before == 2, "the sources, and the manifest that names them"
    assert pushed.moved < 3000
    assert pushed.kept > len(WEIGHTS)
    pulled = there.pull(parse(f"{registry.host}/team/service:v2"))
    assert pulled.moved < 3000
    assert (there.bundles.get("service:v2").source / "service.py").read_text() == "two"


def test_a_model_that_was_pushed_lends_its_layers_to_a_bundle(registry, here, tmp_path):
    model = save(here, "iris:v1", model_onnx=WEIGHTS)
    here.push_model("iris:v1", parse(f"{registry.host}/team/iris:v1"))
    build(here, tmp_path / "tree", "one", model)
    pushed = here.push_bundle("iris:v1", parse(f"{registry.host}/team/service:v1"))
    assert pushed.moved < 3000


def test_a_file_another_model_has_is_not_fetched(registry, here, there):
    save(here, "iris:v1", model_onnx=WEIGHTS)
    here.push_model("iris:v1", parse(f"{registry.host}/iris:v1"))
    save(there, "other:v1", weights_bin=WEIGHTS)
    assert there.pull(parse(f"{registry.host}/iris:v1")).moved < 3000
    assert there.models.get("iris:v1").size == there.models.get("other:v1").size


def test_a_model_the_bundle_needs_and_nobody_has_is_named(registry, here, tmp_path):
    model = save(here, "iris:v1", model_onnx=WEIGHTS)
    build(here, tmp_path / "tree", "one", model)
    here.models.delete("iris:v1")
    with pytest.raises(BundleError, match="needs the model iris:v1, which cannot be pushed"):
        here.push_bundle("iris:v1", parse(f"{registry.host}/service:v1"))
    pushed = here.push_bundle("iris:v1", parse(f"{registry.host}/service:v1"), models=False)
    assert pushed.notes == ("its models were left out",)


def test_a_bundle_that_was_changed_in_the_registry_is_not_listed(registry, here, there, tmp_path):
    build(here, tmp_path / "tree", "one")
    here.push_bundle("iris:v1", parse(f"{registry.host}/service:v1"))
    _, data = Registry(environment={}).resolve(f"{registry.host}/service:v1")
    manifest = msgspec.json.decode(data, type=records.Manifest)
    blobs = Gathered(tmp_path)
    other = blobs.write(_tar({"service.py": b"two"}), manifest.layers[0].media_type)
    layers = [other, *manifest.layers[1:]]
    for one in (manifest.config, *manifest.layers[1:]):
        blobs.lend(registry.blob(one.digest), one.digest, one.size, one.media_type)
    top = blobs.write_record(msgspec.structs.replace(manifest, layers=layers))
    Registry(environment={}).push(blobs, top, f"{registry.host}/service:v1")
    with pytest.raises(BundleError, match=r"service\.py has changed"):
        there.pull(parse(f"{registry.host}/service:v1"))
    assert there.bundles.all() == []


def test_what_is_no_model_is_named_before_anything_is_fetched(registry, there, tmp_path):
    blobs = Gathered(tmp_path)
    layer = blobs.write(b"chart", "application/vnd.cncf.helm.chart.content.v1.tar+gzip")
    config = blobs.write(b"{}", "application/vnd.cncf.helm.config.v1+json")
    _push(registry, blobs, config, [layer])
    with pytest.raises(RegistryError, match=r"expected a model at .*, found application/vnd\.cncf\.helm"):
        there.pull(parse(f"{registry.host}/made:v1"))
    assert not [path for path in registry.requests("GET") if "/blobs/" in path]


def test_a_bundle_is_no_model(registry, here, there, tmp_path):
    build(here, tmp_path / "tree", "one")
    here.push_bundle("iris:v1", parse(f"{registry.host}/service:v1"))
    with pytest.raises(AuthorError, match=r"expected a model .*, found a bundle"):
        there.pull(parse(f"{registry.host}/service:v1"), expect="model")


def test_a_modelkit_of_kitops_is_read(registry, there, tmp_path):
    blobs = Gathered(tmp_path)
    kit = "application/vnd.kitops.modelkit"
    layers = [
        blobs.write(gzip.compress(_tar({"model/iris.onnx": WEIGHTS})), f"{kit}.model.v1.tar+gzip"),
        blobs.write(_tar({"data/train.csv": b"1,2"}), f"{kit}.dataset.v1.tar"),
    ]
    _push(registry, blobs, blobs.write(b"{}", f"{kit}.config.v1+json"), layers)
    pulled = there.pull(parse(f"{registry.host}/made:v1"))
    found = there.models.get(pulled.tag)
    assert {file.path for file in found.files} == {"model/iris.onnx", "data/train.csv"}
    assert found.lineage.source == f"oci://{registry.host}/made@{pulled.manifest}"


def test_an_image_with_a_model_is_read_as_kserve_does(registry, there, tmp_path):
    blobs = Gathered(tmp_path)
    layers = [
        blobs.write(_tar({"etc/passwd": b"root", "models/old.onnx": b"old"}), records.LAYER),
        blobs.write(_tar({"models/.wh.old.onnx": b"", "models/iris.onnx": WEIGHTS}), records.LAYER),
    ]
    _push(registry, blobs, blobs.write(b"{}", records.IMAGE_CONFIG), layers)
    pulled = there.pull(parse(f"{registry.host}/made:v1"))
    assert [file.path for file in there.models.get(pulled.tag).files] == ["iris.onnx"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("../out", "outside of its directory"), ("/out", "outside of its directory"), ("a/../../out", "outside")],
)
def test_a_tar_that_leads_out_is_refused(registry, there, tmp_path, name, said):
    blobs = Gathered(tmp_path)
    layer = blobs.write(_tar({name: b"x"}), "application/vnd.cncf.model.weight.v1.tar")
    _push(registry, blobs, blobs.write(b"{}", modelpack.CONFIG), [layer])
    with pytest.raises(StorageError, match=said):
        there.pull(parse(f"{registry.host}/made:v1"))
    assert there.models.list() == []


def test_a_path_of_a_layer_that_leads_out_is_refused(registry, there, tmp_path):
    blobs = Gathered(tmp_path)
    media_type = "application/vnd.cncf.model.weight.v1.raw"
    layer = blobs.write(b"x", media_type, {"org.cncf.model.filepath": "../../out"})
    _push(registry, blobs, blobs.write(b"{}", modelpack.CONFIG), [layer])
    with pytest.raises(StorageError, match=r"'\.\./\.\./out'"):
        there.pull(parse(f"{registry.host}/made:v1"))


def test_a_tar_with_a_link_or_damage_is_refused(registry, there, tmp_path):
    link = io.BytesIO()
    with tarfile.open(fileobj=link, mode="w") as archive:
        header = tarfile.TarInfo("model.onnx")
        header.type, header.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(header)
    for content in (link.getvalue(), gzip.compress(_tar({"a": WEIGHTS}))[:-100], b"not a tar" * 200):
        blobs = Gathered(tmp_path)
        layer = blobs.write(content, "application/vnd.cncf.model.weight.v1.tar")
        _push(registry, blobs, blobs.write(b"{}", modelpack.CONFIG), [layer])
        with pytest.raises(TiffinError, match=r"holds a link|cannot be unpacked"):
            there.pull(parse(f"{registry.host}/made:v1"))
    assert there.models.list() == []


def _tar(contents: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in contents.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return out.getvalue()


def _push(registry, blobs: Gathered, config: Descriptor, layers: list[Descriptor]) -> None:
    made = records.Manifest(schema_version=2, media_type=records.MANIFEST, config=config, layers=layers)
    Registry(environment={}).push(blobs, blobs.write_record(made), f"{registry.host}/made:v1")


def test_signatures_travel_with_what_they_are_of(registry, here, there, tmp_path):
    pytest.importorskip("model_signing", reason="pip install 'tiffin[sign]'")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    from tiffin.signing import checking, keys, making
    from tiffin.signing.kept import Signatures

    key, public = tmp_path / "key.pem", tmp_path / "key.pub"
    made = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8
    key.write_bytes(made.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    public.write_bytes(
        made.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    trusted = keys.read(str(public))
    model = save(here, "iris:v1", model_onnx=WEIGHTS)
    digest = build(here, tmp_path / "tree", "one", model)
    bundle = here.bundles.get("iris:v1")
    making.sign(model.path, key, Signatures(here.models.root).place(model.digest, trusted.fingerprint))
    making.sign(bundle.path, key, Signatures(here.bundles.root).place(digest, trusted.fingerprint))
    for _ in range(2):  # A second time changes nothing.
        here.push_model("iris:v1", parse(f"{registry.host}/team/iris:v1"))
        here.push_bundle("iris:v1", parse(f"{registry.host}/team/service:v1"))
    there.pull(parse(f"{registry.host}/team/iris:v1"))
    pulled = there.pull(parse(f"{registry.host}/team/service:v1"))
    for kept, path, one in (
        (Signatures(there.models.root), there.models.get("iris:v1").path, model.digest),
        (Signatures(there.bundles.root), there.bundles.get("service:v1").path, digest),
    ):
        (signature,) = kept.of(one)
        assert checking.check(path, [signature], [trusted], what="it").by == trusted.fingerprint
    fallback, data = Registry(environment={}).resolve(
        f"{registry.host}/team/service:{pulled.manifest.replace(':', '-')}"
    )
    assert fallback.media_type == records.INDEX
    assert len(json.loads(data)["manifests"]) == 1

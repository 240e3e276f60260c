"""What requires a signature, and what is refused before anything is opened."""

import asyncio
import pickle
from pathlib import Path

import msgspec
import pytest

pytest.importorskip("model_signing", reason="pip install 'tiffin[sign]'")

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tiffin.bundle import BundleStore
from tiffin.bundle.manifest import Manifest, PinnedModel
from tiffin.errors import ModelError, RegistryError, SignatureError
from tiffin.kits.paths import DataDirectory
from tiffin.local import preparing, signatures
from tiffin.local.faults import problem_of
from tiffin.signing import keys, making
from tiffin.signing.kept import Signatures
from tiffin.spec import Artefact, ClassSource, Component, ContainerSource, ModelSource, Policy, ServiceSource
from tiffin.store import files
from tiffin.store.models import ModelStore


def write_pair(directory: Path, name: str) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = directory / f"{name}.pem", directory / f"{name}.pub"
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return write_pair(tmp_path, "team")


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    return DataDirectory(tmp_path / "home").make()


def prepare(component: Component, data: DataDirectory) -> Path:
    found = asyncio.run(preparing.prepare([component], data, progress=lambda *_: None))
    return found.paths[component.name]


def of_model(uri: str, base: Path, *public: Path) -> Component:
    policy = Policy(require_signature=True, keys=tuple(str(key) for key in public))
    return Component(source=ModelSource(artefact=Artefact(uri=uri, base=str(base))), policy=policy)


def test_a_signed_model_starts_from_a_copy_that_nobody_changes(tmp_path, pair, data):
    model = tmp_path / "model.pkl"
    model.write_bytes(pickle.dumps({"a": 1}))
    making.sign(model, pair[0], tmp_path / "model.pkl.sig")
    path = prepare(of_model("model.pkl", tmp_path, pair[1]), data)
    assert path.name == "model.pkl"
    assert path.read_bytes() == model.read_bytes()
    model.write_bytes(b"other")
    assert pickle.loads(path.read_bytes()) == {"a": 1}


def test_a_signed_directory_is_found_with_the_signature_in_it_or_beside_it(tmp_path, pair, data):
    for name, signature in (("a", "a/model.sig"), ("b", "b.sig")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.onnx").write_text("weights")
        making.sign(tmp_path / name, pair[0], tmp_path / signature)
        path = prepare(of_model(name, tmp_path, pair[1]), data)
        assert (path / "model.onnx").read_text() == "weights"


def test_a_model_without_signature_by_another_key_or_changed_is_refused(tmp_path, pair, data):
    model = tmp_path / "model.pkl"
    model.write_bytes(b"weights")
    component = of_model("model.pkl", tmp_path, pair[1])
    with pytest.raises(SignatureError, match=r"model\.pkl is not signed"):
        prepare(component, data)
    other = write_pair(tmp_path, "other")
    fingerprint = making.sign(model, other[0], tmp_path / "model.pkl.sig")
    with pytest.raises(SignatureError, match=f"model.pkl is signed by the key {fingerprint[:16]}"):
        prepare(component, data)
    making.sign(model, pair[0], tmp_path / "model.pkl.sig")
    model.write_bytes(b"Weights")
    with pytest.raises(SignatureError, match=r"model\.pkl has changed since the signature model\.pkl\.sig"):
        prepare(component, data)


def test_the_platform_can_require_it_of_every_deployment(tmp_path, pair, data, monkeypatch):
    (tmp_path / "model.pkl").write_bytes(b"weights")
    component = Component(source=ModelSource(artefact=Artefact(uri="model.pkl", base=str(tmp_path))))
    prepare(component, data)
    monkeypatch.setenv(signatures.VARIABLE, str(pair[1]))
    with pytest.raises(SignatureError, match="is not signed"):
        prepare(component, data)
    making.sign(tmp_path / "model.pkl", pair[0], tmp_path / "model.sig")
    prepare(component, data)


def test_a_deployment_cannot_choose_weaker_keys_than_the_platform(tmp_path, pair, data, monkeypatch):
    other = write_pair(tmp_path, "other")
    (tmp_path / "model.pkl").write_bytes(b"weights")
    making.sign(tmp_path / "model.pkl", other[0], tmp_path / "model.sig")
    monkeypatch.setenv(signatures.VARIABLE, str(pair[1]))
    with pytest.raises(SignatureError, match="and required is the key"):
        prepare(of_model("model.pkl", tmp_path, other[1]), data)


def test_requiring_it_without_any_key_is_refused(tmp_path, data):
    with pytest.raises(SignatureError, match="the platform has no keys of its own"):
        prepare(of_model("model.pkl", tmp_path), data)


def test_what_one_component_must_meet_all_must(tmp_path, pair, data):
    (tmp_path / "model.pkl").write_bytes(b"weights")
    making.sign(tmp_path / "model.pkl", pair[0], tmp_path / "model.sig")
    (tmp_path / "apart").mkdir()
    unsigned = Component(
        name="encoder", source=ClassSource(artefact=Artefact(uri="apart", base=str(tmp_path)), target="m:C")
    )
    both = [of_model("model.pkl", tmp_path, pair[1]), unsigned]
    with pytest.raises(SignatureError, match="apart is not signed"):
        asyncio.run(preparing.prepare(both, data, progress=lambda *_: None))


def test_sources_of_a_service_are_not_imported_before_they_were_checked(tmp_path, pair, data):
    source = tmp_path / "src"
    source.mkdir()
    (source / "service.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w')\n")
    policy = Policy(require_signature=True, keys=(str(pair[1]),))
    artefact = Artefact(uri="src", base=str(tmp_path))
    component = Component(source=ServiceSource(artefact=artefact, target="service:S"), policy=policy)
    from tiffin.spec import Deployment

    _, error = asyncio.run(preparing.described(Deployment(name="s", components=(component,)), data, "localhost"))
    assert isinstance(error, SignatureError)
    assert not (tmp_path / "imported").exists()
    making.sign(source, pair[0], tmp_path / "src.sig")
    _, error = asyncio.run(preparing.described(Deployment(name="s", components=(component,)), data, "localhost"))
    assert not isinstance(error, SignatureError)
    assert (tmp_path / "imported").exists(), "the sign that the file would have left is not left at all"


def build(tmp_path: Path, data: DataDirectory, *models: PinnedModel) -> str:
    tree = tmp_path / "tree"
    (tree / "src").mkdir(parents=True)
    (tree / "src/service.py").write_text("class S: ...")
    listed = tuple(files.record(tree / "src", path) for path in files.walk(tree / "src"))
    manifest = Manifest(
        format=2, kind="class", target="service:S", python="3.11", files=listed, models=models or msgspec.UNSET
    )
    (tree / "bundle.json").write_bytes(manifest.encode())
    return BundleStore(data.bundles).import_tree(tree, ("s:v1",)).digest


def of_bundle(public: Path) -> Component:
    policy = Policy(require_signature=True, keys=(str(public),))
    return Component(source=ClassSource(artefact=Artefact(uri="s:v1")), policy=policy)


def test_a_bundle_is_signed_as_a_whole(tmp_path, pair, data):
    digest = build(tmp_path, data)
    component = of_bundle(pair[1])
    with pytest.raises(SignatureError, match="the bundle s:v1 is not signed"):
        prepare(component, data)
    tree = data.bundles / "content" / digest
    fingerprint = keys.read(str(pair[1])).fingerprint
    making.sign(tree, pair[0], Signatures(data.bundles).place(digest, fingerprint))
    assert prepare(component, data) == tree / "src"


def test_the_models_of_a_signed_bundle_are_compared_with_their_digests(tmp_path, pair, data):
    with ModelStore(data.models).create("iris:v1") as draft:
        (draft.path / "model.pkl").write_bytes(b"weights")
    model = draft.stored
    digest = build(tmp_path, data, PinnedModel(tag=model.tag, digest=model.digest))
    making.sign(data.bundles / "content" / digest, pair[0], Signatures(data.bundles).place(digest, "ab"))
    prepare(of_bundle(pair[1]), data)
    (model.path / "model.pkl").write_bytes(b"Weights")
    with pytest.raises(ModelError, match=r"model\.pkl has changed"):
        prepare(of_bundle(pair[1]), data)


def test_a_model_that_only_another_store_has_is_refused(tmp_path, pair, data):
    digest = build(tmp_path, data, PinnedModel(tag="iris:v1", digest="ab" * 32, source="bentoml"))
    making.sign(data.bundles / "content" / digest, pair[0], Signatures(data.bundles).place(digest, "ab"))
    with pytest.raises(SignatureError, match="needs the model iris:v1 of bentoml"):
        prepare(of_bundle(pair[1]), data)


def test_a_model_of_the_store_has_its_signature_there(tmp_path, pair, data):
    with ModelStore(data.models).create("iris:v1") as draft:
        (draft.path / "model.pkl").write_bytes(b"weights")
    model = draft.stored
    component = of_model(str(model.path), tmp_path, pair[1])
    with pytest.raises(SignatureError, match="is not signed"):
        prepare(component, data)
    making.sign(model.path, pair[0], Signatures(data.models).place(model.digest, "ab"))
    assert prepare(component, data) == model.path


def test_an_image_is_refused_by_name(tmp_path, pair, data):
    policy = Policy(require_signature=True, keys=(str(pair[1]),))
    component = Component(source=ContainerSource(image="iris:v1"), policy=policy)
    with pytest.raises(SignatureError, match=r"those of images \(iris:v1\) are not checked"):
        signatures.checked(component, data.root, data, signatures.required([component]))


def test_its_reason_is_one_of_its_own():
    assert problem_of(SignatureError("model.pkl is not signed")).reason == "SignatureRejected"
    assert problem_of(RegistryError("r.io cannot be reached")).reason == "FetchFailed"

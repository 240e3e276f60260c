"""``oci://`` as an artefact's address: fetched once, verified, and signed where that is required."""

import asyncio
import io
import tarfile
from pathlib import Path

import pytest

from tiffin.bundle.transport import Transport
from tiffin.dialects import parse as parse_file
from tiffin.errors import RegistryError, SignatureError, StorageError
from tiffin.kits.paths import DataDirectory
from tiffin.local import preparing
from tiffin.models import storage
from tiffin.oci import records
from tiffin.oci.gathering import Gathered
from tiffin.oci.reference import parse
from tiffin.oci.registry import Registry
from tiffin.signing.kept import Signatures
from tiffin.spec import Artefact, Component, ModelSource, Policy

pytest.importorskip("oras", reason="pip install 'tiffin[oci]'")


@pytest.fixture
def here(tmp_path: Path) -> Transport:
    return Transport(DataDirectory(tmp_path / "here"), Registry(environment={}))


def push(here: Transport, registry, content: bytes = b"weights"):
    with here.models.create("iris") as draft:
        (draft.path / "model.onnx").write_bytes(content)
        (draft.path / "sub").mkdir()
        (draft.path / "sub/config.json").write_text("{}")
        (draft.path / "config.json").symlink_to("sub/config.json")
    here.push_model(draft.tag, parse(f"{registry.host}/iris:v1"))
    return draft.stored


def fetch(uri: str, tmp_path: Path, **options) -> Path:
    return storage.fetch(uri, base=tmp_path, cache=tmp_path / "cache", **options)


@pytest.mark.parametrize("scheme", ["oci", "oci+native", "oci+fetch"])
def test_a_model_is_fetched_once_and_again_when_the_tag_moves(registry, here, tmp_path, scheme):
    push(here, registry)
    seen, asked = [], []
    uri = f"{scheme}://{registry.host}/iris:v1"
    path = fetch(uri, tmp_path, progress=seen.append, room=asked.append)
    assert sorted(one.name for one in path.iterdir()) == ["config.json", "model.onnx", "sub"]
    assert (seen[-1].done, seen[-1].uri) == (seen[-1].total, uri)
    assert len({one.total for one in seen}) == 1
    assert len([one for one in seen if one.done == one.total]) == 1
    # The layers, and the files that are made of them; the rest of what came is the manifest's own.
    (room,) = asked
    assert 2 * len(b"weights{}") <= room <= 2 * seen[-1].total
    before = len([one for one in registry.requests("GET") if "/blobs/" in one])
    assert fetch(uri, tmp_path, room=asked.append) == path
    assert len(asked) == 1
    assert len([one for one in registry.requests("GET") if "/blobs/" in one]) == before
    push(here, registry, b"other")
    assert (fetch(uri, tmp_path) / "model.onnx").read_bytes() == b"other"
    assert not list((tmp_path / "cache" / "arrivals").iterdir())


def test_a_modelcar_image_is_fetched_for_this_machine(registry, tmp_path):
    blobs = Gathered(tmp_path)
    manifests = []
    for architecture, content in (("s390x", b"big"), ("amd64", b"little"), ("arm64", b"little")):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            header = tarfile.TarInfo("models/model.onnx")
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
        one = blobs.write_record(
            records.Manifest(
                schema_version=2,
                media_type=records.MANIFEST,
                config=blobs.write(b"{}", records.IMAGE_CONFIG),
                layers=[blobs.write(out.getvalue(), records.LAYER)],
            )
        )
        manifests.append(
            records.Descriptor(
                media_type=one.media_type,
                digest=one.digest,
                size=one.size,
                platform=records.Platform(architecture=architecture),
            )
        )
    index = records.encode(records.Index(schema_version=2, media_type=records.INDEX, manifests=manifests))
    Registry(environment={}).push(blobs, blobs.write(index, records.INDEX), f"{registry.host}/car:v1")
    path = fetch(f"oci://{registry.host}/car:v1", tmp_path)
    assert (path / "model.onnx").read_bytes() == b"little"


def test_an_image_without_a_model_is_refused(registry, tmp_path):
    blobs = Gathered(tmp_path)
    out = io.BytesIO()
    tarfile.open(fileobj=out, mode="w").close()
    top = records.Manifest(
        schema_version=2,
        media_type=records.MANIFEST,
        config=blobs.write(b"{}", records.IMAGE_CONFIG),
        layers=[blobs.write(out.getvalue(), records.LAYER)],
    )
    Registry(environment={}).push(blobs, blobs.write_record(top), f"{registry.host}/car:v1")
    with pytest.raises(StorageError, match=r"has nothing in /models"):
        fetch(f"oci://{registry.host}/car:v1", tmp_path)


def test_what_is_not_there_is_named(registry, tmp_path):
    with pytest.raises(RegistryError, match=r"there is no .*/iris:v9|has no repository iris"):
        fetch(f"oci://{registry.host}/iris:v9", tmp_path)


def test_kserves_file_may_name_it(registry):
    text = f"""
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {{name: iris}}
spec:
  predictor:
    model: {{modelFormat: {{name: sklearn}}, storageUri: "oci://{registry.host}/iris:v1"}}
"""
    (found,) = parse_file(text)
    assert found.components[0].source.artefact.uri == f"oci://{registry.host}/iris:v1"


def test_a_signature_in_the_registry_is_enough_for_a_policy(registry, here, tmp_path):
    pytest.importorskip("model_signing", reason="pip install 'tiffin[sign]'")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    from tiffin.signing import making

    made = ec.generate_private_key(ec.SECP256R1())
    key = tmp_path / "key.pem"
    form = serialization.PrivateFormat.PKCS8
    key.write_bytes(made.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    pem = made.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    component = Component(
        source=ModelSource(artefact=Artefact(uri=f"oci://{registry.host}/iris:v1")),
        policy=Policy(require_signature=True, keys=(pem.decode(),)),
    )
    data = DataDirectory(tmp_path / "there").make()

    def prepare() -> Path:
        found = asyncio.run(preparing.prepare([component], data, progress=lambda *_: None))
        return found.paths["predictor"]

    model = push(here, registry)
    with pytest.raises(SignatureError, match="is not signed"):
        prepare()
    making.sign(model.path, key, Signatures(here.models.root).place(model.digest, "ab"))
    here.push_model(model.tag, parse(f"{registry.host}/iris:v1"))
    # The digest is the one that was fetched before; the signature came later.
    assert (prepare() / "model.onnx").read_bytes() == b"weights"

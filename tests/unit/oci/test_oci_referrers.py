"""Referrers at a registry that lists them itself, and at one that does not; the connection is our own boundary."""

from types import SimpleNamespace

import msgspec
import pytest

pytest.importorskip("oras", reason="pip install 'tiffin[oci]'")

from tiffin.errors import RegistryError
from tiffin.oci import records, referrers
from tiffin.oci.records import Descriptor, Index, Manifest
from tiffin.oci.reference import parse

REFERENCE = parse("r.example.com/iris:v1")
SUBJECT = Descriptor(media_type=records.MANIFEST, digest=records.digest_of(b"model"), size=5)
KIND = "application/vnd.example.signature"


class Registry:
    """Keeps blobs and manifests by name; ``native`` decides whether it answers at ``referrers/``."""

    def __init__(self, *, native: bool) -> None:
        self.native = native
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.reference = REFERENCE

    def connect(self, reference):
        return self

    def push(self, blobs, top, reference):
        data = blobs.path(top.digest).read_bytes()
        for one in msgspec.json.decode(data, type=Manifest).layers:
            self.blobs[one.digest] = blobs.path(one.digest).read_bytes()
        self.manifests[top.digest] = (records.MANIFEST, data)

    def put(self, connection, name, media_type, data):
        self.manifests[name] = (media_type, data)

    def get(self, connection, name):
        media_type, data = self.manifests[name]
        return Descriptor(media_type=media_type, digest=records.digest_of(data), size=len(data)), data

    def ask(self, method, url, *, expect=(200,), headers=None, what=""):
        kind, _, name = url.removeprefix("iris/").partition("/")
        if kind == "blobs":
            return SimpleNamespace(status_code=200, content=self.blobs[name], headers={})
        if kind == "referrers":
            if not self.native:
                return SimpleNamespace(status_code=404, content=b"", headers={})
            found = [
                Descriptor(media_type=records.MANIFEST, digest=digest, size=len(data), artifact_type=KIND)
                for digest, (media_type, data) in self.manifests.items()
                if media_type == records.MANIFEST
            ]
            index = Index(schema_version=2, media_type=records.INDEX, manifests=found)
            headers = {"Content-Type": records.INDEX}
            return SimpleNamespace(status_code=200, content=records.encode(index), headers=headers)
        if name not in self.manifests:
            return SimpleNamespace(status_code=404, content=b"", headers={})
        return SimpleNamespace(status_code=200, content=self.manifests[name][1], headers={})


@pytest.mark.parametrize("native", [True, False])
def test_what_was_attached_is_found_once(native):
    registry = Registry(native=native)
    assert referrers.attached(registry, REFERENCE, SUBJECT.digest, KIND) == []
    for data in (b"one", b"two", b"one"):
        referrers.attach(registry, REFERENCE, SUBJECT, data, KIND, "a.sig")
    assert sorted(referrers.attached(registry, REFERENCE, SUBJECT.digest, KIND)) == [b"one", b"two"]
    fallback = SUBJECT.digest.replace(":", "-")
    assert (fallback in registry.manifests) is not native


def test_what_is_of_another_type_or_of_something_else_is_left_out():
    registry = Registry(native=True)
    referrers.attach(registry, REFERENCE, SUBJECT, b"one", "application/other", "a.sig")
    other = Descriptor(media_type=records.MANIFEST, digest=records.digest_of(b"other"), size=5)
    referrers.attach(registry, REFERENCE, other, b"two", KIND, "a.sig")
    assert referrers.attached(registry, REFERENCE, SUBJECT.digest, KIND) == []


def test_a_signature_with_other_bytes_is_refused():
    registry = Registry(native=True)
    referrers.attach(registry, REFERENCE, SUBJECT, b"one", KIND, "a.sig")
    registry.blobs = dict.fromkeys(registry.blobs, b"not")
    with pytest.raises(RegistryError, match="gave other bytes"):
        referrers.attached(registry, REFERENCE, SUBJECT.digest, KIND)

"""Blobs and manifests to a real registry and back: whole, once, and on after an interruption."""

import hashlib
import json
import os
import random
from pathlib import Path

import pytest

from tiffin.errors import RegistryError
from tiffin.oci import records, uploads
from tiffin.oci.layout import Layout
from tiffin.oci.moving import Transfer
from tiffin.oci.records import Descriptor
from tiffin.oci.registry import Registry

pytest.importorskip("oras", reason="pip install 'tiffin[oci]'")

SIZE = 3_000_000


def artefact(layout: Layout, *contents: bytes) -> Descriptor:
    layers = [layout.write(content, "application/x-test") for content in contents]
    config = layout.write(b"{}", records.EMPTY)
    return layout.write_record(
        records.Manifest(
            schema_version=2,
            media_type=records.MANIFEST,
            artifact_type="application/x-test",
            config=config,
            layers=layers,
        )
    )


def noise(seed: int, size: int = SIZE) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "here")


@pytest.fixture
def there(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "there")


def test_what_was_pushed_is_pulled_byte_for_byte(registry, layout, there):
    top = artefact(layout, noise(1), b"small")
    pushed = Registry(environment={}).push(layout, top, f"{registry.host}/a/b:v1")
    pulled = Registry(environment={}).pull(f"{registry.host}/a/b:v1", there)
    assert pulled.descriptor.digest == top.digest
    assert pushed.moved == pulled.moved == SIZE + 5 + 2
    for one in layout.closure(top):
        assert there.path(one.digest).read_bytes() == layout.path(one.digest).read_bytes()
    by_digest = Registry(environment={}).pull(f"{registry.host}/a/b@{top.digest}", there)
    assert (by_digest.moved, by_digest.kept) == (0, SIZE + 5 + 2)


def test_only_what_changed_is_uploaded(registry, layout):
    client = Registry(environment={})
    client.push(layout, artefact(layout, noise(1), b"one"), f"{registry.host}/a:v1")
    before = registry.uploads()
    seen: list[Transfer] = []
    second = artefact(layout, noise(1), b"two")
    done = client.push(layout, second, f"{registry.host}/a:v2", progress=seen.append)
    assert registry.uploads() - before == 1
    assert (done.moved, done.kept) == (3, SIZE + 2)
    assert {one.state for one in seen if one.total == SIZE} == {"waiting", "running", "exists"}


def test_another_repository_of_the_registry_lends_its_blobs(registry, layout):
    client = Registry(environment={})
    top = artefact(layout, noise(1))
    client.push(layout, top, f"{registry.host}/a:v1")
    done = client.push(layout, top, f"{registry.host}/b:v1", sources=["nothing/here", "a"])
    assert (done.moved, done.kept) == (0, SIZE + 2)


def test_a_download_that_breaks_goes_on_from_there(registry, start_proxy, layout, there):
    top = artefact(layout, noise(1))
    Registry(environment={}).push(layout, top, f"{registry.host}/a:v1")
    proxy = start_proxy(registry)
    proxy.cut_down = [1_000_000, 1_500_000]
    Registry(environment={}).pull(f"{proxy.host}/a:v1", there)
    assert proxy.cut_down == []
    there.verify_all(top)
    assert proxy.down < SIZE + 200_000, "what was there was fetched again"


def test_a_download_of_another_process_goes_on(registry, layout, there):
    top = artefact(layout, noise(1))
    Registry(environment={}).push(layout, top, f"{registry.host}/a:v1")
    blob = layout.read_manifest(top).layers[0]
    target = there.path(blob.digest)
    target.parent.mkdir(parents=True)
    target.with_name(f".{target.name}.partial").write_bytes(noise(1)[:2_000_000])
    seen: list[Transfer] = []
    Registry(environment={}).pull(f"{registry.host}/a:v1", there, progress=seen.append)
    there.verify_all(top)
    running = [one.done for one in seen if one.total == SIZE and one.state == "running"]
    assert min(running) == 2_000_000


def test_bytes_that_an_earlier_try_left_damaged_are_fetched_again(registry, layout, there):
    top = artefact(layout, noise(1))
    Registry(environment={}).push(layout, top, f"{registry.host}/a:v1")
    target = there.path(layout.read_manifest(top).layers[0].digest)
    target.parent.mkdir(parents=True)
    partial = target.with_name(f".{target.name}.partial")
    partial.write_bytes(noise(9)[:2_000_000])
    Registry(environment={}).pull(f"{registry.host}/a:v1", there)
    there.verify_all(top)
    assert not partial.exists()


def test_an_upload_that_breaks_ends_well_and_sends_no_finished_layer_again(
    registry, start_proxy, layout, monkeypatch
):
    monkeypatch.setattr(uploads, "PIECE", 500_000)
    monkeypatch.setattr("tiffin.oci.moving.AT_ONCE", 1)
    proxy = start_proxy(registry)
    proxy.cut_up = [SIZE + 1_800_000]
    top = artefact(layout, noise(1), noise(2))
    Registry(environment={}).push(layout, top, f"{proxy.host}/a:v1")
    assert proxy.cut_up == []
    for blob, content in zip(layout.read_manifest(top).layers, (noise(1), noise(2)), strict=True):
        assert registry.blob(blob.digest).read_bytes() == content
    # This registry forgets an upload whose piece was cut: only that layer starts again.
    assert proxy.up < 2 * SIZE + 2_000_000


def test_an_upload_of_a_process_that_was_killed_goes_on(registry, start_proxy, layout, tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "PIECE", 500_000)
    monkeypatch.setattr("tiffin.oci.moving.AT_ONCE", 1)
    proxy = start_proxy(registry)
    top = artefact(layout, noise(1))
    notes = tmp_path / "uploads"

    class Killed(Exception):
        pass

    written = uploads._Note.write

    def killed_after_four_pieces(note, location):
        written(note, location)
        if proxy.up > 2_000_000:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(uploads._Note, "write", killed_after_four_pieces)
        with pytest.raises(Killed):
            Registry(environment={}, notes=notes).push(layout, top, f"{proxy.host}/a:v1")
    (note,) = notes.iterdir()
    assert note.stat().st_mode & 0o077 == 0
    before = proxy.up
    Registry(environment={}, notes=notes).push(layout, top, f"{proxy.host}/a:v1")
    assert 900_000 < proxy.up - before < 1_200_000
    assert list(notes.iterdir()) == []
    assert registry.blob(layout.read_manifest(top).layers[0].digest).read_bytes() == noise(1)


def test_an_upload_goes_on_in_the_middle_where_the_registry_keeps_what_it_got(keeping_registry, layout):
    top = artefact(layout, noise(1))
    Registry(environment={}).push(layout, top, f"{keeping_registry.host}/a:v1")
    blob = layout.read_manifest(top).layers[0]
    assert keeping_registry.blobs[blob.digest] == noise(1)
    assert keeping_registry.ranges == ["0-2999999", f"{keeping_registry.BREAKS}-2999999"]


def test_a_registry_that_changes_a_blob_is_caught(registry, start_proxy, layout, there):
    content = b"the model" * 1000
    top = artefact(layout, content)
    Registry(environment={}).push(layout, top, f"{registry.host}/a:v1")
    proxy = start_proxy(registry)
    proxy.change = lambda data: data.replace(b"the model", b"the m0del")
    blob = layout.read_manifest(top).layers[0]
    with pytest.raises(RegistryError, match=f"gave other bytes for {blob.digest}"):
        Registry(environment={}).pull(f"{proxy.host}/a:v1", there)
    assert not there.path(blob.digest).exists()
    assert not there.path(top.digest).exists(), "a manifest without its blobs is listed"


def test_a_registry_that_gives_too_much_is_caught(registry, layout, there):
    top = artefact(layout, b"short")
    Registry(environment={}).push(layout, top, f"{registry.host}/a:v1")
    blob = layout.read_manifest(top).layers[0]
    registry.blob(blob.digest).write_bytes(b"longer than that")
    with pytest.raises(RegistryError, match="gave other bytes"):
        Registry(environment={}).pull(f"{registry.host}/a:v1", there)


def test_a_manifest_that_was_changed_is_caught(registry, start_proxy, layout, there):
    top = artefact(layout, b"x")
    Registry(environment={}).push(layout, top, f"{registry.host}/a:v1")
    proxy = start_proxy(registry)
    proxy.change = lambda data: data.replace(b'"application/x-test"', b'"application/x-tset"')
    with pytest.raises(RegistryError, match="gave another manifest"):
        Registry(environment={}).pull(f"{proxy.host}/a@{top.digest}", there)


@pytest.fixture
def users() -> str:
    bcrypt = pytest.importorskip("bcrypt", reason="pip install bcrypt, which a registry's users are written with")
    return f"ann:{bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}\n"


def test_who_asks_is_told_from_where_docker_keeps_it(start_registry, users, layout, there, tmp_path):
    registry = start_registry(users)
    top = artefact(layout, noise(1, 1000))
    (tmp_path / "docker").mkdir()
    # echo -n ann:secret | base64
    auths = {"auths": {registry.host: {"auth": "YW5uOnNlY3JldA=="}}}
    (tmp_path / "docker/config.json").write_text(json.dumps(auths))
    known = {"DOCKER_CONFIG": str(tmp_path / "docker")}
    Registry(environment=known).push(layout, top, f"{registry.host}/a:v1")
    own = {
        "TIFFIN_REGISTRY": registry.host,
        "TIFFIN_REGISTRY_USERNAME": "ann",
        "TIFFIN_REGISTRY_PASSWORD": "secret",
    }
    Registry(environment=own).pull(f"{registry.host}/a:v1", there)
    there.verify_all(top)


def test_nobody_and_the_wrong_password_are_told_apart(start_registry, users, layout):
    registry = start_registry(users)
    top = artefact(layout, b"x")
    with pytest.raises(RegistryError, match="nobody is logged in") as nobody:
        Registry(environment={}).push(layout, top, f"{registry.host}/a:v1")
    assert f"docker login {registry.host}" in (nobody.value.hint or "")
    wrong = {
        "TIFFIN_REGISTRY": registry.host,
        "TIFFIN_REGISTRY_USERNAME": "ann",
        "TIFFIN_REGISTRY_PASSWORD": "guessed-it",
    }
    with pytest.raises(RegistryError, match=r"credentials from TIFFIN_REGISTRY_USERNAME are not taken") as error:
        Registry(environment=wrong).push(layout, top, f"{registry.host}/a:v1")
    assert "guessed-it" not in str(error.value) + str(error.value.hint)


def test_a_credential_helper_is_asked(start_registry, users, layout, tmp_path, monkeypatch):
    registry = start_registry(users)
    helper = tmp_path / "bin" / "docker-credential-tests"
    helper.parent.mkdir()
    helper.write_text('#!/bin/sh\ncat > /dev/null\necho \'{"Username": "ann", "Secret": "secret"}\'\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{helper.parent}:{os.environ['PATH']}")
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": "tests"}))
    environment = {"DOCKER_CONFIG": str(tmp_path)}
    Registry(environment=environment).push(layout, artefact(layout, b"x"), f"{registry.host}/a:v1")


@pytest.mark.parametrize(
    ("path", "said"),
    [("a:v9", "there is no .*a:v9"), ("nobody:v1", "has no repository nobody|there is no .*nobody:v1")],
)
def test_what_is_not_there_is_named(registry, layout, there, path, said):
    Registry(environment={}).push(layout, artefact(layout, b"x"), f"{registry.host}/a:v1")
    with pytest.raises(RegistryError, match=said):
        Registry(environment={}).pull(f"{registry.host}/{path}", there)


def test_a_port_where_nobody_listens_is_named(layout, monkeypatch):
    monkeypatch.setattr("tiffin.oci.connection.PAUSES", (0.0,))
    with pytest.raises(RegistryError, match=r"127\.0\.0\.1:1 cannot be reached"):
        Registry(environment={}).push(layout, artefact(layout, b"x"), "127.0.0.1:1/a:v1")


def test_a_digest_that_is_another_is_not_pushed(registry, layout):
    other = "sha256:" + hashlib.sha256(b"other").hexdigest()
    with pytest.raises(RegistryError, match="expected to push"):
        Registry(environment={}).push(layout, artefact(layout, b"x"), f"{registry.host}/a@{other}")

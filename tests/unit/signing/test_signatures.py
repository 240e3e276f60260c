"""Signatures made and checked here and by the command of model-signing; every way one can be wrong."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("model_signing", reason="pip install 'tiffin[sign]'")

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tiffin.errors import SignatureError
from tiffin.signing import checking, keys, making
from tiffin.signing.kept import Signatures


def write_pair(directory: Path, name: str, key=None, password: str = "") -> tuple[Path, Path]:
    key = key or ec.generate_private_key(ec.SECP256R1())
    private, public = directory / f"{name}.pem", directory / f"{name}.pub"
    encryption = (
        serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    )
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    )
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return write_pair(tmp_path, "team")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    (path / "sub").mkdir(parents=True)
    (path / "model.onnx").write_bytes(b"weights")
    (path / "sub/config.json").write_text("{}")
    return path


def check(model: Path, *public: Path):
    return checking.check(model, checking.beside(model), [keys.read(str(key)) for key in public], what="m")


def test_what_was_signed_is_verified(model, pair):
    fingerprint = making.sign(model, pair[0], model / "model.sig")
    found = check(model, pair[1])
    assert found.by == fingerprint == keys.read(str(pair[1])).fingerprint
    assert found.signature == model / "model.sig"


@pytest.mark.parametrize("name", ["model.onnx.sig", "model.sig"])
def test_a_single_file_has_its_signature_beside_it(model, pair, name):
    making.sign(model / "model.onnx", pair[0], model / name)
    check(model / "model.onnx", pair[1])
    (model / "model.onnx").write_bytes(b"other")
    with pytest.raises(SignatureError, match="has changed since"):
        check(model / "model.onnx", pair[1])


def change(model: Path) -> None:
    (model / "model.onnx").write_bytes(b"Weights")


def add(model: Path) -> None:
    (model / "sub/more.pkl").write_bytes(b"x")


def remove(model: Path) -> None:
    (model / "sub/config.json").unlink()


def add_for_git(model: Path) -> None:
    (model / ".gitattributes").write_text("x")


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (change, r"model\.onnx has changed since the signature model\.sig by the key"),
        (add, r"sub/more\.pkl is no part of the signature model\.sig"),
        (remove, r"sub/config\.json is missing, which is part of"),
        (add_for_git, r"\.gitattributes is no part of"),
    ],
)
def test_what_changed_is_named_with_the_key(model, pair, tamper, said):
    fingerprint = making.sign(model, pair[0], model / "model.sig")
    tamper(model)
    with pytest.raises(SignatureError, match=said) as error:
        check(model, pair[1])
    assert fingerprint[:16] in error.value.message


def test_what_is_not_signed_is_refused(model, pair):
    with pytest.raises(
        SignatureError, match=r"m is not signed: a signature by the key [0-9a-f]{16} \(.*team\.pub\)"
    ):
        check(model, pair[1])


def test_another_key_is_named_with_those_that_count(model, pair, tmp_path):
    other = write_pair(tmp_path, "other")
    fingerprint = making.sign(model, other[0], model / "model.sig")
    with pytest.raises(SignatureError, match=f"signed by the key {fingerprint[:16]}") as error:
        check(model, pair[1])
    assert keys.read(str(pair[1])).fingerprint[:16] in error.value.message


def test_one_signature_by_one_of_several_keys_is_enough(model, pair, tmp_path):
    other = write_pair(tmp_path, "other", ec.generate_private_key(ec.SECP384R1()))
    making.sign(model, other[0], model / "a.sig")
    making.sign(model, pair[0], model / "b.sig", leave_out=[model / "a.sig"])
    assert check(model, pair[1]).signature.name == "b.sig"
    assert check(model, other[1]).signature.name == "a.sig"
    check(model, pair[1], other[1])


def test_a_signature_that_claims_another_key_is_refused(model, pair, tmp_path):
    other = write_pair(tmp_path, "other")
    making.sign(model, other[0], model / "model.sig")
    found = json.loads((model / "model.sig").read_text())
    found["verificationMaterial"]["publicKey"]["hint"] = keys.read(str(pair[1])).fingerprint
    (model / "model.sig").write_text(json.dumps(found))
    with pytest.raises(SignatureError, match=r"model\.sig of m is not by the key"):
        check(model, pair[1])


def test_a_statement_that_was_changed_is_refused(model, pair):
    making.sign(model, pair[0], model / "model.sig")
    found = json.loads((model / "model.sig").read_text())
    payload = base64.b64decode(found["dsseEnvelope"]["payload"]).replace(b'"model.onnx"', b'"other.onnx"')
    found["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    (model / "model.sig").write_text(json.dumps(found))
    (model / "model.onnx").rename(model / "other.onnx")
    with pytest.raises(SignatureError, match=r"is not by the key .*, as it says: it was changed"):
        check(model, pair[1])


def test_a_signature_of_another_model_is_refused(model, pair, tmp_path):
    (tmp_path / "else").mkdir()
    (tmp_path / "else/x").write_text("x")
    making.sign(tmp_path / "else", pair[0], model / "model.sig")
    with pytest.raises(SignatureError, match="is not what was signed"):
        check(model, pair[1])


@pytest.mark.parametrize(
    "content", ["sigstore.bundle", '{"mediaType": "x.sigstore.bundle"}', '["sigstore.bundle"]']
)
def test_what_is_no_signature_is_said_to_be_none(model, pair, content):
    (model / "model.sig").write_text(content)
    with pytest.raises(SignatureError, match=r"expected a signature of model-signing in .*model\.sig"):
        check(model, pair[1])


def test_a_file_of_another_kind_that_ends_in_sig_is_no_signature(model, pair):
    (model / "model.sig").write_bytes(b"\x80\x04weights")
    with pytest.raises(SignatureError, match="is not signed"):
        check(model, pair[1])


def test_links_are_followed(model, pair):
    (model / "link").symlink_to("model.onnx")
    making.sign(model, pair[0], model / "model.sig")
    check(model, pair[1])
    (model / "link").unlink()
    (model / "link").write_bytes(b"other")
    with pytest.raises(SignatureError, match="link has changed"):
        check(model, pair[1])


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "model_signing", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_of_model_signing_verifies_what_is_signed_here(model, pair, tmp_path):
    making.sign(model, pair[0], tmp_path / "m.sig")
    verify = ("verify", "key", "--signature", str(tmp_path / "m.sig"), "--public_key", str(pair[1]), str(model))
    done = run(*verify)
    assert done.returncode == 0, done.stderr
    (model / "model.onnx").write_bytes(b"other")
    assert run(*verify).returncode != 0


def test_what_the_command_of_model_signing_signs_is_verified_here(model, pair):
    (model / ".gitattributes").write_text("it leaves this out")
    signature = str(model / "model.sig")
    done = run("sign", "key", "--signature", signature, "--private_key", str(pair[0]), str(model))
    assert done.returncode == 0, done.stderr
    check(model, pair[1])
    (model / "model.onnx").write_bytes(b"other")
    with pytest.raises(SignatureError, match="has changed"):
        check(model, pair[1])


def test_a_signature_that_leaves_files_out_is_refused(model, pair):
    options = ("--ignore-paths", str(model / "model.onnx"))
    signature = str(model / "model.sig")
    done = run("sign", "key", "--signature", signature, "--private_key", str(pair[0]), *options, str(model))
    assert done.returncode == 0, done.stderr
    with pytest.raises(SignatureError, match=r"leaves model\.onnx out"):
        check(model, pair[1])


def test_a_key_may_have_a_password(model, tmp_path):
    private, public = write_pair(tmp_path, "locked", password="open")
    making.sign(model, private, model / "model.sig", password="open")
    check(model, public)
    with pytest.raises(SignatureError, match="is encrypted, and no password"):
        making.sign(model, private, model / "model.sig")
    with pytest.raises(SignatureError, match="the password is wrong"):
        making.sign(model, private, model / "model.sig", password="guess")


def test_keys_that_cannot_be_used_are_named(tmp_path, pair):
    (tmp_path / "text").write_text("hello")
    strong = write_pair(tmp_path, "rsa", rsa.generate_private_key(65537, 2048))
    odd = write_pair(tmp_path, "odd", ec.generate_private_key(ec.SECP256K1()))
    for text, said in (
        (str(tmp_path / "nothing"), "cannot be read"),
        (str(tmp_path / "text"), "expected a public key"),
        (str(pair[0]), "found a private one"),
        (str(strong[1]), "found RSAPublicKey"),
        (str(odd[1]), "found secp256k1"),
    ):
        with pytest.raises(SignatureError, match=said):
            keys.read(text)
    assert keys.read(pair[1].read_text()).fingerprint == keys.read(str(pair[1])).fingerprint


def test_signatures_are_kept_one_for_each_key(model, pair, tmp_path):
    shelf = Signatures(tmp_path / "store")
    assert shelf.of("ab" * 32) == []
    fingerprint = making.sign(model, pair[0], shelf.place("ab" * 32, keys.read(str(pair[1])).fingerprint))
    (kept,) = shelf.of("ab" * 32)
    assert kept.name == f"{fingerprint[:16]}.sig"
    other = Signatures(tmp_path / "other")
    assert other.add("cd" * 32, kept.read_bytes()).name == kept.name
    with pytest.raises(SignatureError):
        other.add("cd" * 32, b"{}")
    assert len(other.of("cd" * 32)) == 1

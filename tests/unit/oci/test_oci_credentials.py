import base64
import json

import pytest

from tiffin.errors import AuthorError, RegistryError
from tiffin.oci import credentials
from tiffin.oci.reference import HUB


def basic(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def config(tmp_path, **content):
    (tmp_path / "config.json").write_text(json.dumps(content))
    return {"DOCKER_CONFIG": str(tmp_path)}


def test_own_variables_are_sent_to_the_registry_they_name_only():
    env = {
        "TIFFIN_REGISTRY": "https://ghcr.io/team",
        "TIFFIN_REGISTRY_USERNAME": "ann",
        "TIFFIN_REGISTRY_PASSWORD": "secret",
    }
    found = credentials.find("ghcr.io", "team/iris", env)
    assert found is not None
    assert base64.b64decode(found.basic) == b"ann:secret"
    assert credentials.find("docker.io", "team/iris", env) is None


@pytest.mark.parametrize(
    "env",
    [
        {"TIFFIN_REGISTRY_TOKEN": "t"},
        {"TIFFIN_REGISTRY": "ghcr.io", "TIFFIN_REGISTRY_USERNAME": "ann"},
        {"TIFFIN_REGISTRY": "ghcr.io", "TIFFIN_REGISTRY_PASSWORD": "secret"},
    ],
)
def test_half_of_the_variables_is_an_error(env):
    with pytest.raises(AuthorError, match="TIFFIN_REGISTRY"):
        credentials.find("ghcr.io", "iris", env)


@pytest.mark.parametrize(
    ("registry", "key"),
    [
        ("ghcr.io", "ghcr.io"),
        ("ghcr.io", "https://ghcr.io"),
        ("ghcr.io", "ghcr.io/team"),
        ("ghcr.io", "ghcr.io/team/iris"),
        (HUB, f"https://index.{HUB}/v1/"),
    ],
)
def test_entries_are_found_however_the_registry_is_spelt(tmp_path, registry, key):
    env = config(tmp_path, auths={key: {"auth": basic("ann:se:cret")}, "other.io": {"auth": basic("bob:x")}})
    found = credentials.find(registry, "team/iris", env)
    assert found is not None
    assert (found.username, found.password) == ("ann", "se:cret")


def test_an_entry_for_another_part_of_the_registry_is_not_used(tmp_path):
    env = config(tmp_path, auths={"ghcr.io/team": {"auth": basic("ann:secret")}})
    assert credentials.find("ghcr.io", "teammates/iris", env) is None


def test_tokens_are_read(tmp_path):
    env = config(tmp_path, auths={"a.io": {"identitytoken": "i"}, "b.io": {"registrytoken": "r"}})
    assert credentials.find("a.io", "x", env).refresh == "i"
    assert credentials.find("b.io", "x", env).bearer == "r"


@pytest.mark.parametrize("auth", ["not base64!", basic("without a colon")])
def test_a_broken_entry_is_named_without_being_shown(tmp_path, auth):
    env = config(tmp_path, auths={"a.io": {"auth": auth}})
    with pytest.raises(AuthorError, match=r"config\.json is not name:password") as error:
        credentials.find("a.io", "x", env)
    assert auth not in str(error.value)


def test_a_file_that_is_no_json_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(AuthorError, match=r"expected a JSON object in .*config\.json"):
        credentials.find("a.io", "x", {"DOCKER_CONFIG": str(tmp_path)})


def test_a_helper_that_is_not_installed_is_named(tmp_path):
    env = config(tmp_path, credHelpers={"a.io": "of-nobody"})
    with pytest.raises(RegistryError, match="docker-credential-of-nobody, which is not installed"):
        credentials.find("a.io", "x", env)
    assert credentials.find("b.io", "x", env) is None


def test_credentials_are_never_shown():
    found = credentials.Credentials(username="ann", password="secret", refresh="r", bearer="b", source="a file")
    assert repr(found) == "Credentials(source='a file')"
    assert "secret" not in f"{found}"

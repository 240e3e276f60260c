import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.errors import AuthorError
from tiffin.oci import reference
from tiffin.oci.reference import Reference, parse

DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest"),
    [
        ("iris", "docker.io", "library/iris", "", ""),
        ("iris:v1", "docker.io", "library/iris", "v1", ""),
        ("ann/iris:v1", "docker.io", "ann/iris", "v1", ""),
        ("docker.io/iris", "docker.io", "library/iris", "", ""),
        ("index.docker.io/ann/iris", "docker.io", "ann/iris", "", ""),
        ("localhost/iris", "localhost", "iris", "", ""),
        ("localhost:5000/iris:v1", "localhost:5000", "iris", "v1", ""),
        ("127.0.0.1:5000/a/b/c", "127.0.0.1:5000", "a/b/c", "", ""),
        ("[::1]:5000/iris", "[::1]:5000", "iris", "", ""),
        (f"ghcr.io/a/b@{DIGEST}", "ghcr.io", "a/b", "", DIGEST),
        (f"ghcr.io/a/b:v1@{DIGEST}", "ghcr.io", "a/b", "v1", DIGEST),
    ],
)
def test_references_are_read_as_docker_reads_them(text, registry, repository, tag, digest):
    assert parse(text) == Reference(registry=registry, repository=repository, tag=tag, digest=digest)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no repository"),
        ("ghcr.io/", "is no repository"),
        ("ghcr.io/Iris", "lower case"),
        ("ghcr.io/iris:", "a tag is"),
        ("ghcr.io/iris:-v1", "a tag is"),
        ("ghcr.io/iris:" + "v" * 129, "a tag is"),
        ("ghcr.io/iris@sha256:short", "64 hexadecimal"),
        ("ghcr.io/a//b", "is no repository"),
        ("ghcr.io/../b", "is no repository"),
        ("user:pass@ghcr.io/iris", "64 hexadecimal"),
        ("gh cr.io/iris", "is no host"),
        ("https://ghcr.io/iris", "is no"),
    ],
)
def test_what_is_wrong_with_a_reference_is_said(text, said):
    with pytest.raises(AuthorError, match=said):
        parse(text)


@given(st.text(max_size=40))
def test_any_text_is_a_reference_that_reads_back_or_a_clear_error(text):
    try:
        found = parse(text)
    except AuthorError:
        return
    assert parse(str(found)) == found


@pytest.mark.parametrize(
    "registry", ["localhost", "localhost:5000", "127.0.0.1:1", "127.8.0.1", "[::1]:5000", "a.localhost"]
)
def test_this_machine_is_asked_in_plain_http(registry):
    assert reference.is_loopback(registry)


@pytest.mark.parametrize(
    "registry", ["ghcr.io", "10.0.0.1:5000", "localhost.example.com", "127.0.0.1.example.com:80"]
)
def test_any_other_machine_is_not(registry):
    assert not reference.is_loopback(registry)


def test_docker_hub_answers_at_another_host():
    assert parse("iris").host == "registry-1.docker.io"
    assert parse("ghcr.io/iris").host == "ghcr.io"

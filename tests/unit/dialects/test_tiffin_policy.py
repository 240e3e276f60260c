"""``policy`` of Tiffin's own file."""

import json

import pytest

from tiffin.dialects import parse, tiffin_writing
from tiffin.errors import SpecError
from tiffin.spec import Policy

PEM = "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n"


def read(policy, **more):
    spec = {"model": "model.joblib", "policy": policy, **more}
    document = {"apiVersion": "tiffin.dev/v1", "kind": "Deployment", "metadata": {"name": "iris"}, "spec": spec}
    (found,) = parse(json.dumps(document), base="/flowers")
    return found


def test_keys_are_files_beside_the_file_or_written_out():
    found = read({"requireSignature": {"keys": ["keys/team.pub", "/etc/keys/a.pub", PEM]}})
    keys = ("/flowers/keys/team.pub", "/etc/keys/a.pub", PEM)
    assert found.policy == Policy(require_signature=True, keys=keys)


def test_it_holds_for_every_component_of_every_variant():
    found = read(
        {"requireSignature": True},
        transformer={"class": "features:Features"},
        variants={"new": {"model": "new.joblib", "weight": "10%"}},
    )
    every = [component for variant in found.all_variants for component in variant.components]
    assert len(every) == 3
    assert {component.policy for component in every} == {Policy(require_signature=True)}


@pytest.mark.parametrize("policy", [{"requireSignature": False}])
def test_it_can_be_said_that_none_is_required(policy):
    assert read(policy).policy == Policy()


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({}, "spec.policy"),
        ({"requireSignature": "yes"}, "spec.policy.requireSignature"),
        ({"requireSignature": {}}, "spec.policy.requireSignature.keys"),
        ({"requireSignature": {"keys": []}}, "spec.policy.requireSignature.keys"),
        ({"requireSignature": {"keys": [1]}}, "spec.policy.requireSignature.keys"),
        ({"requireSignatures": True}, "requireSignature"),
        ({"requireSignature": {"keys": ["a"], "identities": []}}, "identities"),
    ],
)
def test_what_is_not_understood_is_refused(policy, said):
    with pytest.raises(SpecError, match=said):
        read(policy)


@pytest.mark.parametrize("policy", [{"requireSignature": True}, {"requireSignature": {"keys": ["/a.pub", PEM]}}])
def test_what_is_written_reads_back(policy):
    document, differences = tiffin_writing.write(read(policy))
    assert document["spec"]["policy"] == policy
    assert not differences

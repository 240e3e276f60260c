"""What of a manifest has to be built and pushed before a cluster can run it."""

from pathlib import Path

import pytest

from tiffin.cli import deploy


def document(spec, kind="Deployment", version="tiffin.dev/v1"):
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "iris"}, "spec": spec}


@pytest.mark.parametrize(
    ("spec", "needed"),
    [
        ({"model": {"uri": "s3://b/m"}}, []),
        ({"service": "service:Iris"}, [("service", "base", "service:Iris", "")]),
        ({"service": {"target": "a:B", "directory": "src"}}, [("service", "base/src", "a:B", "")]),
        ({"service": {"bundle": "iris:v1"}}, [("service", "base", "", "iris:v1")]),
        ({"service": {"bundle": "registry.example.com/iris:v1"}}, []),
        ({"service": {"bundle": "oci://registry/iris:v1"}}, []),
        ({"class": {"target": "iris:Iris"}}, [("class", "base", "iris:Iris", "")]),
        (
            {"model": {"uri": "s3://b/m"}, "variants": [{"name": "b", "class": "c:D"}]},
            [("class", "base", "c:D", "")],
        ),
    ],
)
def test_services_and_classes_of_this_machine_are_built(spec, needed):
    found = list(deploy.needed(document(spec), Path("base")))
    assert [(one.kind, str(one.directory), one.target, one.bundle) for one in found] == needed


def test_objects_of_others_are_applied_as_they_are():
    isvc = document({"predictor": {"service": "x:Y"}}, "InferenceService", "serving.kserve.io/v1beta1")
    assert not list(deploy.needed(isvc, Path()))


def test_a_server_judges_what_is_not_built_yet_as_if_it_were():
    found = [
        document({"service": {"directory": "src"}, "resources": {"cpu": 1}}),
        document({"variants": [{"class": "c:D"}]}),
    ]
    service, other = deploy.rehearsed(found, "registry.example.com/team")
    assert service["spec"]["service"]["bundle"] == "registry.example.com/team/rehearsal:0"
    assert service["spec"]["resources"] == {"cpu": 1}
    assert other["spec"]["variants"][0]["class"]["target"] == "c:D"
    assert not list(deploy.needed(service, Path()))
    assert list(deploy.needed(found[0], Path()))  # what was given is as it was

"""``pod`` and the autoscaler of Tiffin's own file: for a cluster; one machine says that it has none."""

import json

import pytest

from tiffin.dialects import parse, read_object
from tiffin.errors import SpecError
from tiffin.spec import Pod

OVERLAY = {
    "nodeSelector": {"disk": "ssd"},
    "containers": [{"name": "server", "env": [{"name": "A", "value": "1"}]}],
    "securityContext": None,
}
POD = {
    "labels": {"a": "b"},
    "annotations": {"c": "d"},
    "container": "server",
    "spec": OVERLAY,
    "strategy": {"type": "Recreate"},
    "disruption": {"minAvailable": 1},
    "progressDeadline": "90s",
    "readOnly": False,
}


def document(**spec):
    head = {"apiVersion": "tiffin.dev/v1", "kind": "Deployment", "metadata": {"name": "iris"}}
    return {**head, "spec": {"model": "s3://a/b", **spec}}


def on_machine(written):
    (found,) = parse(json.dumps(written))
    return found


def test_a_pod_is_what_was_written():
    (part,) = read_object(document(pod=POD)).components
    assert part.pod == Pod(
        main="server",
        spec={name: value for name, value in OVERLAY.items() if value is not None},
        labels={"a": "b"},
        annotations={"c": "d"},
        strategy={"type": "Recreate"},
        disruption={"minAvailable": 1},
        progress_deadline_seconds=90,
        is_read_only=False,
    )


def test_every_component_has_pods_of_its_own():
    written = document(
        pod={"labels": {"a": "model"}},
        transformer={"class": "features:Features", "pod": {"labels": {"a": "before"}}},
        variants={"new": {"model": "s3://a/c", "weight": 10, "pod": {"labels": {"a": "new"}}}},
    )
    found = read_object(written)
    assert [part.pod.labels for part in found.components] == [{"a": "model"}, {"a": "before"}]
    assert found.variants[0].components[0].pod.labels == {"a": "new"}
    assert {part.pod.main for part in found.components} == {"main"}


def test_one_machine_says_that_it_has_no_pods():
    scale = {"autoscaler": "keda", "autoscalerSpec": {"triggers": []}}
    found = on_machine(document(pod=POD, scale=scale, replicas={"min": 1, "max": 3}))
    assert found.components[0].pod == Pod()
    assert found.components[0].scaling.autoscaler == ""
    assert [warning.path for warning in found.warnings] == [
        "spec.scale.autoscaler", "spec.scale.autoscalerSpec", "spec.pod",
    ]  # fmt: skip
    assert read_object(document(pod=POD, scale=scale)).warnings == ()


@pytest.mark.parametrize("name", ["hpa", "keda", "knative", "tiffin", "external", "none"])
def test_the_autoscaler_is_the_one_that_is_named(name):
    scale = {"autoscaler": name, "autoscalerSpec": {"behavior": {"scaleUp": {"selectPolicy": "Max"}}}}
    scaling = read_object(document(scale=scale)).components[0].scaling
    assert scaling.autoscaler == name
    assert scaling.autoscaler_spec == scale["autoscalerSpec"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"pod": {"spec": []}}, "spec.pod.spec: expected a mapping"),
        ({"pod": {"nodeSelector": {}}}, "spec.pod.nodeSelector: unknown field"),
        ({"pod": {"labels": {"a": 1}}}, "expected a string"),
        ({"pod": {"progressDeadline": "0s"}}, "above zero"),
        ({"scale": {"autoscaler": "kpa"}}, 'expected "tiffin"'),
    ],
)
def test_what_has_another_form_is_refused(spec, message):
    with pytest.raises(SpecError) as refused:
        on_machine(document(**spec))
    assert message in str(refused.value)

"""One PodSpec laid over another: items are told apart by their keys, arguments follow each other."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.dialects import pods
from tiffin.dialects.kubernetes import quantity

FROM_SECRET = {"secretKeyRef": {"name": "s", "key": "k"}}


@pytest.mark.parametrize(
    ("under", "over", "found"),
    [
        pytest.param({"a": 1}, {"b": 2}, {"a": 1, "b": 2}, id="both"),
        pytest.param({"a": 1}, {"a": None}, {"a": 1}, id="nothing said"),
        pytest.param({"a": {"b": 1}}, {"a": {"c": 2}}, {"a": {"b": 1, "c": 2}}, id="mappings"),
        pytest.param(
            {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
            {"env": [{"name": "C", "value": "4"}, {"name": "A", "value": "3"}]},
            {"env": [{"name": "A", "value": "3"}, {"name": "B", "value": "2"}, {"name": "C", "value": "4"}]},
            id="variables by name",
        ),
        pytest.param(
            {"env": [{"name": "A", "value": "1"}]},
            {"env": [{"name": "A", "valueFrom": FROM_SECRET}]},
            {"env": [{"name": "A", "valueFrom": FROM_SECRET}]},
            id="a source takes the place of a value",
        ),
        pytest.param(
            {"ports": [{"containerPort": 8080, "name": "http"}]},
            {"ports": [{"containerPort": 8080, "protocol": "TCP"}, {"containerPort": 9000}]},
            {"ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"}, {"containerPort": 9000}]},
            id="ports by number",
        ),
        pytest.param(
            {"volumeMounts": [{"mountPath": "/a", "name": "x"}]},
            {"volumeMounts": [{"mountPath": "/a", "name": "y"}, {"mountPath": "/b", "name": "x"}]},
            {"volumeMounts": [{"mountPath": "/a", "name": "y"}, {"mountPath": "/b", "name": "x"}]},
            id="mounts by path",
        ),
        pytest.param(
            {"volumes": [{"name": "v", "emptyDir": {}}]},
            {"volumes": [{"name": "v", "configMap": {"name": "c"}}]},
            {"volumes": [{"name": "v", "configMap": {"name": "c"}}]},
            id="a volume is of one kind",
        ),
        pytest.param(
            {"containers": [{"name": "a", "image": "x"}]},
            {"containers": [{"name": "a", "env": [{"name": "A"}]}, {"name": "b"}]},
            {"containers": [{"name": "a", "image": "x", "env": [{"name": "A"}]}, {"name": "b"}]},
            id="containers by name",
        ),
        pytest.param(
            {"tolerations": [{"key": "a"}]},
            {"tolerations": [{"key": "b"}]},
            {"tolerations": [{"key": "b"}]},
            id="a list without a key is replaced",
        ),
        pytest.param({"command": ["a"]}, {"command": ["b"]}, {"command": ["b"]}, id="a command is replaced"),
        pytest.param(
            {"readinessProbe": {"httpGet": {"path": "/"}, "periodSeconds": 5}},
            {"readinessProbe": {"tcpSocket": {"port": 1}}},
            {"readinessProbe": {"tcpSocket": {"port": 1}, "periodSeconds": 5}},
            id="a probe asks in one way",
        ),
        pytest.param({"env": [{"name": "A"}]}, {"env": ["odd"]}, {"env": ["odd"]}, id="what has no key"),
        pytest.param({"env": "odd"}, {"env": [{"name": "v"}]}, {"env": [{"name": "v"}]}, id="odd below"),
    ],
)  # fmt: skip
def test_one_is_laid_over_the_other(under, over, found):
    before = copy.deepcopy((under, over))
    assert pods.merged(under, over) == found
    assert (under, over) == before


def test_arguments_of_both_are_kept_and_the_runtimes_come_first():
    under, over = {"args": ["--a", "--b=1"], "image": "x"}, {"args": ["--b=2"]}
    assert pods.container(under, over) == {"args": ["--a", "--b=1", "--b=2"], "image": "x"}
    assert pods.container({"image": "x"}, {}) == {"image": "x"}


@pytest.mark.parametrize(
    ("written", "requests", "limits"),
    [
        ({}, {"cpu": "1", "memory": "2Gi"}, {"cpu": "1", "memory": "2Gi"}),
        ({"requests": {"memory": "4Gi"}}, {"cpu": "1", "memory": "4Gi"}, {"cpu": "1", "memory": "4Gi"}),
        ({"limits": {"cpu": "500m"}}, {"cpu": "500m", "memory": "2Gi"}, {"cpu": "500m", "memory": "2Gi"}),
        ({"requests": {"cpu": 0.1}}, {"cpu": 0.1, "memory": "2Gi"}, {"cpu": "1", "memory": "2Gi"}),
        (
            {"limits": {"nvidia.com/gpu": 1, "memory": "8Gi"}},
            {"cpu": "1", "memory": "2Gi"},
            {"cpu": "1", "memory": "8Gi", "nvidia.com/gpu": 1},
        ),
    ],
)
def test_usual_amounts_fill_what_is_not_said_and_fit_what_is(written, requests, limits):
    found = pods.with_usual_resources({"resources": written}, lambda value: quantity(None, value, ""))
    assert found["resources"] == {"requests": requests, "limits": limits}


PLAIN = st.text("ab", max_size=3) | st.integers(0, 3) | st.booleans()
NAMES = st.sampled_from(["env", "ports", "volumes", "tolerations", "httpGet", "exec", "name", "args", "x"])
JSON = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner), max_leaves=8)
SPECS = st.dictionaries(NAMES, JSON, max_size=4)


@given(SPECS, SPECS)
def test_whatever_is_laid_over_is_there_and_a_second_time_changes_nothing(under, over):
    once = pods.merged(under, over)
    assert set(once) >= set(over)
    assert pods.merged(once, over) == once


@given(SPECS)
def test_over_nothing_and_under_nothing_it_is_itself(spec):
    assert pods.merged({}, spec) == spec
    assert pods.merged(spec, {}) == spec


@given(JSON)
def test_filling_touches_texts_and_nothing_else(value):
    assert pods.filled(value, lambda text: text) == value

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.dialects import kubernetes
from tiffin.dialects.documents import Document
from tiffin.dialects.fields import Reader
from tiffin.errors import SpecError
from tiffin.spec import Resources


def reader(**value) -> Reader:
    return Reader(Document(value=value, file="f.yaml"))


@pytest.mark.parametrize(
    ("written", "amount"),
    [
        ("500m", 0.5),
        ("2", 2.0),
        ("0.1", 0.1),
        (".5", 0.5),
        ("1.", 1.0),
        (2, 2.0),
        (0.25, 0.25),
        ("1k", 1000.0),
        ("2Gi", 2.0**31),
        ("1M", 1e6),
        ("1E", 1e18),
        ("1e3", 1000.0),
        ("1E3", 1000.0),
        ("100u", 1e-4),
    ],
)
def test_a_quantity_is_read_as_kubernetes_reads_it(written, amount):
    assert kubernetes.quantity(reader(), written, "cpu") == pytest.approx(amount)


@pytest.mark.parametrize(
    "written", ["", "lots", "-1", -1, "1 Gi", "1gi", "1KiB", True, [], None, "1e999", 10**40, "٣"]
)
def test_what_is_no_quantity_is_refused(written):
    with pytest.raises(SpecError, match="cpu: expected an amount"):
        kubernetes.quantity(reader(), written, "cpu")


@given(st.text(max_size=12) | st.floats() | st.integers())
def test_any_value_is_a_finite_amount_or_is_refused(written):
    try:
        found = kubernetes.quantity(reader(), written, "cpu")
    except SpecError:
        return
    assert 0 <= found < float("inf")
    int(found)


@pytest.mark.parametrize(
    ("resources", "expected", "warned"),
    [
        ({}, Resources(), []),
        ({"requests": {"cpu": "1"}}, Resources(cpu=1.0), []),
        (
            {"limits": {"cpu": "1", "memory": "1Ki"}},
            Resources(cpu=1.0, memory_bytes=1024, memory_limit_bytes=1024),
            [],
        ),
        (
            {"requests": {"memory": "1Ki"}, "limits": {"memory": "2Ki"}},
            Resources(memory_bytes=1024, memory_limit_bytes=2048),
            [],
        ),
        ({"requests": {"cpu": "1"}, "limits": {"cpu": "1"}}, Resources(cpu=1.0), []),
        ({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}, Resources(cpu=1.0), ["resources.limits.cpu"]),
        ({"limits": {"nvidia.com/gpu": 1, "amd.com/gpu": 2}}, Resources(gpu=3.0), []),
        ({"requests": {"hugepages-2Mi": 1}}, Resources(), ["resources.requests.hugepages-2Mi"]),
        ({"claims": [{"name": "x"}]}, Resources(), ["resources.claims"]),
    ],
)
def test_requests_or_else_limits_are_what_a_replica_asks_for(resources, expected, warned):
    opened = reader(resources=resources)
    assert kubernetes.resources(opened.root()) == expected
    assert [warning.path for warning in opened.finish()] == warned


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(A)", "x1y1"),
        ("$(LATER)", "$(LATER)"),
        ("$$(A)", "$(A)"),
        ("$A ${A}", "$A ${A}"),
        ("", ""),
    ],
)
def test_a_variable_can_hold_an_earlier_one(text, meant):
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": text}, {"name": "LATER", "value": "2"}]
    assert kubernetes.environment(reader(env=env).root()) == {"A": "1", "B": meant, "LATER": "2"}


def test_a_variable_without_a_value_is_empty_and_one_from_a_secret_is_listed():
    env = [{"name": "A"}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]
    opened = reader(env=env)
    assert kubernetes.environment(opened.root()) == {"A": ""}
    assert [warning.path for warning in opened.finish()] == ["env[1].valueFrom"]


@pytest.mark.parametrize(
    ("metadata", "at"),
    [
        ({"name": "Iris"}, "metadata.name"),
        ({"name": "a" * 64}, "metadata.name"),
        ({"name": "-a"}, "metadata.name"),
        ({"name": "a", "namespace": "b.c"}, "metadata.namespace"),
        ({"name": "a", "labels": {"x": 1}}, "metadata.labels.x"),
        ({"generateName": "a-"}, "metadata.name"),
    ],
)
def test_metadata_that_cannot_name_anything_is_refused(metadata, at):
    with pytest.raises(SpecError) as caught:
        kubernetes.metadata(reader(metadata=metadata).root())
    assert caught.value.at == at

"""What counts as the same answer."""

import json
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiffin.local import comparing
from tiffin.local.comparing import Latencies, Pairs, Tally, differences
from tiffin.spec.recording import Record


def record(answer: Any, status: int = 200, call: str = "a", **fields: Any) -> Record:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    known = {
        "id": call,
        "time": 1.0,
        "seconds": 0.01,
        "method": "POST",
        "path": "/v2/models/m/infer",
        "query": "",
        "headers": {"x-request-id": call},
        "body": b"{}",
        "status": status,
        "answer_headers": {},
        "answer": body,
    }
    return Record(**(known | fields))


def binary(name: str, datatype: str, shape: list[int], data: bytes) -> Record:
    head = json.dumps(
        {
            "model_name": "m",
            "outputs": [
                {
                    "name": name,
                    "datatype": datatype,
                    "shape": shape,
                    "parameters": {"binary_data_size": len(data)},
                }
            ],
        }
    ).encode()
    return record(head + data, answer_headers={"inference-header-content-length": str(len(head))})


def paths(one: Any, other: Any, tolerance: float = 1e-6) -> list[str]:
    ours = one if isinstance(one, Record) else record(one)
    theirs = other if isinstance(other, Record) else record(other)
    return [difference.path for difference in differences(ours, theirs, tolerance)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"a": 1, "b": 2}, {"b": 2, "a": 1}, id="order of keys"),
        pytest.param({"id": "x", "predictions": [1]}, {"id": "y", "predictions": [1]}, id="ids"),
        pytest.param({"meta": {"puid": "x"}, "data": 1}, {"meta": {"puid": "y"}, "data": 1}, id="puids"),
        pytest.param({"p": [0.1234567]}, {"p": [0.12345671]}, id="close numbers"),
        pytest.param({"p": [1e9]}, {"p": [1e9 + 10]}, id="close large numbers"),
        pytest.param([1.0], [1], id="a whole number with and without a point"),
        pytest.param([float("nan")], [float("nan")], id="no numbers"),
        pytest.param(
            {"outputs": [{"name": "a", "shape": [1, 2], "datatype": "FP32", "data": [[1.0, 2.0]]}]},
            {"outputs": [{"name": "a", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}]},
            id="nested and flat tensors",
        ),
        pytest.param(
            {"id": "1", "outputs": [{"name": "a", "shape": [1], "parameters": None, "data": [1]}]},
            {"id": "2", "outputs": [{"name": "a", "shape": [1], "parameters": None, "data": [1]}]},
            id="parameters that are null",
        ),
        pytest.param(b"not json", b"not json", id="text"),
    ],
)
def test_answers_that_say_the_same(one: Any, other: Any) -> None:
    assert paths(one, other) == []


@pytest.mark.parametrize(
    ("one", "other", "where"),
    [
        pytest.param({"predictions": ["cat"]}, {"predictions": ["dog"]}, ["predictions[0]"], id="labels"),
        pytest.param({"predictions": [3]}, {"predictions": [4]}, ["predictions[0]"], id="whole numbers"),
        pytest.param([10_000_000], [10_000_001], ["[0]"], id="large whole numbers"),
        pytest.param({"p": [0.1]}, {"p": [0.2]}, ["p[0]"], id="numbers"),
        pytest.param({"p": [1, 2]}, {"p": [1]}, ["p[]"], id="lengths"),
        pytest.param({"p": 1}, {}, ["p"], id="a key less"),
        pytest.param({"p": None}, {"p": 0}, ["p"], id="nothing and nought"),
        pytest.param([True], [1], ["[0]"], id="true is not one"),
        pytest.param(["1"], [1], ["[0]"], id="text is not a number"),
        pytest.param(b"not json", b"other", ["body"], id="text"),
        pytest.param({"a": 1}, b"not json", ["body"], id="JSON and text"),
        pytest.param({"meta": {"tags": {"a": 1}}}, {"meta": {"tags": {"a": 2}}}, ["meta.tags.a"], id="tags"),
        pytest.param([1e400], [1.0], ["[0]"], id="infinite"),
        pytest.param([10**400], [1.0], ["[0]"], id="beyond a float"),
    ],
)
def test_answers_that_differ(one: Any, other: Any, where: list[str]) -> None:
    assert paths(one, other) == where
    assert paths(other, one) == where


def test_statuses_come_first_and_equal_refusals_are_equal() -> None:
    assert paths(record([1]), record([1], status=500)) == ["status"]
    assert paths(record({"error": "x"}, status=400), record({"error": "y"}, status=400)) == []


def test_binary_tensors_are_compared_by_their_elements() -> None:
    one = binary("p", "FP32", [2], struct.pack("<2f", 0.5, 1.5))
    assert paths(one, binary("p", "FP32", [2], struct.pack("<2f", 0.5, 1.5000001))) == []
    assert paths(one, binary("p", "FP32", [2], struct.pack("<2f", 0.5, 1.6))) == ["outputs.p.data[1]"]
    text = {"model_name": "m", "outputs": [{"name": "p", "datatype": "FP32", "shape": [2], "data": [0.5, 1.5]}]}
    assert paths(one, text) == []
    labels = binary("l", "BYTES", [2], b"\x03\0\0\0cat\x03\0\0\0dog")
    assert paths(labels, binary("l", "BYTES", [2], b"\x03\0\0\0cat\x03\0\0\0cow")) == ["outputs.l.data[1]"]


@pytest.mark.parametrize("length", ["9" * 30, "-1", "x", "5"])
def test_broken_binary_answers_are_compared_as_bytes(length: str) -> None:
    one = record(b'{"outputs": [1]}', answer_headers={"inference-header-content-length": length})
    other = record(b'{"outputs": [2]}', answer_headers={"inference-header-content-length": length})
    assert paths(one, one) == []
    assert paths(one, other) != []


def test_nested_as_deep_as_one_likes() -> None:
    deep = b"[" * 50_000 + b"]" * 50_000
    assert paths(deep, deep + b" ") in ([], ["body"])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)


@given(JSON, JSON)
@settings(max_examples=60, deadline=None)
def test_anything_equals_itself_and_comparing_never_fails(one: Any, other: Any) -> None:
    assert paths(one, one) == []
    for difference in differences(record(one), record(other), 1e-6):
        assert len(difference.reference) <= comparing.MOST_CHARACTERS
        assert len(difference.shadow) <= comparing.MOST_CHARACTERS


@given(st.binary(max_size=60), st.binary(max_size=60), st.text("0123456789", max_size=3))
def test_any_bytes_can_be_compared(one: bytes, other: bytes, length: str) -> None:
    headers = {"inference-header-content-length": length}
    differences(record(one, answer_headers=headers), record(other, answer_headers=headers), 1e-6)


def test_a_tally_counts_and_keeps_a_few_short_examples() -> None:
    tally = Tally()
    for number in range(100):
        label = "x" * 10_000 if number % 2 else "cat"
        tally.add(record({"p": ["cat"]}, time=60.0 * (number // 10)), record({"p": [label]}), 1e-6)
    told = tally.summary()
    assert (told["compared"], told["equal"], told["agreement"]) == (100, 50, 0.5)
    assert told["differencesByPath"] == {"p[*]": 50}
    assert told["statuses"] == {"200 200": 100}
    assert len(told["examples"]) == comparing.MOST_EXAMPLES
    assert len(json.dumps(told)) < 50_000
    assert [minute[1] for minute in told["minutes"]] == [10] * 10
    assert msgspec.json.decode(msgspec.json.encode(tally), type=Tally).summary() == told


def test_the_first_and_the_last_examples_are_kept() -> None:
    tally = Tally()
    for number in range(100):
        tally.add(record({"p": number}), record({"p": -1 - number}), 1e-6)
    kept = [int(example.differences[0].reference) for example in tally.examples]
    assert kept == [*range(10), *range(90, 100)]


def test_as_many_paths_as_one_likes_make_a_bounded_tally() -> None:
    tally = Tally()
    for number in range(500):
        tally.add(record({f"k{number}": 1}), record({f"k{number}": 2}), 1e-6)
    assert len(tally.paths) <= comparing.MOST_PATHS + 1
    assert sum(tally.paths.values()) == 500


def test_quantiles_of_latencies() -> None:
    latencies = Latencies()
    for ms in range(1, 101):
        latencies.add(ms / 1000)
    median = latencies.quantile(0.5)
    assert median is not None
    assert 50 <= median <= 50 * 1.25
    assert Latencies().quantile(0.5) is None
    latencies.add(1e9)
    latencies.add(0.0)


def test_pairs_are_found_in_any_order_and_singles_let_go() -> None:
    pairs = Pairs()
    one, other = record([1], call="a"), record([2], call="a")
    assert pairs.add(one, is_shadow=False) is None
    assert pairs.add(other, is_shadow=True) == (one, other)
    assert pairs.add(other, is_shadow=True) is None
    assert pairs.add(one, is_shadow=False) == (one, other)
    assert len(pairs) == 0
    for number in range(Pairs.MOST + 10):
        pairs.add(record([1], call=str(number)), is_shadow=False)
    assert len(pairs) == Pairs.MOST
    pairs.expire(before=2.0)
    assert len(pairs) == 0
    assert pairs._bytes == 0


def test_large_answers_that_wait_are_bounded_too() -> None:
    pairs = Pairs()
    for number in range(100):
        pairs.add(record(b"x" * 2_000_000, call=str(number)), is_shadow=True)
    assert pairs._bytes <= Pairs.MOST_BYTES

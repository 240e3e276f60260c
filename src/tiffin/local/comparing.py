"""Two answers to the same call: where they differ, and how often. Pure.

JSON is compared by what it says: keys in any order, numbers within a tolerance, whole numbers and labels exactly;
what only names the call (ids, time stamps) does not count. Binary tensors are compared by their elements.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from typing import Any

import msgspec

from tiffin.spec.recording import STREAMED, Record

MOST_DIFFERENCES = 20
"""Differences of one pair that are looked for."""
MOST_CHARACTERS = 200

_NAMES_OF_A_CALL = frozenset({"id", "created", "timestamp", "model_version", "batchId", "request_id"})
_META_OF_A_CALL = frozenset({"puid", "requestPath", "metrics"})
_FORMATS = {
    "BOOL": "?",
    "INT8": "b",
    "UINT8": "B",
    "INT16": "h",
    "UINT16": "H",
    "INT32": "i",
    "UINT32": "I",
    "INT64": "q",
    "UINT64": "Q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
_LENGTH = struct.Struct("<I")


class Difference(msgspec.Struct, frozen=True):
    """Where two answers differ: a path like ``predictions[0].label``, what the one said and the other."""

    path: str
    reference: str
    shadow: str


def differences(reference: Record, shadow: Record, tolerance: float) -> list[Difference]:
    """Where the answers differ, at most ``MOST_DIFFERENCES``; none when they are equal."""
    if reference.status != shadow.status:
        return [Difference("status", str(reference.status), str(shadow.status))]
    if reference.status >= 400:
        return []  # Both refused alike: how they put it is not what is compared.
    if reference.answer == shadow.answer and _header_length(reference) == _header_length(shadow):
        return []
    ours, theirs = content(reference), content(shadow)
    if isinstance(ours, bytes) or isinstance(theirs, bytes):
        return [Difference("body", shortened(ours), shortened(theirs))] if ours != theirs else []
    found: list[Difference] = []
    for difference in _walk("", _without_names(ours), _without_names(theirs), tolerance):
        found.append(difference)
        if len(found) >= MOST_DIFFERENCES:
            break
    return found


def content(record: Record) -> Any:
    """What an answer says: JSON values with tensors as flat lists, or its bytes when it is not JSON."""
    length = _header_length(record)
    data = record.answer
    try:
        value = json.loads(data[:length] if length is not None else data)
    except (ValueError, RecursionError):
        return data
    if record.flags & STREAMED and not isinstance(value, dict | list):
        return data  # Chunks that happen to look like a number.
    if isinstance(value, dict) and isinstance(value.get("outputs"), list):
        try:
            return value | {"outputs": _tensors(value["outputs"], data, length)}
        except (struct.error, TypeError, ValueError, AttributeError):
            return data
    return value


def _header_length(record: Record) -> int | None:
    text = record.answer_headers.get("inference-header-content-length", "")
    return int(text) if text.isdecimal() and len(text) < 12 else None


def _tensors(outputs: list[Any], data: bytes, offset: int | None) -> dict[str, Any]:
    """Tensors by name, wherever their elements are: in the JSON, nested or flat, or behind it."""
    at = offset if offset is not None else len(data)
    tensors: dict[str, Any] = {}
    for index, output in enumerate(outputs):
        size = (output.get("parameters") or {}).get("binary_data_size")
        if size is None:
            elements = list(_flat(output.get("data", [])))
        else:
            if size < 0 or at + size > len(data):
                raise ValueError("a tensor beyond the end")
            elements = _elements(data[at : at + size], output.get("datatype", ""))
            at += size
        name = str(output.get("name", index))
        tensors[name] = {"datatype": output.get("datatype"), "shape": output.get("shape"), "data": elements}
    return tensors


def _flat(data: Any) -> Iterator[Any]:
    if not isinstance(data, list):
        yield data
        return
    for element in data:
        if isinstance(element, list):
            yield from _flat(element)
        else:
            yield element


def _elements(data: bytes, datatype: str) -> list[Any]:
    if datatype == "BYTES":
        found: list[Any] = []
        at = 0
        while at < len(data):
            (length,) = _LENGTH.unpack_from(data, at)
            found.append(data[at + 4 : at + 4 + length].decode("utf-8", "backslashreplace"))
            at += 4 + length
        return found
    letter = _FORMATS.get(datatype)
    if letter is None:
        return list(data)
    return list(struct.unpack(f"<{len(data) // struct.calcsize('<' + letter)}{letter}", data))


def _without_names(value: Any) -> Any:
    """The answer without what is different for every call."""
    if not isinstance(value, dict):
        return value
    kept = {key: item for key, item in value.items() if key not in _NAMES_OF_A_CALL}
    if isinstance(kept.get("meta"), dict):
        kept["meta"] = {key: item for key, item in kept["meta"].items() if key not in _META_OF_A_CALL}
    return kept


def _walk(path: str, ours: Any, theirs: Any, tolerance: float) -> Iterator[Difference]:
    """Depth first, without recursion: answers may be nested deeply."""
    waiting = [(path, ours, theirs)]
    while waiting:
        path, ours, theirs = waiting.pop()
        if isinstance(ours, dict) and isinstance(theirs, dict):
            for key in sorted(ours.keys() | theirs.keys(), reverse=True):
                inner = f"{path}.{key}" if path else str(key)
                waiting.append((inner, ours.get(key, _ABSENT), theirs.get(key, _ABSENT)))
        elif isinstance(ours, list) and isinstance(theirs, list):
            if len(ours) != len(theirs):
                yield Difference(f"{path}[]", f"{len(ours)} elements", f"{len(theirs)} elements")
            pairs = list(zip(ours, theirs, strict=False))
            waiting.extend((f"{path}[{index}]", *pairs[index]) for index in range(len(pairs) - 1, -1, -1))
        elif not is_equal(ours, theirs, tolerance):
            yield Difference(path or "body", shortened(ours), shortened(theirs))


class _Absent:
    def __repr__(self) -> str:
        return "nothing"


_ABSENT = _Absent()


def is_equal(one: Any, other: Any, tolerance: float) -> bool:
    """Whether two JSON values without parts are the same: whole numbers and labels exactly."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        if isinstance(one, int) and isinstance(other, int):
            return one == other
        if one == other or (one != one and other != other):
            return True
        try:
            return math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance)
        except OverflowError:
            return False
    return type(one) is type(other) and bool(one == other)


def shortened(value: Any) -> str:
    """A value for people, with a bound."""
    if isinstance(value, bytes):
        text = value[: 4 * MOST_CHARACTERS].decode("utf-8", "backslashreplace")
    elif value is _ABSENT:
        return "nothing"
    elif isinstance(value, str):
        text = json.dumps(value[: 2 * MOST_CHARACTERS], ensure_ascii=False)
    else:
        text = json.dumps(value, ensure_ascii=False, default=str) if not _is_large(value) else str(type(value))
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"


def _is_large(value: Any) -> bool:
    return (isinstance(value, list | dict) and len(value) > MOST_CHARACTERS) or (
        isinstance(value, int) and value.bit_length() > 2000
    )


# -- many pairs ------------------------------------------------------------------------------------------------

MOST_EXAMPLES = 20
MOST_PATHS = 50
_RATIO = 1.25
_FIRST_MS = 0.05
_BUCKETS = 64


class Latencies(msgspec.Struct):
    """Durations counted by bounds that grow by a quarter each, from 0.05 ms to about a minute."""

    counts: list[int] = msgspec.field(default_factory=lambda: [0] * (_BUCKETS + 1))

    def add(self, seconds: float) -> None:
        """Count one."""
        ms = seconds * 1000.0
        index = 0 if ms <= _FIRST_MS else math.ceil(math.log(ms / _FIRST_MS) / math.log(_RATIO) - 1e-9)
        self.counts[min(index, _BUCKETS)] += 1

    def quantile(self, share: float) -> float | None:
        """In milliseconds; the upper bound of its bucket."""
        wanted, seen = share * sum(self.counts), 0
        for index, count in enumerate(self.counts):
            seen += count
            if count and seen >= wanted:
                return bound(index)
        return None

    def summary(self) -> dict[str, Any]:
        """For a report."""
        quantiles = {f"p{share * 100:g}": self.quantile(share) for share in (0.5, 0.9, 0.95, 0.99)}
        buckets = [(round(bound(index), 4), count) for index, count in enumerate(self.counts) if count]
        return {"calls": sum(self.counts), **quantiles, "buckets": buckets}


def bound(index: int) -> float:
    """The upper bound in milliseconds of a bucket."""
    return float(_FIRST_MS * _RATIO**index)


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """A call that was answered differently."""

    id: str
    time: float
    path: str
    request: str
    reference: str
    shadow: str
    differences: tuple[Difference, ...]


class Tally(msgspec.Struct):
    """What comparing two revisions has come to; kept as JSON."""

    compared: int = 0
    equal: int = 0
    paths: dict[str, int] = {}
    statuses: dict[str, int] = {}
    examples: list[Example] = []
    reference: Latencies = msgspec.field(default_factory=Latencies)
    shadow: Latencies = msgspec.field(default_factory=Latencies)
    minutes: list[tuple[int, int, int]] = []
    """Minute since 1970, compared, equal: the last few hours, for a plot."""

    def add(self, reference: Record, shadow: Record, tolerance: float) -> bool:
        """Compare one pair; whether the answers are equal."""
        found = differences(reference, shadow, tolerance)
        self.compared += 1
        self.equal += not found
        self.reference.add(reference.seconds)
        self.shadow.add(shadow.seconds)
        self._count(self.statuses, f"{reference.status} {shadow.status}")
        for path in {_general(difference.path) for difference in found}:
            self._count(self.paths, path)
        if found:
            # The first ones, which stay, and the last ones: what differs today may differ in another way.
            keep = self.examples if len(self.examples) < MOST_EXAMPLES else self._without_one()
            self.examples = [*keep, _example(reference, shadow, found)]
        minute = int(reference.time // 60)
        if not self.minutes or self.minutes[-1][0] < minute:
            self.minutes = [*self.minutes[-239:], (minute, 0, 0)]
        last, compared, equal = self.minutes[-1]
        self.minutes[-1] = (last, compared + 1, equal + (not found))
        return not found

    def _without_one(self) -> list[Example]:
        return self.examples[: MOST_EXAMPLES // 2] + self.examples[MOST_EXAMPLES // 2 + 1 :]

    @staticmethod
    def _count(counts: dict[str, int], key: str) -> None:
        if key in counts or len(counts) < MOST_PATHS:
            counts[key] = counts.get(key, 0) + 1
        else:
            counts["others"] = counts.get("others", 0) + 1

    def summary(self) -> dict[str, Any]:
        """For a report, as JSON values."""
        return {
            "compared": self.compared,
            "equal": self.equal,
            "agreement": self.equal / self.compared if self.compared else None,
            "differencesByPath": dict(sorted(self.paths.items(), key=lambda item: -item[1])),
            "statuses": dict(sorted(self.statuses.items(), key=lambda item: -item[1])),
            "latency": {"reference": self.reference.summary(), "shadow": self.shadow.summary()},
            "examples": [msgspec.to_builtins(example) for example in self.examples],
            "minutes": [list(minute) for minute in self.minutes],
        }


def _general(path: str) -> str:
    """A path with ``[*]`` for indices, so that the rows of a batch count together."""
    parts = path.split("[")
    return parts[0] + "".join(
        "[*]" + part.partition("]")[2] if part[:1] != "]" else "[" + part for part in parts[1:]
    )


def _example(reference: Record, shadow: Record, found: list[Difference]) -> Example:
    return Example(
        id=reference.id,
        time=reference.time,
        path=reference.path,
        request=shortened(reference.body),
        reference=shortened(reference.answer),
        shadow=shortened(shadow.answer),
        differences=tuple(found[:5]),
    )


class Pairs:
    """Finds the two records of a call, which come in any order; what has no partner is let go after a while."""

    MOST = 20_000
    MOST_BYTES = 67_108_864

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, bool], Record] = {}
        self._bytes = 0

    def add(self, record: Record, *, is_shadow: bool) -> tuple[Record, Record] | None:
        """The pair as (reference, shadow), once both were added."""
        partner = self._pop((record.id, not is_shadow))
        if partner is not None:
            return (partner, record) if is_shadow else (record, partner)
        self._pop((record.id, is_shadow))
        self._waiting[record.id, is_shadow] = record
        self._bytes += _size(record)
        while len(self._waiting) > self.MOST or self._bytes > self.MOST_BYTES:
            self._pop(next(iter(self._waiting)))
        return None

    def expire(self, before: float) -> None:
        """Let go of what was answered before this time."""
        for key, record in list(self._waiting.items()):
            if record.time < before:
                self._pop(key)

    def __len__(self) -> int:
        return len(self._waiting)

    def _pop(self, key: tuple[str, bool]) -> Record | None:
        record = self._waiting.pop(key, None)
        if record is not None:
            self._bytes -= _size(record)
        return record


def _size(record: Record) -> int:
    return len(record.body) + len(record.answer) + 512


def is_comparable(record: Record) -> bool:
    """Whether another replica's record can have its id: one that the gateway gave, or a caller sent."""
    return "x-request-id" in record.headers

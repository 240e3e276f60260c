"""Which requests and answers are kept, for replaying and comparing, and what is written of each."""

from __future__ import annotations

import msgspec

TRUNCATED_REQUEST, TRUNCATED_ANSWER, STREAMED, BROKEN = 1, 2, 4, 8
"""Flags of a record: a body was longer than is kept; the answer came in chunks; it was broken off."""

KEPT_HEADERS = frozenset(
    {"accept", "content-type", "inference-header-content-length", "x-request-id", "traceparent", "seldon-puid"}
)
"""Headers that are written down; credentials and cookies never are."""

REPLAYED = "x-tiffin-replay"
"""Requests with this header are never recorded: they were recorded once."""

SECONDS = "x-tiffin-seconds"
"""With this header a replica that records says how long a replayed request took it, as it would be recorded."""

SAMPLING = "sampling.json"
"""The file in a spool directory that says what to record now; without it, nothing is."""


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """A sample of the calls, in Parquet files of at most ``max_bytes`` together; the oldest go first."""

    percent: float = 100.0
    max_bytes: int = 268_435_456
    max_body_bytes: int = 1_048_576


class Spool(msgspec.Struct, frozen=True, kw_only=True):
    """Where a replica writes its calls, as soon and as long as ``directory`` has a file ``sampling.json``."""

    directory: str


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """What to record: ``percent`` of the calls by the hash of their ``x-request-id``, so that a call and its
    mirrored copy are either both taken or none. ``max_spool_bytes`` is for one worker of a replica, on disk and
    not yet collected; what comes beyond it is dropped and counted.
    """

    percent: float = 100.0
    max_body_bytes: int = 1_048_576
    max_spool_bytes: int = 67_108_864


class Record(msgspec.Struct, array_like=True, gc=False):
    """One call as a replica saw it. ``time`` is in seconds since 1970, ``seconds`` how long it took."""

    id: str
    time: float
    seconds: float
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    status: int
    answer_headers: dict[str, str]
    answer: bytes
    flags: int = 0

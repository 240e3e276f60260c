"""Recorded calls, sent again to the replicas of a revision: what they answer now, and how fast."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from tiffin.errors import MissingExtra, ProcessError
from tiffin.local.comparing import Tally
from tiffin.local.recordings import Kept
from tiffin.spec.recording import BROKEN, REPLAYED, SECONDS, STREAMED, TRUNCATED_ANSWER, TRUNCATED_REQUEST, Record

CONCURRENCY = 4
MOST_AT_RECORDED_SPEED = 64
"""Calls at once: one whose time has come should not wait for slow ones before it."""
TIMEOUT_SECONDS = 60.0
_NOT_SENT = frozenset({"x-request-id", "seldon-puid", "traceparent"})
_MOST_ANSWER_BYTES = 67_108_864


@dataclass(frozen=True)
class Replay:
    """What came of it.

    Attributes:
        sent: Calls that were sent.
        left_out: Recorded calls that could not be sent, by reason.
        failed: Calls that got no answer, by reason.
        seconds: How long it took.
        tally: The answers compared with the recorded ones.
    """

    sent: int
    left_out: dict[str, int]
    failed: dict[str, int]
    seconds: float
    tally: Tally

    def summary(self) -> dict[str, Any]:
        """For a report, as JSON values."""
        return {
            "sent": self.sent,
            "leftOut": self.left_out,
            "failed": self.failed,
            "seconds": self.seconds,
            "callsPerSecond": self.sent / self.seconds if self.seconds else None,
            **self.tally.summary(),
        }


def chosen(calls: Sequence[Kept], against: str) -> tuple[list[Kept], dict[str, int]]:
    """The calls worth sending, one for each id, and why others are not: answered by ``against`` itself, cut..."""
    left_out: dict[str, int] = {}
    found: dict[str, Kept] = {}
    for kept in calls:
        reason = _unfit(kept, against) or ("sent already" if kept.record.id in found else "")
        if reason:
            left_out[reason] = left_out.get(reason, 0) + 1
        else:
            found[kept.record.id] = kept
    return list(found.values()), left_out


def _start(kept: Kept) -> float:
    return kept.record.time - kept.record.seconds


def _unfit(kept: Kept, against: str) -> str:
    flags = kept.record.flags
    if kept.revision == against:
        return "answered by this revision"
    if flags & TRUNCATED_REQUEST:
        return "the request was too long to be kept"
    if flags & (TRUNCATED_ANSWER | BROKEN):
        return "the answer was not kept whole"
    return ""


async def replay(
    calls: Sequence[Kept],
    against: str,
    endpoints: Sequence[str],
    *,
    tolerance: float = 1e-6,
    concurrency: int = CONCURRENCY,
    at_recorded_speed: bool = False,
) -> Replay:
    """Send ``calls`` to the replicas at ``endpoints`` (Unix sockets or ``host:port``), in turn.

    ``at_recorded_speed`` keeps the time between calls; otherwise ``concurrency`` are in flight at all times.

    Raises:
        ProcessError: there is no replica.
        MissingExtra: aiohttp is not installed.
    """
    try:
        import aiohttp
    except ImportError:
        raise MissingExtra(
            "replaying needs aiohttp, which is not installed", hint="pip install 'tiffin[gateway,http]'"
        ) from None
    if not endpoints:
        raise ProcessError(f"expected a replica of {against} to send to, found none", hint="scale it up first")
    fit, left_out = chosen(calls, against)
    fit.sort(key=_start)
    tally, failed = Tally(), dict[str, int]()
    if at_recorded_speed:
        concurrency = MOST_AT_RECORDED_SPEED
    began = time.monotonic()
    clients = [_client(aiohttp, endpoint, concurrency) for endpoint in endpoints]
    waiting = iter(enumerate(fit))

    async def one_after_another() -> None:
        for number, kept in waiting:
            session, base = clients[number % len(clients)]
            if at_recorded_speed:
                due = began + _start(kept) - _start(fit[0])
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            try:
                answered = await _send(session, base, kept.record)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                reason = str(error) or type(error).__name__
                failed[reason] = failed.get(reason, 0) + 1
                continue
            tally.add(kept.record, answered, tolerance)

    try:
        await asyncio.gather(*(one_after_another() for _ in range(max(1, min(concurrency, len(fit))))))
    finally:
        for session, _ in clients:
            await session.close()
    return Replay(len(fit), left_out, _bounded(failed), time.monotonic() - began, tally)


def _client(aiohttp: Any, endpoint: str, concurrency: int) -> tuple[Any, str]:
    if endpoint.startswith("/"):
        connector, base = aiohttp.UnixConnector(path=endpoint, limit=concurrency), "http://replica"
    else:
        connector, base = aiohttp.TCPConnector(limit=concurrency), f"http://{endpoint}"
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    return aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False), base


async def _send(session: Any, base: str, record: Record) -> Record:
    import yarl

    headers = {name: value for name, value in record.headers.items() if name not in _NOT_SENT}
    headers |= {REPLAYED: "1", "x-request-id": f"replay-{record.id}"}
    url = yarl.URL(base).with_path(record.path)
    url = yarl.URL(f"{url}?{record.query}", encoded=True) if record.query else url
    began = time.perf_counter()
    async with session.request(
        record.method, url, data=record.body, headers=headers, allow_redirects=False
    ) as response:
        body = await response.content.read(-1)
        if len(body) > _MOST_ANSWER_BYTES:
            raise ValueError("the answer is too long")
        took = time.perf_counter() - began
        with contextlib.suppress(ValueError):  # As it was measured when it was recorded, without the way there.
            took = float(response.headers.get(SECONDS, took))
        is_streamed = "chunked" in response.headers.get("transfer-encoding", "")
        return msgspec.structs.replace(
            record,
            seconds=took,
            status=response.status,
            answer=body,
            answer_headers={name.lower(): value for name, value in response.headers.items()},
            flags=STREAMED if is_streamed else 0,
        )


def _bounded(counts: dict[str, int], most: int = 10) -> dict[str, int]:
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    rest = sum(count for _, count in ordered[most:])
    return dict(ordered[:most]) | ({"others": rest} if rest else {})

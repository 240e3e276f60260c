"""How many calls replicas have in hand and have answered: read from their pages of metrics, a few at once."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping

import msgspec

Address = tuple[str, int]
SECONDS = 2.0
AT_ONCE = 20
MOST_BYTES = 4 * 1024 * 1024
_PROBES = re.compile(rb'endpoint="[^"]*(?:/metrics|healthz|livez|readyz|/health/\w+|/ready|/ping)"')
_HELD = re.compile(rb'tiffin_activator_held\{namespace="([^"]*)",service="([^"]*)"\} (\d+)')


class Counts(msgspec.Struct, frozen=True):
    """Of one replica: calls in hand, calls that wait within it, and calls it ended since it began."""

    active: int = 0
    waiting: int = 0
    calls: int = 0


class Scrape(msgspec.Struct, frozen=True):
    """What came of asking one replica. ``counts`` is ``None`` when its page tells nothing of calls."""

    is_reached: bool = False
    counts: Counts | None = None


class Family(msgspec.Struct, frozen=True):
    """The names that a kind of server gives its numbers; ``own`` calls in hand are the question itself."""

    calls: tuple[bytes, ...]
    active: tuple[bytes, ...] = ()
    waiting: tuple[bytes, ...] = ()
    own: int = 0


FAMILIES = (
    Family((b"tiffin_requests_total",), (b"tiffin_in_flight",), own=1),
    Family((b"vllm:request_success_total",), (b"vllm:num_requests_running",), (b"vllm:num_requests_waiting",)),
    Family(
        (b"nv_inference_request_success", b"nv_inference_request_failure"),
        (b"nv_inference_pending_request_count",),
    ),
    Family((b"model_infer_request_success_total", b"model_infer_request_failure_total")),
    Family((b"request_predict_seconds_count",)),
    Family((b"ts_inference_requests_total",)),
    Family((b":tensorflow:serving:request_count",)),
)
"""Tiffin's, then vLLM, Triton, MLServer, KServe's Python servers, TorchServe, TensorFlow Serving."""


def counts_of(page: bytes) -> Counts | None:
    """From a page of metrics; ``None`` when it has none of the names that are known. Probes are not counted."""
    for family in FAMILIES:
        if any(name in page for name in family.calls):
            return Counts(
                active=max(0, _sum(page, family.active) - family.own),
                waiting=_sum(page, family.waiting),
                calls=_sum(page, family.calls),
            )
    # A replica of Tiffin that was never called has counted nothing yet, but says what it has in hand.
    if b"tiffin_in_flight" in page:
        return Counts(active=max(0, _sum(page, FAMILIES[0].active) - 1))
    return None


def held_of(page: bytes) -> dict[str, int]:
    """From an activator's page: connections that wait, by ``namespace/name`` of their Service."""
    return {f"{one[0].decode()}/{one[1].decode()}": int(one[2]) for one in _HELD.findall(page)}


class Scraper:
    """Asks replicas, at most ``at_once`` together."""

    def __init__(self, *, at_once: int = AT_ONCE, seconds: float = SECONDS) -> None:
        self._slots = asyncio.Semaphore(at_once)
        self._seconds = seconds
        self.asked = 0

    async def replicas(self, asked: Mapping[Address, str]) -> dict[Address, Scrape]:
        """By address, with the path of each page."""
        found = await asyncio.gather(*(self._page(address, path) for address, path in asked.items()))
        return {
            address: Scrape() if page is None else Scrape(True, counts_of(page))
            for address, page in zip(asked, found, strict=True)
        }

    async def pages(self, asked: Mapping[Address, str]) -> dict[Address, bytes | None]:
        """The pages themselves; ``None`` for a replica that did not answer."""
        found = await asyncio.gather(*(self._page(address, path) for address, path in asked.items()))
        return dict(zip(asked, found, strict=True))

    async def held(self, activators: Iterable[Address]) -> dict[str, int] | None:
        """Connections that wait, at all activators together; ``None`` when one of them could not be asked."""
        pages = await asyncio.gather(*(self._page(address, "/metrics") for address in activators))
        total: dict[str, int] = {}
        for page in pages:
            if page is None:
                return None
            for key, count in held_of(page).items():
                total[key] = total.get(key, 0) + count
        return total

    async def _page(self, address: Address, path: str) -> bytes | None:
        async with self._slots:
            self.asked += 1
            try:
                async with asyncio.timeout(self._seconds):
                    return await _get(address, path)
            except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
                return None


async def _get(address: Address, path: str) -> bytes | None:
    """The body of a page; ``None`` for another status than 200. HTTP/1.0, so that it comes in one piece."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        writer.write(f"GET {path} HTTP/1.0\r\nhost: {host}:{address[1]}\r\naccept: text/plain\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if re.match(rb"HTTP/1\.\d 200\b", head) is None:
            return None
        body = bytearray()
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        left = int(length[1]) if length else MOST_BYTES
        while left > 0 and (chunk := await reader.read(min(left, 65536))):
            body += chunk
            left -= len(chunk)
        return bytes(body[:MOST_BYTES])
    finally:
        writer.close()


def _sum(page: bytes, names: tuple[bytes, ...]) -> int:
    total = 0.0
    for name in names:
        at = page.find(name)
        while at >= 0:
            end = page.find(b"\n", at)
            line = page[at : end if end >= 0 else len(page)]
            is_whole = (at == 0 or page[at - 1 : at] == b"\n") and line[len(name) : len(name) + 1] in (b"{", b" ")
            if is_whole and _PROBES.search(line) is None:
                total += _value(line.rpartition(b"}")[2] if b"}" in line else line[len(name) :])
            at = page.find(name, at + len(name))
    return int(total)


def _value(text: bytes) -> float:
    """The number of a series; a time may follow it. What is none counts nothing."""
    parts = text.split()
    try:
        found = float(parts[0]) if parts else 0.0
    except ValueError:
        return 0.0
    return found if 0 <= found < float("inf") else 0.0

"""The scraper against a real replica, and against servers that answer badly."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.integration.activator_world import HOST, free_port, pod

from tiffin.operator.scraping import Counts, Scrape, Scraper


def ask(url: str, body: Any = None) -> None:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data), timeout=20) as answer:
        answer.read()


def test_a_replica_of_tiffin_counts_calls_and_not_the_questions_after_them(
    serving: Callable[..., Any], iris_model: Path
) -> None:
    with serving(str(iris_model), directory=iris_model.parent) as served:
        address = (HOST, served.port)

        def scraped() -> Scrape:
            return asyncio.run(Scraper(seconds=20).replicas({address: "/metrics"}))[address]

        assert scraped() == scraped() == Scrape(True, Counts())
        for path in ("/readyz", "/healthz", "/v2/health/ready", "/v2/health/live"):
            ask(f"http://{HOST}:{served.port}{path}")
        assert scraped() == Scrape(True, Counts())
        for _ in range(3):
            ask(f"http://{HOST}:{served.port}/v1/models/iris:predict", {"instances": [[1.0, 2.0, 3.0, 4.0]]})
        assert scraped() == Scrape(True, Counts(calls=3))


def test_servers_that_answer_badly_are_not_reached_and_hold_nobody_up() -> None:
    def answering(data: bytes, *, stays: bool = False) -> Any:
        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(data)
            await writer.drain()
            if stays:
                await reader.read()

        return handler

    async def scenario() -> None:
        good = b"HTTP/1.0 200 OK\r\n\r\ntiffin_in_flight 3\n"
        async with (
            pod(answering(good)) as fine,
            pod(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", stays=True)) as silent,
            pod(answering(b"HTTP/1.1 404 Not Found\r\n\r\n")) as absent,
            pod(answering(b"what?\r\n\r\n")) as odd,
            pod(answering(b"", stays=True)) as slow,
        ):
            gone = (HOST, free_port())
            scraper = Scraper(seconds=0.5)
            found = await scraper.replicas(dict.fromkeys((fine, silent, absent, odd, slow, gone), "/metrics"))
            assert found[fine] == Scrape(True, Counts(active=2))
            assert found[silent] == Scrape(True, None)
            assert all(found[one] == Scrape() for one in (absent, odd, slow, gone))
            assert await scraper.held([fine]) == {}
            assert await scraper.held([fine, gone]) is None

    asyncio.run(scenario())

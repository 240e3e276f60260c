"""A BentoML-style service in a replica of its own: a real process, real HTTP, bentoml not installed."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from tiffin.kits import waiting
from tiffin.spec import Artefact, Component, ReplicaSpec, ServiceSource

SERVICE = """
from __future__ import annotations

import asyncio
from pathlib import Path
from typing import AsyncGenerator

import bentoml
import numpy as np
from bentoml.exceptions import InvalidArgument

MARKS = Path(__file__).parent

@bentoml.service(traffic={"timeout": 5}, workers=1)
class Iris:
    @bentoml.on_shutdown
    async def down(self):
        (MARKS / "stopped").touch()

    @bentoml.api
    def double(self, x: np.ndarray) -> np.ndarray:
        import bentoml.validators  # modules imported late are still there
        return x * 2

    @bentoml.api
    def size(self, f: Path) -> int:
        return f.stat().st_size

    @bentoml.api
    def refuse(self) -> str:
        raise InvalidArgument("not today")

    @bentoml.api
    def broken(self) -> str:
        raise RuntimeError("not for callers")

    @bentoml.api
    async def count(self, n: int) -> AsyncGenerator[str, None]:
        for i in range(n):
            yield f"{i};"

    @bentoml.api
    async def forever(self) -> AsyncGenerator[str, None]:
        try:
            while True:
                yield "x" * 1000
                await asyncio.sleep(0.001)
        finally:
            (MARKS / "left").touch()
"""


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    (tmp_path / "service.py").write_text(SERVICE)
    spec = ReplicaSpec(
        deployment="iris",
        model_name="iris",
        protocol="named-json",
        component=Component(source=ServiceSource(artefact=Artefact("."), target="service:Iris")),
        path=str(tmp_path),
        ready_file=str(tmp_path / "ready.json"),
    )
    order = tmp_path / "replica.json"
    order.write_bytes(msgspec.json.encode(spec))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tiffin.runtime", "--replica", str(order)], stdout=log, stderr=log
        )

        async def address() -> str | None:
            if process.poll() is not None:
                raise RuntimeError((tmp_path / "log").read_text())
            ready = Path(spec.ready_file)
            return json.loads(ready.read_bytes())["address"] if ready.exists() else None

        try:
            base = asyncio.run(waiting.until(address, seconds=30))
            assert base is not None, (tmp_path / "log").read_text()
            with httpx.Client(base_url=base, timeout=10, verify=False) as client:
                yield client, process
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0, (tmp_path / "log").read_text()
        finally:
            process.kill()
            process.wait()


def test_a_service_answers_over_http(replica, tmp_path):
    client, _ = replica
    reply = client.post("/double", json={"x": [[1, 2.5]]})
    assert (reply.status_code, reply.content) == (200, b"[[2.0, 5.0]]")
    assert reply.headers["server"] == "BentoML Service/Iris"
    assert len(reply.headers["x-bentoml-request-id"]) == 16
    assert client.post("/size", files={"f": ("a.bin", b"12345")}).json() == 5
    assert client.post("/refuse").json() == [{"error": "not today"}]
    assert client.post("/double", content=b"{").status_code == 400
    reply = client.get("/double")
    assert (reply.status_code, reply.text, reply.headers["allow"]) == (405, "Method Not Allowed", "POST")
    assert client.get("/nowhere").text == "Not Found"
    assert client.get("/readyz").text == "\n"
    assert client.get("/schema.json").json()["name"] == "Iris"
    reply = client.post("/count", json={"n": 3})
    assert (reply.text, reply.headers["content-type"]) == ("0;1;2;", "text/event-stream; charset=utf-8")


def test_a_failure_shows_the_authors_frames_in_the_log_and_nothing_to_callers(replica, tmp_path):
    client, _ = replica
    reply = client.post("/broken")
    assert (reply.status_code, "not for callers" in reply.text) == (500, False)
    reply = client.post("/v2/models/broken/infer", json={"inputs": []})
    assert (reply.status_code, "not for callers" in reply.text) == (500, False)
    log = (tmp_path / "log").read_text()
    assert "RuntimeError: not for callers" in log
    frames = [line for line in log.splitlines() if line.startswith("  File ")]
    assert frames
    assert all(str(tmp_path) in line for line in frames), frames


def test_a_stream_ends_when_its_caller_leaves(replica, tmp_path):
    client, _ = replica
    with client.stream("POST", "/forever") as reply:
        assert next(reply.iter_bytes())

    async def left() -> bool | None:
        return (tmp_path / "left").exists() or None

    assert asyncio.run(waiting.until(left, seconds=10))


def test_a_service_hears_that_it_stops(replica, tmp_path):
    _, process = replica
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert (tmp_path / "stopped").exists()

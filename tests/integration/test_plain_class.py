"""A plain class from a bundle in a replica of its own: a real process, real HTTP."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from tiffin.bundle import BundleStore
from tiffin.kits import waiting
from tiffin.spec import Artefact, ClassSource, Component, ReplicaSpec

CLASS = """
import os
import numpy as np
from seldon_core.user_model import SeldonComponent

class Iris(SeldonComponent):
    def load(self):
        with open("name.txt") as file:
            self.greeting = f"{os.environ['GREETING']} {file.read()}"

    def predict(self, X, features_names=None, meta=None):
        if features_names == ["fail"]:
            raise RuntimeError("secret")
        return np.array([[0.1, 0.9]])

    def tags(self):
        return {"said": self.greeting}
"""


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[httpx.Client]:
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "Iris.py").write_text(CLASS)
    (sources / "name.txt").write_text("you")
    store = BundleStore(tmp_path / "bundles")
    bundle = store.build(sources, tag="iris-image:v0.1")
    source = ClassSource(artefact=Artefact("iris-image:v0.1"), unit="clf", image="img:1.0")
    spec = ReplicaSpec(
        deployment="iris",
        model_name="iris",
        protocol="seldon",
        component=Component(source=source, environment={"GREETING": "hello"}),
        path=str(bundle.source),
        ready_file=str(tmp_path / "ready.json"),
    )
    order = tmp_path / "replica.json"
    order.write_bytes(msgspec.json.encode(spec))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tiffin.runtime", "--replica", str(order)],
            stdout=log,
            stderr=log,
            env=os.environ,
        )

    async def address() -> str | None:
        if process.poll() is not None:
            raise RuntimeError((tmp_path / "log").read_text())
        ready = Path(spec.ready_file)
        found: str | None = json.loads(ready.read_bytes())["address"] if ready.exists() else None
        return found

    try:
        base = asyncio.run(waiting.until(address, seconds=30))
        assert base is not None, (tmp_path / "log").read_text()
        with httpx.Client(base_url=base, verify=False) as client:
            yield client
        process.terminate()
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()
    assert store.get("iris-image:v0.1").digest == bundle.digest


def test_a_class_written_for_seldon_answers_as_it_does_there(replica: httpx.Client) -> None:
    reply = replica.post(
        "/api/v1.0/predictions", json={"data": {"ndarray": [[1, 2]]}}, headers={"Seldon-Puid": "P"}
    )
    assert reply.status_code == 200
    assert reply.content == (
        b'{"data":{"names":["t:0","t:1"],"ndarray":[[0.1,0.9]]},'
        b'"meta":{"requestPath":{"clf":"img:1.0"},"tags":{"said":"hello you"}}}\n'
    )
    assert reply.headers["seldon-puid"] == "P"
    assert reply.headers["content-type"] == "application/json"
    failed = replica.post("/predict", json={"data": {"names": ["fail"], "ndarray": [[1]]}})
    assert failed.status_code == 500
    assert b"secret" not in failed.content
    assert replica.post("/predict", data={"json": '{"strData":"s"}'}).status_code == 200
    assert replica.post("/predict", files={"binData": ("a.bin", b"xy")}).status_code == 200
    assert replica.post("/predict", content=b"{", headers={"content-type": "application/json"}).status_code == 400
    assert replica.get("/nope").status_code == 404
    assert replica.delete("/predict").status_code == 405
    assert replica.get("/health/ping").text == "pong"
    assert replica.get("/readyz").status_code == 200

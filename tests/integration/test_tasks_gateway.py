"""Tasks behind the gateway, at the addresses BentoML's users type; their replica is killed meanwhile."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tiffin.kits import processes
from tiffin.kits.paths import DataDirectory
from tiffin.local import home as homes

pytestmark = pytest.mark.slow

SERVICE = """
import os, time
import tiffin

@tiffin.service
class Jobs:
    @tiffin.task
    def crunch(self, seconds: float, ctx: tiffin.Context) -> int:
        ctx.progress(0.1, str(os.getpid()))
        if ctx.task.attempt == 1:
            ctx.wait_cancelled(seconds)
        return ctx.task.attempt
"""


def until(ask: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if found := ask():
                return found
        time.sleep(0.1)
    pytest.fail("it did not come true in time")


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[str]:
    """The address of a gateway with the service behind it."""
    data = DataDirectory(tmp_path / "home")
    directory = tmp_path / "project"
    directory.mkdir()
    (directory / "service.py").write_text(SERVICE)
    (directory / "bentofile.yaml").write_text("service: service:Jobs\n")
    output = tmp_path / "out"
    with output.open("wb") as out, (tmp_path / "err").open("wb") as err:
        command = [sys.executable, "-m", "tiffin", "up", str(directory), "--json", "--port", "0"]
        process = subprocess.Popen(
            command, stdout=out, stderr=err, env=os.environ | {"TIFFIN_HOME": str(data.root)}
        )

    def report() -> Any:
        assert process.poll() is None, (tmp_path / "err").read_text()
        with contextlib.suppress(ValueError):
            return json.loads(output.read_text())["gateway"]
        return None

    try:
        yield until(report)
    finally:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        if process.poll() is None:
            process.kill()
        homes.clear(data, grace_seconds=1)
        assert processes.mentioning(str(data.run)) == []


def test_a_task_is_submitted_at_one_address_asked_for_at_another_and_survives_its_replica(gateway: str) -> None:
    client = httpx.Client(base_url=gateway, timeout=10, verify=False)
    quick = client.post("/crunch/submit", json={"seconds": 0}).json()["task_id"]
    own = "/default/jobs/crunch"
    until(lambda: client.get(f"{own}/status", params={"task_id": quick}).json()["status"] == "completed")
    assert client.get("/crunch/get", params={"task_id": quick}).text == "1"

    long = client.post(f"{own}/submit", json={"seconds": 60}).json()["task_id"]

    def status() -> dict[str, Any]:
        return client.get("/crunch/status", params={"task_id": long}).json()

    replica = int(until(lambda: status().get("message")))
    psutil.Process(replica).kill()
    # Until the replica is replaced, the gateway says that there is none.
    until(lambda: status().get("status") == "completed")
    assert client.get("/crunch/get", params={"task_id": long}).text == "2"

    waiting = client.post("/crunch/submit", json={"seconds": 60}).json()["task_id"]
    answer = client.put(f"{own}/cancel", params={"task_id": waiting})
    assert answer.status_code in (200, 202)
    until(lambda: client.get("/crunch/status", params={"task_id": waiting}).json()["status"] == "canceled")
    client.close()

"""How long a call waits that finds no replica: with warm processes, and without.

    python bench/cold_start.py [ROUNDS]

A small scikit-learn model is scaled to zero and called, ROUNDS times each way, on this machine alone: controller,
Envoy, activator and replica share it with the client. Prints a table in Markdown.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import joblib
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from tiffin.gateway.envoy import Envoy
from tiffin.kits import waiting
from tiffin.kits.paths import DataDirectory
from tiffin.local.activator import Activator
from tiffin.local.controller import Controller
from tiffin.local.home import Home
from tiffin.local.seams import Observed
from tiffin.local.zygotes import Zygotes
from tiffin.plan.objects import Source
from tiffin.spec import Component

FILE = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: iris}
spec:
  predictor:
    minReplicas: 0
    model: {modelFormat: {name: sklearn}, storageUri: %s}
"""
CALL = b'{"instances": [[5.1, 3.5, 1.4, 0.2]]}'
PLACE = (1, "predictor")


class Kept:
    """A decider that leaves numbers as they are: here they are set by hand."""

    def decide(self, pool: str, component: Component, observed: Observed) -> int:
        return observed.wanted

    def reason(self, pool: str) -> str:
        return ""

    def forget(self, pool: str) -> None:
        """Nothing is remembered."""


async def until(holds: Callable[[], bool]) -> None:
    """Return when it is so."""

    async def ask() -> bool | None:
        return True if holds() else None

    if await waiting.until(ask, seconds=60, every_seconds=0.01) is None:
        raise SystemExit("it took longer than a minute")


async def call(address: tuple[str, int]) -> int:
    """One request on a connection of its own; its status."""
    reader, writer = await asyncio.open_connection(*address)
    head = (
        "POST /default/iris/v1/models/iris:predict HTTP/1.1\r\nhost: iris\r\nconnection: close\r\n"
        f"content-type: application/json\r\ncontent-length: {len(CALL)}\r\n\r\n"
    )
    writer.write(head.encode() + CALL)
    data = await reader.read()
    writer.close()
    return int(data.split()[1])


async def measure(root: Path, model: Path, *, is_warm: bool, rounds: int) -> list[tuple[float, float]]:
    """Seconds of each cold call, and of the start of the replica that answered it."""
    home = Home.claim(DataDirectory(root))
    envoy = Envoy(home.envoy, sockets=home.sockets, log=home.logs / "gateway.log", port=0)
    launchers = [Zygotes(home.sockets, home.orders, home.logs)] if is_warm else []
    activator = Activator()
    controller = Controller(
        home, envoy, say=lambda text: None, launchers=launchers, activator=activator, decider=Kept()
    )
    await controller.start()
    found = []
    try:
        await controller.apply([Source(text=FILE % model, file="iris.yaml", base="/")])
        iris = controller.deployings["default/iris"]
        await until(lambda: any(one.is_ready for one in iris.replicas.values()))
        await asyncio.sleep(1.0)
        for _ in range(rounds):
            iris.set_wanted(PLACE, 0)
            await until(lambda: not iris.replicas)
            await asyncio.sleep(0.5)
            began = time.perf_counter()
            status = await call(envoy.address)
            seconds = time.perf_counter() - began
            if status != 200:
                raise SystemExit(f"a cold call was answered {status}")
            (replica,) = iris.replicas.values()
            phases = replica.record.start_seconds
            found.append((seconds, sum(phases[name] for name in phases.keys() - {"fetch"})))
    finally:
        await controller.stop()
        home.release()
    return found


def main() -> None:
    """Measure both ways, and print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    with tempfile.TemporaryDirectory(prefix="tf-") as directory:
        model = Path(directory, "iris.joblib")
        joblib.dump(LogisticRegression(max_iter=1000).fit(*load_iris(return_X_y=True)), model)
        print("| start | answer p50 ms | slowest ms | the replica's own start p50 ms | the rest p50 ms |")
        print("|---|---|---|---|---|")
        for name, is_warm in (("forked from a warm process", True), ("from nothing", False)):
            root = Path(directory, "warm" if is_warm else "cold")
            found = asyncio.run(measure(root, model, is_warm=is_warm, rounds=rounds))
            totals, owns = [total for total, _ in found], [own for _, own in found]
            rest = [total - own for total, own in found]
            figures = (statistics.median(totals), max(totals), statistics.median(owns), statistics.median(rest))
            print(f"| {name} | " + " | ".join(f"{1000 * figure:.0f}" for figure in figures) + " |")


if __name__ == "__main__":
    main()

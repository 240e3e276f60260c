"""How the operator grows: many InferenceServices made, changed and half of them deleted, on played nodes.

``make scale-kube`` runs it with 100 and with 1000; ``python tests/kube/scale.py 20 40`` with other numbers. API
server, etcd, controller manager, scheduler and operator are real; kwok plays the kubelets. It says seconds,
requests, CPU and memory of the operator for each step, and fails where something never becomes so. Nothing is
asserted about times.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psutil

HERE = Path(__file__).parent
GIVE_UP_SECONDS = 1800.0
IDLE_SECONDS = 60.0
PER_NODE = 500


def _module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"tiffin_scale_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


cluster_module, world = _module("cluster"), _module("operator_world")


class Step(NamedTuple):
    """What one step took of the operator. Seconds, requests, seconds of CPU, bytes resident at its end."""

    name: str
    seconds: float
    reads: float
    writes: float
    cpu: float
    memory: int


class Run:
    """One operator with so many objects."""

    def __init__(self, cluster: Any, operator: Any, namespace: str, count: int) -> None:
        self._cluster = cluster
        self._operator = operator
        self._namespace = namespace
        self._count = count
        self._process = psutil.Process(operator.process.pid)
        self.steps: list[Step] = []

    def whole(self) -> None:
        names = [f"isvc-{number:04d}" for number in range(self._count)]
        self.step("create", lambda: self._apply(names, "one"), lambda: self._ready(names, 1))
        self.step("update", lambda: self._apply(names, "two"), lambda: self._ready(names, 2))
        gone = names[::2]
        self.step("delete half", lambda: self._delete(gone), lambda: self._gone(gone))
        self.step("idle for a minute", lambda: time.sleep(IDLE_SECONDS), lambda: True)

    def step(self, name: str, act: Callable[[], object], is_done: Callable[[], bool]) -> None:
        begun, before = time.monotonic(), self._numbers()
        act()
        world.until(is_done, f"{self._count} objects: {name}", GIVE_UP_SECONDS)
        seconds = time.monotonic() - begun
        if name != "idle for a minute":
            self._operator.settle()
        after = self._numbers()
        used = [now - was for now, was in zip(after, before, strict=True)]
        self.steps.append(Step(name, seconds, *used, self._process.memory_info().rss))
        print(f"{self._count:5d}  {name:18s} {seconds:7.1f} s", flush=True)

    def _numbers(self) -> tuple[float, float, float]:
        times = self._process.cpu_times()
        reads = self._operator.number('tiffin_operator_api_requests_total{kind="read"}')
        return reads, self._operator.writes, times.user + times.system

    def _apply(self, names: list[str], version: str) -> None:
        items = []
        for name in names:
            item = world.inference_service(name, namespace=self._namespace)
            item["spec"]["predictor"]["model"]["storageUri"] = f"gs://models/{name}/{version}"
            items.append(json.dumps(item))
        self._kubectl("apply", "--server-side", "-f", "-", given="\n".join(items))

    def _delete(self, names: list[str]) -> None:
        self._kubectl("delete", "isvc", "-n", self._namespace, "--wait=false", *names)

    def _ready(self, names: list[str], generation: int) -> bool:
        listed = self._cluster.get("isvc", "-n", self._namespace)["items"]
        ready = [
            one
            for one in listed
            if one.get("status", {}).get("observedGeneration") == generation
            and one["status"]["components"]["predictor"]
            .get("latestReadyRevision", "")
            .endswith(f"{generation:05d}")
            and any(each["type"] == "Ready" and each["status"] == "True" for each in one["status"]["conditions"])
        ]
        time.sleep(1)  # looking costs the server more than the operator does
        return len(ready) == len(names)

    def _gone(self, names: list[str]) -> bool:
        listed = self._cluster.get("deployments", "-n", self._namespace)["items"]
        time.sleep(1)
        left = {one["metadata"]["name"].removesuffix("-predictor") for one in listed}
        return not left & set(names)

    def _kubectl(self, *arguments: str, given: str = "") -> None:
        self._cluster.kubectl(*arguments, given=given, seconds=GIVE_UP_SECONDS)


def measured(count: int) -> list[Step]:
    """A cluster of its own for each number, so that none begins with what another one left."""
    with cluster_module.running() as cluster, tempfile.TemporaryDirectory() as logs:
        cluster.start_controllers()
        cluster.start_scheduler()
        cluster.start_kwok()
        cluster.add_nodes(max(2, count // PER_NODE + 1))
        world.define(cluster)
        with cluster.namespace() as namespace:
            log = Path(logs) / "operator.log"
            with world.Operator(cluster, namespace, log, "--no-election") as operator:
                run = Run(cluster, operator.ready(), namespace, count)
                run.whole()
                return run.steps


def table(results: dict[int, list[Step]]) -> list[str]:
    """For people, with how much more the last number took than the first."""
    lines = ["| objects | step | seconds | reads | writes | CPU s | MB |", "|---|---|---|---|---|---|---|"]
    for count, steps in results.items():
        for step in steps:
            numbers = f"{step.reads:.0f} | {step.writes:.0f} | {step.cpu:.1f} | {step.memory / 1e6:.0f}"
            lines.append(f"| {count} | {step.name} | {step.seconds:.1f} | {numbers} |")
    first, last = min(results), max(results)
    if first != last:
        for small, large in zip(results[first], results[last], strict=True):
            if small.writes:
                grown = large.writes / small.writes / (last / first)
                cpu = large.cpu / max(small.cpu, 0.01) / (last / first)
                lines.append(
                    f"{small.name}: writes {grown:.2f} and CPU {cpu:.2f} times what linear growth would be"
                )
    return lines


if __name__ == "__main__":
    wanted = [int(word) for word in sys.argv[1:]] or [100, 1000]
    print("\n".join(table({count: measured(count) for count in wanted})))

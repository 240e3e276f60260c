"""How the operator grows: many objects made, changed and half of them deleted, on played nodes.

``make scale-kube`` runs it with 100 and with 1000; ``python tests/kube/scale.py 20 40`` with other numbers. API
server, etcd, controller manager, scheduler and operator are real; kwok plays the kubelets. It says seconds,
requests, looks, CPU and memory of the operator for each step, and judges what grows by ratios, never by seconds:
its exit code is 1 where something grows more than linearly, or more is written than has to be.

``--mixed`` writes InferenceServices, SeldonDeployments and Tiffin's own Deployments in turn. ``--trouble`` kills
the operator in the middle of the creation, starts the API server anew in the middle of the change and writes to
the same objects meanwhile: the end has to be the same, with nothing there twice.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cluster as cluster_module
import operator_world as world
import psutil

HERE = Path(__file__).parent
GIVE_UP_SECONDS = 1800.0
IDLE_SECONDS = 60.0
PER_NODE = 500
LABEL = "tiffin.dev/deployment"

MOST_WRITES = 10
"""For one object, from its creation until it is Ready."""
MOST_MORE_WRITES, MOST_MORE_CPU = 1.1, 1.3
"""Times what linear growth would be; CPU is measured beside everything else on the machine."""
MOST_BYTES, MOST_BYTES_EACH = 100e6, 200e3
"""Resident at the first hundred, and for each one more."""


class Step(NamedTuple):
    """What one step took of the operator. Seconds, requests, looks, seconds of CPU, bytes resident at its end."""

    name: str
    seconds: float
    reads: float
    writes: float
    looks: float
    cpu: float
    memory: int


def inference_service(name: str, namespace: str, version: str) -> dict[str, Any]:
    found: dict[str, Any] = world.inference_service(name, namespace=namespace)
    found["spec"]["predictor"]["model"]["storageUri"] = f"gs://models/{name}/{version}"
    return found


def seldon_deployment(name: str, namespace: str, version: str) -> dict[str, Any]:
    graph = {"name": "one", "implementation": "SKLEARN_SERVER", "modelUri": f"gs://models/{name}/{version}"}
    return {
        "apiVersion": "machinelearning.seldon.io/v1",
        "kind": "SeldonDeployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"predictors": [{"name": "default", "replicas": 1, "graph": graph}]},
    }


def tiffin_deployment(name: str, namespace: str, version: str) -> dict[str, Any]:
    return {
        "apiVersion": "tiffin.dev/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"model": {"format": "sklearn", "uri": f"gs://models/{name}/{version}"}},
    }


MAKERS = {
    "isvc": inference_service,
    "sdep": seldon_deployment,
    "tiffin": tiffin_deployment,
}
"""By the name that kubectl knows the kind by."""


class Run:
    """Operators, one after the other, with so many objects."""

    def __init__(self, cluster: Any, namespace: str, count: int, log: Path, *, mixed: bool) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._log = log
        kinds = list(MAKERS) if mixed else ["isvc"]
        self._names = {f"one-{number:04d}": kinds[number % len(kinds)] for number in range(count)}
        self.operator = self._started()
        self.steps: list[Step] = []

    def _started(self) -> Any:
        operator = world.Operator(self._cluster, self._namespace, self._log, "--no-election").__enter__()
        self._process = psutil.Process(operator.process.pid)
        return operator.ready()

    def close(self) -> None:
        self.operator.__exit__()

    def whole(self) -> None:
        self.step("create", lambda: self._apply("one"), lambda: self._ready(1))
        self.step("update", lambda: self._apply("two"), lambda: self._ready(2))
        self._check(2)
        self._delete_half()
        self.step("idle for a minute", lambda: time.sleep(IDLE_SECONDS), lambda: True)

    def troubled(self) -> None:
        """Each step with what can go wrong in its middle."""
        self._apply("one")
        world.until(lambda: self._is_half_ready(1), "half of them to be Ready", GIVE_UP_SECONDS)
        self.operator.kill()
        self.operator = self._started()
        self.step("create, killed", lambda: None, lambda: self._ready(1))
        self._check(1)
        with self._meddling() as meddled:
            self._apply("two")
            world.until(lambda: self._is_half_ready(2), "half of them to be Ready", GIVE_UP_SECONDS)
            self._cluster.stop_server()
            time.sleep(5)
            self._cluster.start_server()
            world.until(lambda: meddled[0] >= len(self._names), "somebody to write to all", GIVE_UP_SECONDS)
        # From here on nobody writes, for each write is a generation that a slow machine has to come to.
        self.step("update, server away", lambda: None, lambda: self._ready(2))
        print(f"{meddled[0]} writes of somebody else; {self.operator.number(FAILURES):.0f} looks repeated")
        self._check(2)
        self._delete_half()

    def step(self, name: str, act: Callable[[], object], is_done: Callable[[], bool]) -> None:
        begun, before = time.monotonic(), self._numbers()
        act()
        world.until(is_done, f"{len(self._names)} objects: {name}", GIVE_UP_SECONDS)
        seconds = time.monotonic() - begun
        if name != "idle for a minute":
            self.operator.settle()
        used = [now - was for now, was in zip(self._numbers(), before, strict=True)]
        self.steps.append(Step(name, seconds, *used, self._process.memory_info().rss))
        print(f"{len(self._names):5d}  {name:20s} {seconds:7.1f} s", flush=True)

    def _numbers(self) -> tuple[float, float, float, float]:
        times = self._process.cpu_times()
        reads = self.operator.number('tiffin_operator_api_requests_total{kind="read"}')
        looks = self.operator.number("tiffin_operator_reconciliations_total")
        return reads, self.operator.writes, looks, times.user + times.system

    def _apply(self, version: str) -> None:
        items = [json.dumps(MAKERS[kind](name, self._namespace, version)) for name, kind in self._names.items()]
        self._kubectl("apply", "--server-side", "-f", "-", given="\n".join(items))

    def _delete_half(self) -> None:
        gone = list(self._names)[::2]

        def delete() -> None:
            for kind in MAKERS:
                chosen = [name for name in gone if self._names[name] == kind]
                if chosen:
                    self._kubectl("delete", kind, "-n", self._namespace, "--wait=false", *chosen)

        self.step("delete half", delete, lambda: not self._left(set(gone)))

    def _ready_names(self, generation: int) -> set[str]:
        """Those that are Ready, and of whose revisions that one serves alone."""
        found = set()
        for kind in set(self._names.values()):
            for one in self._cluster.get(kind, "-n", self._namespace)["items"]:
                status = one.get("status") or {}
                conditions = {each["type"]: each["status"] for each in status.get("conditions") or ()}
                # Not every kind's status says of which spec it speaks; the Deployments below do.
                if (
                    status.get("observedGeneration", generation) == generation
                    and conditions.get("Ready") == "True"
                ):
                    found.add(one["metadata"]["name"])
        rolled = self._cluster.get("deployments", "-n", self._namespace, "-l", LABEL)["items"]
        current = {
            one["metadata"]["labels"][LABEL]
            for one in rolled
            if one["metadata"]["annotations"].get("tiffin.dev/revision", "").endswith(f"{generation:05d}")
            and one.get("status", {}).get("observedGeneration") == one["metadata"]["generation"]
            and one["status"].get("updatedReplicas") == one["status"].get("replicas")
        }
        time.sleep(1)  # looking costs the server more than the operator does
        return found & current

    def _ready(self, generation: int) -> bool:
        return self._ready_names(generation) == set(self._names)

    def _is_half_ready(self, generation: int) -> bool:
        return 2 * len(self._ready_names(generation)) >= len(self._names)

    def _left(self, gone: set[str]) -> set[str]:
        """What is still there of deployments that are gone."""
        kinds = "deployments,services,controllerrevisions,poddisruptionbudgets,horizontalpodautoscalers,pods"
        listed = self._cluster.get(kinds, "-n", self._namespace, "-l", LABEL)["items"]
        time.sleep(1)
        found = ((one["kind"], one["metadata"]["name"], one["metadata"]["labels"][LABEL]) for one in listed)
        return {f"{kind} {name}" for kind, name, owner in found if owner in gone}

    def _check(self, revisions: int) -> None:
        """Each has the same as all others of its kind, and a revision for each spec there was."""
        listed = self._cluster.get("deployments,services,controllerrevisions", "-n", self._namespace, "-l", LABEL)
        each = Counter((one["metadata"]["labels"][LABEL], one["kind"]) for one in listed["items"])
        shapes: dict[str, set[tuple[int, int]]] = {}
        for name, kind in self._names.items():
            shapes.setdefault(kind, set()).add((each[name, "Deployment"], each[name, "Service"]))
            found = each[name, "ControllerRevision"]
            assert found == revisions, f"{name}: expected {revisions} revisions, found {found}"
        assert all(len(shape) == 1 for shape in shapes.values()), f"expected one shape for each kind: {shapes}"
        assert all(each[name, "Deployment"] == 1 for name in self._names), "expected one Deployment for each"

    @contextlib.contextmanager
    def _meddling(self) -> Iterator[list[int]]:
        """Somebody who writes to the Deployments, one after the other, again and again.

        Not to the objects: what is written there is for the pods, and a revision of its own.
        """
        over, count = threading.Event(), [0]

        def meddle() -> None:
            while not over.is_set():
                for name in list(self._names):
                    if over.wait(0.05):
                        return
                    chosen = ("deployments.apps", "-n", self._namespace, "-l", f"{LABEL}={name}")
                    done = self._cluster.kubectl(
                        "annotate", "--overwrite", *chosen, f"somebody={count[0]}", check=False
                    )
                    count[0] += done.returncode == 0

        thread = threading.Thread(target=meddle)
        thread.start()
        try:
            yield count
        finally:
            over.set()
            thread.join()

    def _kubectl(self, *arguments: str, given: str = "") -> None:
        self._cluster.kubectl(*arguments, given=given, seconds=GIVE_UP_SECONDS)


FAILURES = "tiffin_operator_failures_total"


def measured(count: int, *, mixed: bool = False, trouble: bool = False) -> list[Step]:
    """A cluster of its own for each number, so that none begins with what another one left."""
    with cluster_module.running() as cluster, tempfile.TemporaryDirectory() as logs:
        cluster.start_controllers()
        cluster.start_scheduler()
        cluster.start_kwok()
        cluster.add_nodes(max(2, count // PER_NODE + 1))
        world.define(cluster)
        with cluster.namespace() as namespace:
            run = Run(cluster, namespace, count, Path(logs) / "operator.log", mixed=mixed)
            with contextlib.closing(run):
                if trouble:
                    run.troubled()
                else:
                    run.whole()
                return run.steps


class Verdict(NamedTuple):
    """What was found beside what it may be at most."""

    what: str
    found: float
    most: float

    @property
    def is_met(self) -> bool:
        return self.found <= self.most

    def __str__(self) -> str:
        return f"{'PASS' if self.is_met else 'FAIL'}  {self.what}: {self.found:.3g}, at most {self.most:.3g}"


def judged(results: dict[int, list[Step]]) -> list[Verdict]:
    """How it grows from the first number to the last, and what each number took. Pure."""
    found = []
    for count, steps in results.items():
        for step in steps:
            if step.name == "create":
                found.append(Verdict(f"{count}: writes until Ready, each", step.writes / count, MOST_WRITES))
            if step.name == "idle for a minute":
                found.append(Verdict(f"{count}: writes of a minute in which nothing happens", step.writes, 0))
            if count <= 100:
                found.append(Verdict(f"{count}: bytes after {step.name}", step.memory, MOST_BYTES))
    first, last = min(results), max(results)
    if first == last:
        return found
    for small, large in zip(results[first], results[last], strict=True):
        share = last / first
        if small.writes:
            more = large.writes / small.writes / share
            found.append(Verdict(f"{small.name}: writes, times linear", more, MOST_MORE_WRITES))
        # What is done ten times over a few hundredths of a second says nothing.
        if small.cpu > 1:
            found.append(Verdict(f"{small.name}: CPU, times linear", large.cpu / small.cpu / share, MOST_MORE_CPU))
        each = (large.memory - small.memory) / (last - first)
        found.append(Verdict(f"{small.name}: bytes for each one more", each, MOST_BYTES_EACH))
    return found


def table(results: dict[int, list[Step]]) -> list[str]:
    """For people."""
    lines = [
        "| objects | step | seconds | reads | writes | looks | CPU s | MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for count, steps in results.items():
        for step in steps:
            numbers = f"{step.reads:.0f} | {step.writes:.0f} | {step.looks:.0f} | {step.cpu:.1f}"
            lines.append(f"| {count} | {step.name} | {step.seconds:.1f} | {numbers} | {step.memory / 1e6:.0f} |")
    return lines


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scale.py")
    parser.add_argument("counts", nargs="*", type=int)
    parser.add_argument("--mixed", action="store_true")
    parser.add_argument("--trouble", action="store_true")
    options = parser.parse_args(arguments)
    counts = options.counts or [100, 1000]
    results = {count: measured(count, mixed=options.mixed, trouble=options.trouble) for count in counts}
    print("\n".join(table(results)))
    verdicts = [] if options.trouble else judged(results)
    print("\n".join(map(str, verdicts)))
    return 0 if all(one.is_met for one in verdicts) else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # through all that has to be stopped
    sys.exit(main(sys.argv[1:]))

"""The controller with a gateway that writes down what it is told, and replicas that do what they are told."""

import asyncio
import errno
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import pytest

from tiffin.errors import CallError, Conflict, Expired, NoSuchDeployment, ProcessError, SpecError
from tiffin.gateway.router import PoolSample, Routed, Snapshot
from tiffin.kits import processes
from tiffin.kits.paths import DataDirectory
from tiffin.local import deploying, lives, replica, routing, ticking
from tiffin.local.controller import Controller
from tiffin.local.home import Home
from tiffin.local.seams import Order
from tiffin.plan import revision
from tiffin.plan.objects import Source
from tiffin.plan.state import DeploymentStatus
from tiffin.spec import Component

FILE = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {{name: {name}}}
spec:
  predictor:
    minReplicas: {replicas}
    maxReplicas: {replicas}
    {more}
    model:
      modelFormat: {{name: sklearn}}
      protocolVersion: v2
      storageUri: {uri}
      resources: {{requests: {{cpu: "{cpu}", memory: 1Mi}}}}
"""


class Gateway:
    """Keeps what it is told; ``failures`` is how many times it cannot be told."""

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []
        self.failures = 0
        self.address = ("127.0.0.1", 8080)
        self.identity: processes.Identity | None = None

    async def start(self, snapshot: Snapshot) -> None:
        await self.publish(snapshot)

    async def adopt(self, identity: processes.Identity, snapshot: Snapshot) -> bool:
        return False

    async def restart(self) -> None:
        """Never dies."""

    async def publish(self, snapshot: Snapshot) -> None:
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        self.snapshots.append(snapshot)

    async def check(self, snapshot: Snapshot) -> None:
        """Anything can be told."""

    async def sample(self) -> Mapping[str, PoolSample]:
        return {}

    async def answers(self) -> bool:
        return True

    def kill(self) -> None:
        """Never stuck."""

    async def exited(self) -> int:
        await asyncio.Event().wait()
        return 0

    def describe_end(self) -> str:
        return "the gateway ended"

    async def stop(self) -> None:
        """Nothing runs."""

    def routed(self, name: str = "iris") -> Routed | None:
        return next((one for one in self.snapshots[-1].routed if one.deployment.name == name), None)

    def weights(self, name: str = "iris") -> dict[str, float]:
        found = self.routed(name)
        if found is None:
            return {}
        return {
            share.pool.split("/")[1]: round(share.weight, 3) for share in found.choices["predictor"][-1].shares
        }

    def endpoints(self, name: str = "iris") -> int:
        found = self.routed(name)
        return 0 if found is None else sum(len(pool.endpoints) for pool in found.pools)


class Process:
    """A replica that lives until it is told otherwise."""

    def __init__(self, order: Order, identity: processes.Identity, *, is_slow: bool) -> None:
        self.order = order
        self.identity = identity
        self.endpoint = order.spec.listen.unix
        self.exit_code: int | None = None
        self.has_answered = True
        self.start_seconds: dict[str, float] = {}
        self.is_up = not is_slow
        self._over = asyncio.Event()

    async def exited(self) -> int:
        await self._over.wait()
        return self.exit_code or 0

    async def is_ready(self) -> bool:
        return self.is_up and self.exit_code is None

    async def stop(self, *, grace_seconds: float) -> None:
        await asyncio.sleep(0)
        self.end(0)

    def kill(self) -> None:
        self.end(-9)

    def end(self, code: int) -> None:
        if self.exit_code is None:
            self.exit_code = code
            self._over.set()

    def describe_end(self) -> str:
        return f"{self.order.name} ended with {self.exit_code}; its last log lines:\n    no lines"


class Launcher:
    """Starts what can be ended by hand. ``is_slow``: nothing gets ready by itself. ``is_broken``: all fail."""

    def __init__(self) -> None:
        self.running: list[Process] = []
        self.is_slow = False
        self.is_broken = False
        self.launched = 0

    def takes(self, component: Component) -> bool:
        return True

    async def launch(self, order: Order) -> Process:
        self.launched += 1
        if self.is_broken:
            raise ProcessError("it cannot be started", hint="try another one")
        one = Process(order, processes.Identity(self.launched + 2**22, 1.0), is_slow=self.is_slow)
        self.running.append(one)
        return one

    async def adopt(self, order: Order, identity: processes.Identity, endpoint: str) -> Process | None:
        for one in self.running:
            if one.identity == identity and one.exit_code is None:
                return one
        return None

    async def close(self) -> None:
        """Nothing helps it."""

    @property
    def alive(self) -> list[Process]:
        return [one for one in self.running if one.exit_code is None]


class World:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = DataDirectory(root / "home")
        self.gateway = Gateway()
        self.launcher = Launcher()
        self.said: list[str] = []
        self.home: Home
        self.controller: Controller

    async def start(self) -> int:
        self.home = Home.claim(self.data)
        self.controller = Controller(self.home, self.gateway, say=self.said.append, launchers=[self.launcher])
        return await self.controller.start()

    async def apply(self, **changes: object) -> list[Any]:
        version = changes.pop("version", None)
        values: dict[str, object] = {
            "name": "iris",
            "replicas": 1,
            "more": "",
            "uri": "m1",
            "cpu": "1m",
            **changes,
        }
        (self.root / str(values["uri"])).touch()
        text = FILE.format(**values)
        return await self.controller.apply([Source(text=text, base=str(self.root))], resource_version=version)  # type: ignore[arg-type]

    def status(self, name: str = "iris") -> DeploymentStatus:
        return self.controller.get(f"default/{name}").status

    async def until(self, ask: Callable[[], object], *, seconds: float = 5.0) -> None:
        async with asyncio.timeout(seconds):
            while not ask():  # noqa: ASYNC110
                await asyncio.sleep(0.0005)  # Some states are there for a few milliseconds.


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[World], Coroutine[Any, Any, None]]], None]:
    monkeypatch.setattr(replica, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(lives, "PAUSES_SECONDS", (0.05,))
    monkeypatch.setattr(lives, "FIRST_PAUSES_SECONDS", (0.05,))
    monkeypatch.setattr(deploying, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(routing, "LONGEST_PAUSE_SECONDS", 0.1)

    def start(story: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            world = World(tmp_path)
            await world.start()
            try:
                await story(world)
                check(world.gateway.snapshots)
            finally:
                await world.controller.stop()
                world.home.release()
            assert world.launcher.alive == []
            assert not any(world.data.run.iterdir())

        asyncio.run(main())

    return start


def check(snapshots: list[Snapshot]) -> None:
    """What must hold in everything the gateway was ever told."""
    served: dict[str, set[str]] = {}
    for snapshot in snapshots:
        for one in snapshot.routed:
            pools = {pool.name: pool for pool in one.pools}
            shares = one.choices["predictor"][-1].shares
            assert sum(share.weight for share in shares) == pytest.approx(100)
            known = served.setdefault(one.deployment.key, set())
            new = {share.pool for share in shares} - known
            assert all(pools[name].endpoints for name in new), "a revision got calls before it was ready"
            known |= new


def test_a_deployment_is_routed_once_it_is_ready_and_not_before(run: Any) -> None:
    async def story(world: World) -> None:
        world.launcher.is_slow = True
        (applied,) = await world.apply(replicas=2)
        assert (applied.action, applied.key) == ("created", "default/iris")
        await world.until(lambda: len(world.launcher.alive) == 2)
        assert world.gateway.routed() is None
        assert not world.status().is_ready
        for one in world.launcher.alive:
            one.is_up = True
        await world.until(lambda: world.gateway.endpoints() == 2)
        await world.until(lambda: world.status().is_ready)
        assert world.gateway.weights() == {"iris-00001": 100.0}
        (again,) = await world.apply(replicas=2)
        assert again.action == "unchanged"

    run(story)


def test_a_new_revision_takes_over_when_it_is_ready_and_then_the_old_one_goes(run: Any) -> None:
    async def story(world: World) -> None:
        await world.apply(replicas=2)
        await world.until(lambda: world.gateway.endpoints() == 2)
        old = world.launcher.alive
        world.launcher.is_slow = True
        await world.apply(replicas=2, uri="m2")
        await world.until(lambda: len(world.launcher.alive) == 4)
        new = world.launcher.alive[2:]
        new[0].is_up = True
        await world.until(lambda: sum(one.phase == "Ready" for one in world.status().replicas) == 3)
        assert world.gateway.weights() == {"iris-00001": 100.0}
        assert world.status().condition("LatestReady").status == "Unknown"  # type: ignore[union-attr]
        new[1].is_up = True
        await world.until(lambda: world.gateway.weights() == {"iris-00002": 100.0})
        await world.until(lambda: world.launcher.alive == new)
        assert all(one.exit_code == 0 for one in old)
        await world.until(lambda: world.status().is_ready)

    run(story)


def test_a_new_revision_that_cannot_start_leaves_the_old_one_serving_and_says_why(run: Any) -> None:
    async def story(world: World) -> None:
        await world.apply()
        await world.until(lambda: world.gateway.endpoints() == 1)
        world.launcher.is_broken = True
        await world.apply(uri="m2")
        await world.until(lambda: any(one.phase == "CrashLoopBackOff" for one in world.status().replicas))
        assert world.gateway.weights() == {"iris-00001": 100.0}
        ready = world.status().condition("Ready")
        assert ready is not None
        assert (ready.status, ready.reason, ready.hint) == ("False", "StartFailed", "try another one")
        # Each further start counts, also of what never was ready.
        await world.until(lambda: max(one.restarts for one in world.status().replicas) >= 2)
        # Back to what served: at once, with no new revision.
        await world.apply()
        await world.until(lambda: world.status().is_ready)
        assert world.status().latest == {"main": "iris-00001"}
        await world.until(lambda: len(world.status().replicas) == 1)

    run(story)


def test_a_canary_is_split_pinned_and_promoted(run: Any) -> None:
    async def story(world: World) -> None:
        await world.apply()
        await world.until(lambda: world.gateway.weights() == {"iris-00001": 100.0})
        await world.apply(uri="m2", more="canaryTrafficPercent: 20")
        await world.until(lambda: world.gateway.weights() == {"iris-00001": 80.0, "iris-00002": 20.0})
        assert set(world.gateway.routed().tags) == {"canary", "latest", "prev"}  # type: ignore[union-attr]
        await world.apply(uri="m2", more="canaryTrafficPercent: 0")
        await world.until(lambda: world.gateway.weights() == {"iris-00001": 100.0})
        assert await world.controller.rollout("default/iris", "promote", None) == "iris-00002 gets all calls"
        await world.until(lambda: world.gateway.weights() == {"iris-00002": 100.0})
        await world.until(lambda: len(world.launcher.alive) == 1)
        sentence = await world.controller.rollout("default/iris", "undo", None)
        assert sentence == "default/iris goes back to what iris-00001 was"
        await world.until(
            lambda: len(world.gateway.weights()) == 1 and "iris-00002" not in world.gateway.weights()
        )
        with pytest.raises(CallError, match="no rollout in progress"):
            await world.controller.rollout("default/iris", "pause", None)

    run(story)


def test_a_replica_that_dies_leaves_the_endpoints_and_comes_back(run: Any) -> None:
    async def story(world: World) -> None:
        await world.apply(replicas=2)
        await world.until(lambda: world.gateway.endpoints() == 2)
        world.launcher.alive[0].end(-9)
        await world.until(lambda: world.gateway.endpoints() == 1)
        await world.until(lambda: world.gateway.endpoints() == 2)
        assert any("is ready again" in line for line in world.said)
        assert [one.restarts for one in world.status().replicas].count(1) == 1

    run(story)


def test_replicas_are_not_ended_before_the_gateway_knows(run: Any) -> None:
    async def story(world: World) -> None:
        await world.apply(replicas=3)
        await world.until(lambda: world.gateway.endpoints() == 3)
        world.gateway.failures = 3
        await world.controller.scale("default/iris", "predictor", 1, 1)
        await world.until(lambda: world.gateway.failures < 3)
        assert len(world.launcher.alive) == 3
        await world.until(lambda: len(world.launcher.alive) == 1)
        assert world.gateway.failures == 0
        assert world.gateway.endpoints() == 1
        assert "the gateway has been told" in world.said

    run(story)


def test_deleting_while_it_starts_ends_everything_and_numbers_begin_again(run: Any) -> None:
    async def story(world: World) -> None:
        world.launcher.is_slow = True
        await world.apply(replicas=3)
        await world.until(lambda: len(world.launcher.alive) >= 2)
        await world.controller.delete("default/iris")
        with pytest.raises(NoSuchDeployment):
            world.controller.get("default/iris")
        await world.until(lambda: not world.controller.deployings)
        assert world.launcher.alive == []
        world.launcher.is_slow = False
        await world.apply()
        await world.until(lambda: world.gateway.weights() == {"iris-00001": 100.0})

    run(story)


def test_applying_again_while_it_is_deleted_serves_it(run: Any) -> None:
    async def story(world: World) -> None:
        await world.apply(replicas=2)
        await world.until(lambda: world.gateway.endpoints() == 2)
        await world.controller.delete("default/iris")
        await world.apply(replicas=2)
        await world.until(lambda: world.gateway.endpoints() == 2 and len(world.launcher.alive) == 2)
        await world.until(lambda: world.status().is_ready)

    run(story)


def test_a_controller_that_comes_after_another_adopts_what_runs(run: Any) -> None:
    async def story(world: World) -> None:
        await world.apply(replicas=2)
        await world.apply(name="other")
        await world.until(lambda: world.gateway.endpoints() == 2 and world.gateway.endpoints("other") == 1)
        before = world.launcher.alive
        await world.controller.let_go()
        world.home.release()
        before[0].end(-9)
        launched = world.launcher.launched
        told = len(world.gateway.snapshots)
        assert await world.start() == 2
        # The first thing the new one says is already right: nobody who can serve is left out.
        assert world.gateway.snapshots[told].routed[0].deployment.name == "iris"
        assert sum(len(pool.endpoints) for one in world.gateway.snapshots[told].routed for pool in one.pools) == 2
        await world.until(lambda: world.gateway.endpoints() == 2)
        assert world.launcher.launched == launched + 1
        await world.until(lambda: world.status().is_ready and world.status("other").is_ready)

    run(story)


def is_internal(world: World) -> bool:
    ready = world.status().condition("Ready")
    return ready is not None and (ready.status, ready.reason) == ("False", "InternalError")


def check_told(world: World) -> None:
    """All of it is in the file, and only its type where people look."""
    written = (world.data.logs / "errors.log").read_text()
    assert "Traceback" in written
    assert "KeyError: 'an inside'" in written
    told = [event for event in world.controller.events("default/iris") if event.reason == "InternalError"]
    assert told
    assert all(event.type == "Warning" for event in told)
    assert not any("an inside" in text for text in (*world.said, *(event.message for event in told)))


def failing(times: int, then: Callable[..., Any]) -> Callable[..., Any]:
    """A function with a defect."""
    left = [times]

    def call(*arguments: Any, **named: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise KeyError("an inside")
        return then(*arguments, **named)

    return call


def test_a_defect_in_a_step_is_told_and_the_step_done_again(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        monkeypatch.setattr(deploying, "spread", failing(3, deploying.spread))
        await world.apply()
        await world.until(lambda: is_internal(world))
        ready = world.status().condition("Ready")
        assert "KeyError" in ready.message  # type: ignore[union-attr]
        assert "an inside" not in ready.message  # type: ignore[union-attr]
        assert ready.hint == f"the traceback is in {world.data.logs / 'errors.log'}"  # type: ignore[union-attr]
        await world.until(lambda: world.status().is_ready)
        check_told(world)

    run(story)


def test_a_defect_in_preparing_is_told_and_it_is_prepared_again(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        monkeypatch.setattr(world.controller, "prepare", failing(2, world.controller.prepare))
        await world.apply()
        await world.until(lambda: is_internal(world))
        await world.until(lambda: world.status().is_ready)
        assert "KeyError: 'an inside'" in (world.data.logs / "errors.log").read_text()

    run(story)


@pytest.mark.parametrize("part", ["launch", "note"])
def test_a_defect_in_starting_a_replica_is_told_and_it_is_started_again(
    run: Any, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    async def story(world: World) -> None:
        target = world.launcher if part == "launch" else replica.Replica
        name = "launch" if part == "launch" else "_own_example"
        monkeypatch.setattr(target, name, failing(1, getattr(target, name)))
        await world.apply()
        await world.until(lambda: is_internal(world))
        await world.until(lambda: world.status().is_ready)
        check_told(world)
        assert len(world.launcher.alive) == 1

    run(story)


def test_a_defect_in_ending_a_replica_ends_it_all_the_same(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        await world.apply()
        await world.until(lambda: world.gateway.endpoints() == 1)
        monkeypatch.setattr(Process, "stop", failing(1, Process.stop))
        await world.controller.delete("default/iris")
        await world.until(lambda: not world.controller.deployings)

    run(story)


def test_a_defect_in_deciding_is_told_and_keeps_no_other_deployment_waiting(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Decider(ticking.Fixed):
        def decide(self, pool: str, component: Component, observed: Any) -> int:
            decided.append(pool)
            if "iris" in pool and decided.count(pool) < 3:
                raise KeyError("an inside")
            return 2

    decided: list[str] = []
    monkeypatch.setattr(ticking, "TICK_SECONDS", 0.02)

    async def story(world: World) -> None:
        world.controller.decider = Decider()
        for name in ("iris", "other"):
            await world.apply(name=name)
            await world.controller.scale(f"default/{name}", "predictor", 1, 3)
        await world.until(lambda: world.gateway.endpoints("other") == 2)
        await world.until(lambda: world.gateway.endpoints() == 2)
        await world.until(lambda: world.status().is_ready)
        check_told(world)

    run(story)


def test_a_defect_in_telling_the_gateway_is_told_and_it_is_told_again(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(world: World) -> None:
        monkeypatch.setattr(world.gateway, "publish", failing(6, world.gateway.publish))
        await world.apply()
        await world.until(lambda: any("telling the gateway failed" in text for text in world.said))
        await world.until(lambda: world.status().is_ready)
        assert "KeyError: 'an inside'" in (world.data.logs / "errors.log").read_text()

    run(story)


def test_a_defect_in_keeping_the_gateway_leaves_it_kept(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        died, restarted = asyncio.Event(), asyncio.Event()

        async def exited(gateway: Gateway) -> int:
            await (asyncio.Event() if restarted.is_set() else died).wait()
            return 1

        async def restart(gateway: Gateway) -> None:
            restarted.set()

        monkeypatch.setattr(Gateway, "exited", failing(2, exited))
        monkeypatch.setattr(Gateway, "restart", failing(1, restart))
        died.set()
        keeping = asyncio.create_task(world.controller._keeper.run())
        await world.until(restarted.is_set)
        assert not keeping.done()
        keeping.cancel()
        assert (world.data.logs / "errors.log").read_text().count("keeping the gateway failed") == 3

    run(story)


def test_a_defect_that_a_waiting_call_meets_is_told_and_the_others_are_woken(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(world: World) -> None:
        await world.apply()
        await world.apply(name="other")
        await world.until(lambda: world.gateway.endpoints() == 1 and world.gateway.endpoints("other") == 1)
        woken = []
        first, second = world.controller.deployings.values()
        monkeypatch.setattr(first, "call_waits", failing(1, first.call_waits))
        monkeypatch.setattr(second, "call_waits", woken.append)
        world.controller._call_waits("default/iris-00001/predictor")
        assert woken == ["default/iris-00001/predictor"]
        check_told(world)

    run(story)


@pytest.mark.parametrize("ends", ["stop", "let_go"])
def test_what_was_rolled_back_stays_so_under_a_controller_that_counts_digests_otherwise(
    run: Any, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    async def story(world: World) -> None:
        await world.apply()
        await world.until(lambda: world.gateway.weights() == {"iris-00001": 100.0})
        await world.apply(uri="m2", more="canaryTrafficPercent: 20")
        await world.until(lambda: len(world.gateway.weights()) == 2)
        await world.controller.rollout("default/iris", "undo", None)
        await world.until(lambda: world.gateway.weights() == {"iris-00001": 100.0})
        await world.until(lambda: len(world.launcher.alive) == 1)
        await getattr(world.controller, ends)()
        world.home.release()
        counted = revision.digest
        for module in (revision, deploying):
            monkeypatch.setattr(module, "digest", lambda *parts: f"new:{counted(*parts)}")
        await world.start()
        await world.until(lambda: world.gateway.endpoints() == 1 and world.status().observed_generation)
        # Whoever waits for the start is not kept waiting.
        await world.until(lambda: world.controller.deployings["default/iris"].has_settled)
        await world.apply(uri="m2", more="canaryTrafficPercent: 20")
        await asyncio.sleep(0.05)
        assert [one.number for one in world.controller.revisions("default/iris")] == [1, 2]
        assert world.gateway.weights() == {"iris-00001": 100.0}
        assert world.status().condition("Ready").reason == "RolledBack"  # type: ignore[union-attr]
        assert len(world.launcher.alive) == 1

    run(story)


def test_what_does_not_fit_on_the_machine_waits_and_the_others_run(run: Any) -> None:
    async def story(world: World) -> None:
        await world.apply(name="big", cpu="100000")
        await world.apply()
        await world.until(lambda: world.gateway.endpoints() == 1)
        await world.until(lambda: world.status("big").condition("Ready").reason == "Unschedulable")  # type: ignore[union-attr]
        assert "cores" in world.status("big").condition("Ready").message  # type: ignore[union-attr]
        await world.apply(name="big")
        await world.until(lambda: world.gateway.endpoints("big") == 1)

    run(story)


def test_a_model_that_is_not_there_is_told_and_fetched_when_it_is(run: Any, tmp_path: Path) -> None:
    async def story(world: World) -> None:
        text = FILE.format(name="iris", replicas=1, more="", uri="late", cpu="1m")
        await world.controller.apply([Source(text=text, base=str(tmp_path))])
        await world.until(lambda: world.status().condition("Ready").reason == "FetchFailed")  # type: ignore[union-attr]
        (tmp_path / "late").touch()
        await world.until(lambda: world.gateway.endpoints() == 1)

    run(story)


def test_a_writer_that_names_an_old_version_is_told(run: Any) -> None:
    async def story(world: World) -> None:
        (first,) = await world.apply()
        await world.until(lambda: world.status().is_ready)
        await world.apply(uri="m2", version=first.resource_version)
        with pytest.raises(Conflict):
            await world.apply(uri="m3", version=first.resource_version)
        with pytest.raises(Conflict):
            await world.controller.delete("default/iris", resource_version=first.resource_version)
        # The version of what was shown last is good, though only the status has changed since.
        await world.until(lambda: world.gateway.weights() == {"iris-00002": 100.0})
        seen = world.controller.get("default/iris").metadata.resource_version
        await world.controller.delete("default/iris", resource_version=seen)

    run(story)


def test_a_dry_run_says_what_would_be_done_and_does_nothing(run: Any, tmp_path: Path) -> None:
    async def story(world: World) -> None:
        text = FILE.format(name="iris", replicas=2, more="", uri="m1", cpu="1m")
        (applied,) = await world.controller.apply([Source(text=text, base=str(tmp_path))], dry_run=True)
        assert applied.action == "created"
        assert applied.effects[0].startswith("it would be started: 2 replicas of its predictor")
        assert world.controller.objects() == ([], 0)

    run(story)


def test_a_mistake_in_one_source_changes_nothing(run: Any, tmp_path: Path) -> None:
    async def story(world: World) -> None:
        good = FILE.format(name="iris", replicas=1, more="", uri="m1", cpu="1m")
        with pytest.raises(SpecError):
            await world.controller.apply([Source(text=good), Source(text=good.replace("predictor", "predicter"))])
        assert world.controller.objects() == ([], 0)

    run(story)


def test_whoever_watches_sees_every_change_in_order(run: Any) -> None:
    async def story(world: World) -> None:
        seen: list[tuple[str, int, bool]] = []

        async def watch(changes: AsyncIterator[Any]) -> None:
            async for change in changes:
                version = change.object.metadata.resource_version
                seen.append((change.type, version, change.object.status.is_ready))

        watcher = asyncio.create_task(watch(world.controller.watch(None)))
        await asyncio.sleep(0)
        await world.apply()
        await world.until(lambda: seen and seen[-1][2])
        await world.controller.delete("default/iris")
        await world.until(lambda: seen[-1][0] == "DELETED")
        assert seen[0][0] == "ADDED"
        versions = [version for _, version, _ in seen]
        assert versions == sorted(set(versions))
        watcher.cancel()
        with pytest.raises(Expired):
            await anext(world.controller.watch(10**6))

    run(story)


def test_logs_are_of_the_replicas_there_are(run: Any) -> None:
    async def story(world: World) -> None:
        await world.apply()
        await world.until(lambda: world.status().is_ready)
        (one,) = world.status().replicas
        Path(one.log_file).write_text("first\nsecond\n")
        found = [pair async for pair in world.controller.logs("default/iris", lines=1)]
        assert found == [(one.name, "second")]
        with pytest.raises(CallError, match="no replica r99"):
            [pair async for pair in world.controller.logs("default/iris", replica="r99")]

    run(story)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_in_whatever_order_it_ends_as_desired(run: Any, seed: int) -> None:
    async def story(world: World) -> None:
        chance = random.Random(seed)
        for _ in range(40):
            action = chance.choice(("apply", "apply", "scale", "die", "die", "fail", "delete", "wait", "canary"))
            if action == "apply":
                await world.apply(uri=f"m{chance.randrange(4)}", replicas=chance.randrange(1, 4))
            elif action == "canary":
                await world.apply(
                    uri=f"m{chance.randrange(4)}", more=f"canaryTrafficPercent: {chance.randrange(101)}"
                )
            elif action == "scale" and world.controller.objects()[0]:
                await world.controller.scale("default/iris", "predictor", chance.randrange(1, 4), None)
            elif action == "die" and world.launcher.alive:
                chance.choice(world.launcher.alive).end(-9)
            elif action == "fail":
                world.gateway.failures = chance.randrange(3)
            elif action == "delete" and chance.random() < 0.3 and world.controller.objects()[0]:
                await world.controller.delete("default/iris")
            await asyncio.sleep(chance.random() * 0.02)
        await world.apply(uri="last", replicas=2)
        await world.until(lambda: world.status().is_ready and len(world.launcher.alive) == 2, seconds=15)
        assert len(world.gateway.weights()) == 1
        await world.until(lambda: world.gateway.endpoints() == 2)
        await world.until(lambda: len(world.controller.store.replicas()) == 2)

    run(story)


def test_stopping_while_the_gateway_cannot_be_told_ends_everything(run: Any) -> None:
    async def story(world: World) -> None:
        await world.apply(replicas=3)
        await world.until(lambda: world.gateway.endpoints() == 3)
        world.gateway.failures = 10**6
        await world.controller.scale("default/iris", "predictor", 1, 1)
        await world.until(lambda: world.gateway.failures < 10**6)

    run(story)

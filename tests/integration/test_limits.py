"""A replica over its memory limit is ended, and said to be, by the kernel or by looking."""

import asyncio
import json
import sys
import time
from pathlib import Path

import msgspec
import pytest

from tiffin.kits import files, processes, waiting
from tiffin.local import limits
from tiffin.local.launching import ProcessRunning
from tiffin.local.limits import Group, Limited
from tiffin.local.seams import Order, Running
from tiffin.spec import Component, ContainerSource, ReplicaSpec, Resources

EATS = """
import sys, time
print("eating", flush=True)
eaten = []
for _ in range(40):
    eaten.append(bytearray(b"x") * (10 << 20))
    time.sleep(0.05)
print("full", flush=True)
time.sleep(60)
"""


class Python:
    """A launcher of one Python program."""

    def __init__(self, program: str) -> None:
        self.program = program

    def takes(self, component: Component) -> bool:
        return True

    async def launch(self, order: Order) -> ProcessRunning:
        child = await processes.Child.start([sys.executable, "-c", self.program], name=order.name, log=order.log)
        return ProcessRunning(child, "")

    async def adopt(self, order: Order, identity: processes.Identity, endpoint: str) -> Running | None:
        return ProcessRunning(processes.Adopted(identity, name=order.name, log=order.log), endpoint)

    async def close(self) -> None:
        pass


def order(tmp_path: Path, most: int) -> Order:
    component = Component(source=ContainerSource(image="x"), resources=Resources(memory_limit_bytes=most))
    spec = ReplicaSpec(deployment="d", model_name="d", component=component, path=str(tmp_path))
    return Order(name="d r1", spec=spec, file=tmp_path / "r1.json", log=tmp_path / "log")


def has_groups() -> bool:
    group = Group.make("test-probe", 64 << 20)
    return group is not None and group.remove()


@pytest.mark.parametrize("by", ["the kernel", "looking", "looking, adopted"])
def test_a_replica_over_its_limit_is_ended_and_said_to_be(
    by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by == "the kernel" and not has_groups():
        pytest.skip("no control group may be made here: run as root, or in a delegated group with memory")
    if by != "the kernel":
        monkeypatch.setattr(limits, "_parents", list)

    async def check() -> str:
        launcher = Limited(Python(EATS))
        one = order(tmp_path, 120 << 20)
        first = running = await launcher.launch(one)
        if by == "looking, adopted":
            running = await launcher.adopt(one, first.identity, "")
            first._watching.cancel()
        began = time.monotonic()
        await asyncio.wait_for(running.exited(), 30)
        assert time.monotonic() - began < 20
        await first.exited()
        if by == "the kernel":
            assert not running._group.path.exists()
        return running.describe_end()

    said = asyncio.run(check())
    assert "more than its 120 MiB of memory (OOMKilled" in said
    assert "eating" in said
    assert "full" not in said


def test_a_replica_within_its_limit_lives_and_stops_as_usual(tmp_path: Path) -> None:
    async def check() -> str:
        launcher = Limited(Python(EATS.replace("range(40)", "range(2)")))
        running = await launcher.launch(order(tmp_path, 400 << 20))

        async def full() -> bool | None:
            return "full" in "".join(files.last_lines(tmp_path / "log")) or None

        assert await waiting.until(full, seconds=20)
        assert running.exit_code is None
        await running.stop(grace_seconds=5)
        if running._group is not None:
            assert not running._group.path.exists()
        return running.describe_end()

    assert "OOMKilled" not in asyncio.run(check())


def test_groups_that_a_killed_controller_left_are_removed(tmp_path: Path) -> None:
    left = Group.make("left-behind", 64 << 20)
    if left is None:
        pytest.skip("no control group may be made here: run as root, or in a delegated group with memory")
    limits.sweep()
    assert not left.path.exists()


def test_without_a_limit_nothing_is_looked_after(tmp_path: Path) -> None:
    async def check() -> None:
        one = order(tmp_path, 0)
        running = await Limited(Python("pass")).launch(one)
        assert isinstance(running, ProcessRunning)
        assert await running.exited() == 0

    asyncio.run(check())


# -- replicas of ours that misbehave

MODEL = """
import kserve

class Model(kserve.Model):
    def load(self):
        {load}
        self.ready = True

if __name__ == "__main__":
    model = Model("m")
    {main}
    kserve.ModelServer().start([model])
"""


@pytest.mark.parametrize(
    ("load", "main", "says"),
    [
        ("raise RuntimeError('no weights')", "model.load()", "model.py raised RuntimeError: no weights"),
        ("import sys; sys.exit(4)", "model.load()", "model.py ended with exit code 4 before it started"),
        ("import nowhere", "model.load()", "nowhere is not installed"),
        ("pass", "pass", "found m not ready"),
        ("pass", "raise SystemExit", "ended with exit code 0 before"),
        ("open('/mnt/models/nothing')", "model.load()", "read the directory from the variable STORAGE_URI"),
    ],
)
def test_a_program_that_does_not_start_says_why(load: str, main: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(MODEL.format(load=load, main=main))
    said = asyncio.run(_replica(tmp_path))
    assert says in said


def test_a_program_that_prints_without_end_fills_no_disk(tmp_path: Path) -> None:
    load = "[print('x' * (1 << 20)) for _ in range(150)]; import time; time.sleep(2); raise RuntimeError('done')"
    (tmp_path / "model.py").write_text(MODEL.format(load=load, main="model.load()"))
    said = asyncio.run(_replica(tmp_path))
    assert "done" in said
    assert (tmp_path / "log").stat().st_size < 40 << 20


async def _replica(tmp_path: Path) -> str:
    source = ContainerSource(image="m", bundle="b", command=("python", "model.py"))
    spec = ReplicaSpec(
        deployment="m",
        model_name="m",
        component=Component(source=source),
        path=str(tmp_path),
        ready_file=str(tmp_path / "ready"),
    )
    file = tmp_path / "order.json"
    file.write_bytes(msgspec.json.encode(spec))
    child = await processes.Child.start(
        [sys.executable, "-m", "tiffin.runtime", "--replica", str(file)], name="m r1", log=tmp_path / "log"
    )
    try:
        assert await asyncio.wait_for(child.exited(), 60) == 3
    finally:
        child.kill_group()
    assert not (tmp_path / "ready").exists(), json.loads((tmp_path / "ready").read_text())
    return "\n".join(files.last_lines(tmp_path / "log", 40, most_bytes=200_000))

"""Images that run in the container engine of this machine."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from tiffin.errors import ProcessError
from tiffin.kits import files, logfiles, ports, processes, threads
from tiffin.kits.processes import Identity
from tiffin.local import engine as engines
from tiffin.local.engine import Engine, EngineAbsent
from tiffin.local.probes import Readiness
from tiffin.local.programs import MODELS, environment_of, filled, source_of
from tiffin.local.seams import Order
from tiffin.spec import Component, ContainerSource

ORDER_LABEL = "dev.tiffin.order"


class Container:
    """A container, and the thread that copies what it prints to the log."""

    def __init__(self, engine: Engine, order: Order, key: str, since: float = 0.0) -> None:
        self._engine = engine
        self._order = order
        self._key = key
        self._source = source_of(order)
        self._readiness = Readiness(self._source, order.name)
        self._ended: dict[str, Any] | None = None
        self.has_answered = False
        self.identity = Identity(0, 0.0)
        self.endpoint = ""
        self._addresses: list[tuple[str, int]] = []
        threading.Thread(target=self._copy, args=(since,), name="container-log", daemon=True).start()

    def learn(self) -> bool:
        """Its process and address, from the engine; whether it runs. Blocking."""
        found = self._engine.inspect(self._key)
        state = (found or {}).get("State", {})
        if found is None or not state.get("Running"):
            self._ended = self._ended or state or {"ExitCode": -1}
            return False
        pid = int(state.get("Pid", 0))
        self.identity = processes.identify(pid) or Identity(pid, 0.0)
        ports = found["NetworkSettings"].get("Ports") or {}
        published = (ports.get(f"{self._source.port}/tcp") or [{}])[0].get("HostPort")
        on_host = found["HostConfig"].get("NetworkMode") == "host"
        port = found["Config"]["Labels"].get(f"{ORDER_LABEL}.port") if on_host else published
        if port:
            self.endpoint = f"127.0.0.1:{port}"
            self._addresses = [("127.0.0.1", int(port))]
        return True

    @property
    def exit_code(self) -> int | None:
        """``None`` while it runs; what it was killed for is negative."""
        if self._ended is None:
            if self.identity.created == 0 or processes.find(self.identity) is not None:
                return None
            with contextlib.suppress(ProcessError, EngineAbsent):
                self.learn()
        ended = self._ended
        return None if ended is None else processes.as_signal(int(ended.get("ExitCode", -1)))

    @property
    def start_seconds(self) -> Mapping[str, float]:
        """Nothing beyond what can be seen from outside."""
        return {}

    async def exited(self) -> int:
        """Wait for its end, and remove it."""
        wait = partial(self._engine.ask, "POST", f"/containers/{self._key}/wait", seconds=None, missing=True)
        with contextlib.suppress(ProcessError, EngineAbsent):
            await threads.in_daemon(wait)
        if self._ended is None:
            with contextlib.suppress(ProcessError, EngineAbsent):
                await threads.in_daemon(self.learn)
        code = self.exit_code
        with contextlib.suppress(ProcessError, EngineAbsent):
            await threads.in_daemon(partial(self._engine.remove, self._key))
        return -1 if code is None else code

    async def is_ready(self) -> bool:
        """Whether its port answers; raises ProcessError when it listens on another one."""
        if await self._readiness.ask(self._addresses, self.identity.pid) is None:
            return False
        self.has_answered = True
        return True

    async def stop(self, *, grace_seconds: float) -> None:
        """SIGTERM by the engine, then SIGKILL; then it is removed."""
        work = partial(
            self._engine.ask,
            "POST",
            f"/containers/{self._key}/stop",
            query={"t": str(max(0, round(grace_seconds)))},
            seconds=grace_seconds + 30,
            missing=True,
        )
        try:
            await threads.in_daemon(work)
            await threads.in_daemon(self.learn)
        finally:
            await threads.in_daemon(partial(self._engine.remove, self._key))

    def kill(self) -> None:
        """SIGKILL, now."""
        with contextlib.suppress(ProcessError, EngineAbsent):
            self._engine.ask("POST", f"/containers/{self._key}/kill", missing=True, seconds=5)

    def describe_end(self) -> str:
        """How it ended, with its last log lines."""
        lines = (
            "".join(f"\n    {line}" for line in files.last_lines(self._order.log)) or "\n    (its log is empty)"
        )
        how = processes.ending(self.exit_code)
        if self.was_out_of_memory:
            limit = self._order.spec.component.resources.memory_limit_bytes or 0
            how = f"was ended for using more than its {limit >> 20} MiB of memory (OOMKilled)"
        said = (self._ended or {}).get("Error") or ""
        return f"{self._order.name} {how}{f' ({said})' if said else ''}; its last log lines:{lines}"

    @property
    def was_out_of_memory(self) -> bool:
        """Whether the kernel ended it for its memory."""
        return bool((self._ended or {}).get("OOMKilled"))

    def _copy(self, since: float) -> None:
        query = {"stdout": "true", "stderr": "true", "follow": "true", "since": f"{since:.3f}"}
        with contextlib.suppress(OSError), self._order.log.open("ab", buffering=0) as log:
            for chunk in self._engine.stream(f"/containers/{self._key}/logs", query):
                log.write(chunk)
                logfiles.trim(log.fileno())


class Containers:
    """Runs images in the container engine of this machine; see ``seams.Launcher``.

    Args:
        run: below it are the orders of one controller; ``close`` removes what is left of them.
    """

    def __init__(self, run: Path | None = None) -> None:
        self._run = run
        self._was_used = False

    def takes(self, component: Component) -> bool:
        """Images that no bundle stands for."""
        source = component.source
        return isinstance(source, ContainerSource) and not source.bundle

    async def launch(self, order: Order) -> Container:
        """Make and start the container.

        Raises:
            EngineAbsent: no engine answers. ProcessError: it refused, with its own words.
        """
        self._was_used = True
        return await threads.in_daemon(partial(self._launch, order))

    def _launch(self, order: Order) -> Container:
        engine = engines.find()
        for left in engine.labelled(f"{ORDER_LABEL}={order.file}"):
            engine.remove(left["Id"])
        made = engine.ask("POST", "/containers/create", body=request_of(order, ports.free()))
        key = str(made["Id"])
        try:
            engine.ask("POST", f"/containers/{key}/start")
        except ProcessError:
            engine.remove(key)
            raise
        container = Container(engine, order, key)
        container.learn()
        return container

    async def adopt(self, order: Order, identity: Identity, endpoint: str) -> Container | None:
        """The container that an earlier controller started for this order, when it still runs."""
        self._was_used = True
        return await threads.in_daemon(partial(self._adopt, order))

    def _adopt(self, order: Order) -> Container | None:
        try:
            engine = engines.find()
            for found in engine.labelled(f"{ORDER_LABEL}={order.file}"):
                container = Container(engine, order, found["Id"], since=time.time())
                if container.learn():
                    return container
                engine.remove(found["Id"])
        except (EngineAbsent, ProcessError):
            return None
        return None

    def sweep(self, run: Path, known: Sequence[Path] = ()) -> int:
        """Remove containers of orders below ``run`` that nobody knows any more; how many. Blocking.

        An engine that does not answer, or not well, has none.
        """
        count = 0
        with contextlib.suppress(EngineAbsent, ProcessError):
            engine = engines.find()
            for found in engine.labelled(ORDER_LABEL):
                order = Path(found["Labels"][ORDER_LABEL])
                if order.is_relative_to(run) and order not in known:
                    engine.remove(found["Id"])
                    count += 1
        return count

    async def close(self) -> None:
        """Remove what is left of this controller's containers."""
        if self._run is not None and self._was_used:
            await threads.in_daemon(partial(self.sweep, self._run))


def request_of(order: Order, port: int) -> dict[str, Any]:
    """What the engine is asked to make. Pure.

    A container that calls another component shares the network of this machine, where the gateway is; it is told
    its ``port`` in its flags and in PORT.
    """
    source, resources = source_of(order), order.spec.component.resources
    calls = bool(order.spec.component.calls)
    environment = environment_of(order, MODELS)
    own_port = port if calls else source.port
    environment.setdefault("PORT", str(own_port))
    bare = msgspec.structs.replace(source, mounts={})
    host: dict[str, Any] = {
        "Binds": [f"{artefact.uri}:{place}:ro" for place, artefact in source.mounts.items()],
        "RestartPolicy": {"Name": "no"},
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "8m", "max-file": "2"}},
    }
    if calls:
        host["NetworkMode"] = "host"
    else:
        host["PortBindings"] = {f"{source.port}/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
    if resources.memory_limit_bytes:
        # As much again as swap would make the limit a slow death.
        host |= {"Memory": resources.memory_limit_bytes, "MemorySwap": resources.memory_limit_bytes}
    if resources.cpu:
        host["CpuShares"] = max(2, round(resources.cpu * 1024))
    body: dict[str, Any] = {
        "Image": source.image,
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Labels": {ORDER_LABEL: str(order.file), f"{ORDER_LABEL}.port": str(own_port)},
        "ExposedPorts": {f"{source.port}/tcp": {}},
        "HostConfig": host,
    }
    if source.command:
        body["Entrypoint"] = [filled(word, bare, environment, own_port) for word in source.command]
    if source.arguments:
        body["Cmd"] = [filled(word, bare, environment, own_port) for word in source.arguments]
    return body

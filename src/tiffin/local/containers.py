"""Images on one machine: a local bundle of that tag, else a container engine, else a clear refusal.

``located`` decides, when a deployment is prepared. A bundle's program that was written for KServe's server runs in
a replica of ours, another one as it is (both by ``Programs``); an image runs in the engine (``Containers``).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import re
import shlex
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from tiffin.errors import BundleError, ProcessError
from tiffin.kits import files, logfiles, processes, threads
from tiffin.kits.paths import DataDirectory
from tiffin.kits.processes import Identity
from tiffin.local import engine as engines
from tiffin.local.engine import Engine, EngineAbsent
from tiffin.local.launching import Processes
from tiffin.local.probes import answers, ports_listened_on
from tiffin.local.seams import Order, Running
from tiffin.models import storage
from tiffin.spec import Component, ContainerSource
from tiffin.spec.deployment import Artefact

MODELS = "/mnt/models"
ORDER_LABEL = "dev.tiffin.order"
_WRAPPER = Path(__file__).with_name("wrapper.py")
_PATIENCE_SECONDS = 10.0
_VARIABLE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")


def located(
    component: Component, data: DataDirectory, *, progress: Callable[[storage.Progress], None] | None = None
) -> tuple[Component, Path]:
    """The component as a launcher is told of it, and the directory it starts in; blocking.

    Mounts are fetched, and their addresses are local paths from here on.

    Raises:
        BundleError: neither a bundle nor an engine has the image; the text says what to do.
        StorageError: a mount cannot be fetched.
    """
    source = component.source
    assert isinstance(source, ContainerSource)
    source = msgspec.structs.replace(source, mounts=_fetched(source, data, progress))
    try:
        return _from_bundle(component, source, data)
    except BundleError as error:
        missing = error
    try:
        engine = engines.find()
    except EngineAbsent as absent:
        raise BundleError(
            f"the image {source.image} is not in the local bundle store ({missing.message}), and {absent.message}",
            hint=f"make a bundle of its sources: tiffin build -t {source.image} DIR; or {absent.hint}",
        ) from missing
    if not engine.has_image(source.image):
        raise BundleError(
            f"the image {source.image} is neither in the local bundle store nor in the container engine",
            hint=f"docker pull {source.image}, or make a bundle of it: tiffin build -t {source.image} DIR",
        ) from missing
    return msgspec.structs.replace(component, source=source), data.root


def _fetched(
    source: ContainerSource, data: DataDirectory, progress: Callable[[storage.Progress], None] | None
) -> dict[str, Artefact]:
    found = {}
    for place, artefact in source.mounts.items():
        path = storage.fetch(
            artefact.uri,
            base=Path(artefact.base).absolute(),
            cache=data.cache,
            progress=progress,
            credentials=source.credentials,
        )
        found[place] = Artefact(uri=str(path))
    return found


def _from_bundle(component: Component, source: ContainerSource, data: DataDirectory) -> tuple[Component, Path]:
    from tiffin.bundle.store import BundleStore

    bundle = BundleStore(data.bundles).get(source.image)
    if bundle.kind != "program":
        raise BundleError(
            f"the bundle {source.image} is a {bundle.kind}, and a program is wanted here",
            hint=f"build it as one: tiffin build -t {source.image} --kind program DIR",
        )
    manifest = bundle.manifest
    # An image's command replaces its ENTRYPOINT and CMD, its arguments replace CMD alone.
    defaults = () if source.command or manifest.arguments is msgspec.UNSET else manifest.arguments
    found = msgspec.structs.replace(
        source,
        bundle=bundle.digest,
        command=source.command or tuple(shlex.split(bundle.target)),
        arguments=source.arguments or defaults,
    )
    environment = {**manifest.environment, **component.environment}
    return msgspec.structs.replace(component, source=found, environment=environment), bundle.source


@functools.lru_cache(maxsize=256)
def _is_ours(source: Path) -> bool:
    """Whether a bundle's program is served by a replica of ours."""
    from tiffin.bundle import programs

    return programs.uses_kserve(source)


def command_line(source: ContainerSource, environment: Mapping[str, str], port: int) -> list[str]:
    """How a bundle's program is started on this machine.

    ``$(NAME)`` stands for a variable, as in Kubernetes; ``/mnt/models`` for where the mount is; and the port that
    the image has for itself for the one it gets here.
    """
    words = [_filled(word, source, environment, port) for word in (*source.command, *source.arguments)]
    if words and re.fullmatch(r"python[0-9.]*", os.path.basename(words[0])):
        words[0] = sys.executable
    return words


def _filled(word: str, source: ContainerSource, environment: Mapping[str, str], port: int) -> str:
    word = _VARIABLE.sub(lambda found: environment.get(found[1], found[0]), word)
    for place, artefact in source.mounts.items():
        word = word.replace(place, artefact.uri)
    return re.sub(rf"(?<!\d){source.port}(?!\d)", str(port), word)


def environment_of(order: Order, source: ContainerSource) -> dict[str, str]:
    """The variables a program gets on top of the controller's: its own, and where its mounts are."""
    found = {**order.environment, **order.spec.component.environment}
    if MODELS in source.mounts:
        found["STORAGE_URI"] = source.mounts[MODELS].uri
    return found


def free_port() -> int:
    """A port of the loopback that nobody has now; another process may be faster."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _Readiness:
    """Asks whether a program can be called, and notices that it listens somewhere else."""

    def __init__(self, source: ContainerSource, name: str) -> None:
        self._source = source
        self._name = name
        self._began = time.monotonic()

    async def ask(self, addresses: Sequence[tuple[str, int]], pid: int) -> tuple[str, int] | None:
        """The first address that answers; raises ProcessError when the program has chosen another port."""
        for host, port in addresses:
            if await threads.in_daemon(partial(answers, host, port, self._source.ready_path)):
                return host, port
        if time.monotonic() - self._began > _PATIENCE_SECONDS:
            expected = {self._source.port, *(port for _, port in addresses)}
            found = await threads.in_daemon(partial(ports_listened_on, pid))
            if found and not found & expected:
                wanted = " or ".join(map(str, sorted(expected)))
                raise ProcessError(
                    f"{self._name} listens on port {', '.join(map(str, sorted(found)))}, expected {wanted}",
                    hint="set the container's ports[].containerPort to the port it has, or let it listen on $PORT",
                )
        return None


class Program:
    """A program of a bundle, as a process with a port of the loopback."""

    def __init__(self, order: Order, process: processes.Child | processes.Adopted, port: int) -> None:
        self._order = order
        self._process = process
        self.has_answered = False
        self._source = _source(order)
        # One that reads neither $PORT nor a flag listens where its image says.
        self._addresses = [("127.0.0.1", port)]
        if port != self._source.port:
            self._addresses.append(("127.0.0.1", self._source.port))
        self._readiness = _Readiness(self._source, order.name)
        self.endpoint = f"127.0.0.1:{port}"

    @property
    def identity(self) -> Identity:
        """Of its parent, which is ours."""
        return self._process.identity

    @property
    def exit_code(self) -> int | None:
        """``None`` while it runs; negative is the signal that ended it."""
        return _as_signal(self._process.exit_code)

    @property
    def start_seconds(self) -> Mapping[str, float]:
        """Nothing beyond what can be seen from outside."""
        return {}

    async def exited(self) -> int:
        """Wait for its end."""
        return _as_signal(await self._process.exited()) or 0

    async def is_ready(self) -> bool:
        """Whether its port answers; raises ProcessError when it listens on another one."""
        own = await threads.in_daemon(partial(ports_listened_on, self.identity.pid))
        addresses = [address for address in self._addresses if address[1] in own] or self._addresses[:1]
        found = await self._readiness.ask(addresses, self.identity.pid)
        if found is None:
            return False
        self.endpoint = f"{found[0]}:{found[1]}"
        self.has_answered = True
        return True

    async def stop(self, *, grace_seconds: float) -> None:
        """SIGTERM, then SIGKILL."""
        await self._process.stop(grace_seconds=grace_seconds)

    def kill(self) -> None:
        """SIGKILL to it and what it started."""
        self._process.kill_group()

    def describe_end(self) -> str:
        """How it ended, with its last log lines."""
        lines = (
            "".join(f"\n    {line}" for line in files.last_lines(self._order.log)) or "\n    (its log is empty)"
        )
        return f"{self._order.name} {processes.ending(self.exit_code)}; its last log lines:{lines}"


class Programs:
    """Runs the programs of bundles; see ``seams.Launcher``."""

    def __init__(self, data: DataDirectory) -> None:
        self._data = data
        self._replicas = Processes()

    def takes(self, component: Component) -> bool:
        """Images that a bundle stands for."""
        source = component.source
        return isinstance(source, ContainerSource) and bool(source.bundle)

    def _runs_in_a_replica(self, order: Order) -> bool:
        return _is_ours(Path(order.spec.path))

    async def launch(self, order: Order) -> Running:
        """Start it; raises ProcessError when the system cannot."""
        source = _source(order)
        if self._runs_in_a_replica(order):
            environment = environment_of(order, source)
            return await self._replicas.launch(dataclasses.replace(order, environment=environment))
        port = free_port()
        environment = {**os.environ, **environment_of(order, source), "PORT": str(port)}
        command = command_line(source, environment, port)
        if not command:
            raise ProcessError(f"{order.name} has no command to start")
        child = await processes.Child.start(
            [sys.executable, "-I", "-S", str(_WRAPPER), str(order.file), "--", *command],
            name=order.name,
            log=order.log,
            # Byte code written into a bundle would make it differ from what was built.
            environment={**environment, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"},
            directory=Path(order.spec.path),
        )
        return Program(order, child, port)

    async def adopt(self, order: Order, identity: Identity, endpoint: str) -> Running | None:
        """The one that an earlier controller started, when it still runs."""
        if self._runs_in_a_replica(order):
            return await self._replicas.adopt(order, identity, endpoint)
        if processes.find(identity) is None:
            return None
        adopted = processes.Adopted(identity, name=order.name, log=order.log)
        return Program(order, adopted, int(endpoint.rpartition(":")[2]))

    async def close(self) -> None:
        """Nothing helps it."""


class Container:
    """A container, and the thread that copies what it prints to the log."""

    def __init__(self, engine: Engine, order: Order, key: str, since: float = 0.0) -> None:
        self._engine = engine
        self._order = order
        self._key = key
        self._source = _source(order)
        self._readiness = _Readiness(self._source, order.name)
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
        return None if ended is None else _as_signal(int(ended.get("ExitCode", -1)))

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
        made = engine.ask("POST", "/containers/create", body=request_of(order, free_port()))
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
    source, resources = _source(order), order.spec.component.resources
    calls = bool(order.spec.component.calls)
    environment = {**order.environment, **order.spec.component.environment}
    if MODELS in source.mounts:
        environment["STORAGE_URI"] = MODELS
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
        body["Entrypoint"] = [_filled(word, bare, environment, own_port) for word in source.command]
    if source.arguments:
        body["Cmd"] = [_filled(word, bare, environment, own_port) for word in source.arguments]
    return body


def _source(order: Order) -> ContainerSource:
    source = order.spec.component.source
    assert isinstance(source, ContainerSource)
    return source


def _as_signal(code: int | None) -> int | None:
    """137 of a program that was killed by signal 9 is -9."""
    return 128 - code if code is not None and 128 < code < 128 + 65 else code

"""The Envoy process: started or taken over, fed, watched, stopped.

Clusters learn of endpoints from files, so the cluster resources that ``routes`` renders are completed
here with their addresses. All files live in one directory that the caller owns and removes.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from pathlib import Path

import msgspec

from tiffin.errors import ProcessError
from tiffin.gateway import bootstrap, filters, routes, tokens, watches
from tiffin.gateway.admin import Admin
from tiffin.gateway.binary import check, find_binary
from tiffin.gateway.clusters import has_replicas
from tiffin.gateway.files import ResourceFiles, endpoints_file
from tiffin.gateway.resources import Resource, Resources, assignments, inline, merge
from tiffin.gateway.router import PoolSample, Snapshot
from tiffin.gateway.watches import Watches
from tiffin.kits import files, ports, processes, waiting

START_SECONDS = 20.0
TAKEN_SECONDS = 5.0
REACHABLE_SECONDS = 1.0
CHANGED_SECONDS = 6.0
STOP_SECONDS = 5.0
NAME = "the gateway (Envoy)"

CLUSTERS_VERSION = "cluster_manager.cds.version_text"
TOKENS_VERSION = f"extension_config_discovery.http_filter.{filters.TOKENS}.version_text"
ROUTES_VERSION = f"http.http.rds.{routes.ROUTES_NAME}.version_text"


class Envoy:
    """A Router: one Envoy with one listener.

    Args:
        directory: A directory for its files: empty, or that of the Envoy to adopt.
        sockets: Where its admin socket goes; a short path.
        log: Its log file.
        host: Address to listen on.
        port: Port to listen on; 0 lets the system choose.
        concurrency: Worker threads.
    """

    def __init__(
        self,
        directory: Path,
        *,
        sockets: Path,
        log: Path,
        host: str = "127.0.0.1",
        port: int = 8080,
        concurrency: int = 1,
    ) -> None:
        self._directory = directory
        self._admin = Admin(str(sockets / "admin.sock"))
        self._log = log
        self._host = host
        self._port = port
        self._concurrency = concurrency
        self._files = ResourceFiles(directory)
        self._keys = tokens.Keys()
        self._watches = Watches(watches.affordable())
        self._resources: Resources | None = None
        self._pools: tuple[str, ...] = ()
        self._taken: dict[str, str] = {}
        self._checked: object = None
        self._process: processes.Child | processes.Adopted | None = None
        self._publishing = asyncio.Lock()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port; the real port after ``start``."""
        return self._host, self._port

    @property
    def identity(self) -> processes.Identity | None:
        """The running process."""
        return self._process.identity if self._process else None

    async def start(self, snapshot: Snapshot) -> None:
        """Start and return when it listens; raises PortInUse, ProcessError, MissingExtra or SpecError."""
        binary = find_binary()
        resources = await self._render(snapshot)
        ports.check_free(self._host, self._port)
        versions = self._write_targets(resources)
        versions[ROUTES_VERSION] = self._files.write_routes(resources)
        self._resources = resources
        self._note_pools(snapshot)
        await self._launch(binary)
        try:
            await self._wait_for(versions)
        except BaseException:
            await self.stop()
            raise

    async def adopt(self, identity: processes.Identity, snapshot: Snapshot) -> bool:
        """Take over an Envoy that another controller started with the same directory, host and port.

        It goes on serving all the while. ``False`` when it is gone, does not answer or was started otherwise:
        then it is untouched, and to be stopped before another one is started. Raises SpecError like ``publish``.
        """
        if processes.find(identity) is None or not self._was_started_alike():
            return False
        port = await self._admin.bound_port()
        before = self._files.read()
        if port is None or before is None or self._port not in (0, port):
            return False
        asked, self._port = self._port, port
        self._watches.keep(entry["cluster_name"] for entry in before.endpoints)
        self._resources = before
        self._process = adopted = processes.Adopted(identity, name=NAME, log=self._log)
        try:
            await self.publish(snapshot)
        except BaseException as error:
            adopted.close()
            self._process, self._resources, self._port = None, None, asked
            if isinstance(error, ProcessError):
                return False
            raise
        return True

    async def restart(self) -> None:
        """Start again after it died, with what was published last; raises like ``start``."""
        await self._launch(find_binary())

    async def publish(self, snapshot: Snapshot) -> None:
        """Route a new snapshot; returns when Envoy has taken it. Raises SpecError before anything changed."""
        async with self._publishing:
            after = await self._render(snapshot)
            before = self._resources or after
            if after != before or not self._taken:
                # What is led to comes before the routes that lead there, and leaves after them.
                await self._wait_for(self._write_targets(merge(before, after)))
                await self._wait_until_reachable(before, after)
                await self._wait_for({ROUTES_VERSION: self._files.write_routes(after)})
                await self._wait_for(self._write_targets(after))
                self._files.remove_endpoints(after)
                self._resources = after
            self._note_pools(snapshot)

    async def check(self, snapshot: Snapshot) -> None:
        """Have another Envoy read it without running it; raises SpecError with what that says against it."""
        snapshot = await asyncio.to_thread(self._keys.put, snapshot)
        resources = routes.render(snapshot)
        await check(find_binary(), bootstrap.static_bundle(resources, self._directory), self._directory)

    async def sample(self) -> Mapping[str, PoolSample]:
        """The counters of every pool in the last snapshot; empty while it does not answer."""
        return await self._admin.samples(self._pools) or {}

    async def answers(self) -> bool:
        """Whether it answers on its admin socket."""
        return await self._admin.answers()

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill_group()

    async def exited(self) -> int:
        """Wait for its end; the exit code."""
        if self._process is None:
            raise ProcessError("the gateway was not started")
        return await self._process.exited()

    async def stop(self) -> None:
        """End it; returns when it is gone and its socket is removed."""
        if self._process is not None:
            await self._process.stop(grace_seconds=STOP_SECONDS)
        self._remove_admin()

    def describe_end(self) -> str:
        """How it ended, for an error message."""
        return self._process.describe_end() if self._process else "the gateway was not started"

    async def _render(self, snapshot: Snapshot) -> Resources:
        """The resources; raises SpecError when they contradict themselves, or Envoy would not take them."""
        snapshot = await asyncio.to_thread(self._keys.put, snapshot)
        resources = routes.render(snapshot)
        await self._check(snapshot, resources)
        watched = self._watches.give(entry["cluster_name"] for entry in resources.endpoints)
        resources = inline(resources, assignments(resources).keys() - watched)
        clusters = tuple(
            {**cluster, "eds_cluster_config": self._source(cluster)} if cluster["name"] in watched else cluster
            for cluster in resources.clusters
        )
        return dataclasses.replace(resources, clusters=clusters)

    async def _check(self, snapshot: Snapshot, resources: Resources) -> None:
        """Ask Envoy about keys and patterns that it has not seen: it alone knows whether it can read them."""
        doubtful = (resources.tokens["providers"], tokens.patterns(snapshot))
        if doubtful != self._checked and any(doubtful):
            await check(find_binary(), bootstrap.static_bundle(resources, self._directory), self._directory)
        self._checked = doubtful

    def _note_pools(self, snapshot: Snapshot) -> None:
        self._pools = tuple(pool.name for routed in snapshot.routed for pool in routed.pools)

    def _source(self, cluster: Resource) -> Resource:
        return {"eds_config": bootstrap.file_source(self._directory / endpoints_file(cluster["name"]))}

    def _bootstrap(self) -> bytes:
        made = bootstrap.bootstrap(self._directory, host=self._host, port=self._port, admin=self._admin.path)
        return msgspec.json.encode(made)

    def _was_started_alike(self) -> bool:
        """Whether this version of Tiffin would start Envoy with the same file, but perhaps for the port."""
        try:
            found = msgspec.json.decode((self._directory / "bootstrap.json").read_bytes())
            listener = found["static_resources"]["listeners"][0]["address"]["socket_address"]
            listener["port_value"] = self._port
        except (OSError, msgspec.MsgspecError, KeyError, IndexError, TypeError):
            return False
        return bool(found == msgspec.json.decode(self._bootstrap()))

    async def _launch(self, binary: Path) -> None:
        self._remove_admin()
        self._taken = {}
        path = self._directory / "bootstrap.json"
        files.write_atomic(path, self._bootstrap())
        self._process = child = await processes.Child.start(
            [
                str(binary),
                "--config-path",
                str(path),
                "--concurrency",
                str(self._concurrency),
                # No shared memory to collide in with another Envoy on this machine.
                "--disable-hot-restart",
                "--reject-unknown-dynamic-fields",
                "--log-level",
                "warning",
            ],
            name=NAME,
            log=self._log,
        )
        try:
            port = await waiting.until(self._bound_port, seconds=START_SECONDS)
            if port is None:
                raise ProcessError(f"{NAME} did not listen within {START_SECONDS:.0f} s; its log is {self._log}")
            self._port = port
        except BaseException:
            await child.stop(grace_seconds=1)
            raise

    async def _bound_port(self) -> int | None:
        """The port it listens on; raises when it ended or could not bind."""
        process = self._process
        assert process is not None
        if process.exit_code is not None:
            lines = "\n".join(files.last_lines(self._log))
            if "ddress already in use" in lines or "cannot bind" in lines:
                raise ports.in_use(self._host, self._port)
            raise ProcessError(process.describe_end())
        return await self._admin.bound_port()

    def _write_targets(self, resources: Resources) -> dict[str, str]:
        """Write all that routes refer to; what Envoy will report when it has taken it."""
        versions = {
            f"cluster.{cluster}.version_text": version
            for cluster, version in self._files.write_endpoints(resources).items()
        }
        versions[CLUSTERS_VERSION] = self._files.write_clusters(resources)
        versions[TOKENS_VERSION] = self._files.write_tokens(resources)
        return versions

    async def _wait_for(self, versions: Mapping[str, str]) -> None:
        """Wait until Envoy reports these versions; raises ProcessError when it does not, as after refusing one."""
        missing = {name: version for name, version in versions.items() if self._taken.get(name) != version}

        async def ask() -> bool | None:
            if not missing or self._process is None or self._process.exit_code is not None:
                # It reads the files when it is started again.
                return True
            taken = await self._admin.versions() or {}
            self._taken.update(taken)
            for name in [name for name, version in missing.items() if taken.get(name) == version]:
                del missing[name]
            return None if missing else True

        if await waiting.until(ask, seconds=TAKEN_SECONDS, every_seconds=0.01) is None:
            lines = "".join(f"\n    {line}" for line in files.last_lines(self._log, 5))
            raise ProcessError(f"{NAME} did not take what it was told ({min(missing)}); its last lines:{lines}")

    async def _wait_until_reachable(self, before: Resources, after: Resources) -> None:
        """Wait until the first replicas of pools are known to be well; go on without those that are not.

        A call that comes earlier would find the pool empty, though its replicas are ready.
        """
        old, new = assignments(before), assignments(after)
        inlined = new.keys() - {entry["cluster_name"] for entry in after.endpoints}
        least = {
            name: len(endpoints["endpoints"])
            for name, endpoints in new.items()
            if has_replicas(endpoints) and not has_replicas(old.get(name, {}))
        }
        # One that is told as a whole leads to its old endpoints until the new ones are known to be well.
        changed = {name for name in inlined if name in old and old[name] != new[name]}
        least.update(dict.fromkeys(changed - least.keys(), 0))

        async def ask() -> bool | None:
            if not least or self._process is None or self._process.exit_code is not None:
                return True
            healthy = await self._admin.healthy(least)
            return True if all(healthy.get(name, -1) >= count for name, count in least.items()) else None

        seconds = CHANGED_SECONDS if changed else REACHABLE_SECONDS
        await waiting.until(ask, seconds=seconds, every_seconds=0.005)

    def _remove_admin(self) -> None:
        Path(self._admin.path).unlink(missing_ok=True)

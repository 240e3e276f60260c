"""Listens for calls to what has no replica, holds them, and connects them once there is one."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

import msgspec

from tiffin.autoscale.holding import MOST_CALLS, MOST_IN_ALL, Entry, Holds
from tiffin.kits.waiting import until
from tiffin.kube.names import ACTIVATOR_PORTS
from tiffin.operator.activator.asking import Asking
from tiffin.operator.activator.leaving import Leaving
from tiffin.operator.activator.splice import Caller, Pod
from tiffin.operator.activator.targets import Address, Target, Targets

log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.1
_LONGEST_RETRY_SECONDS = 1.0
_LISTEN_AGAIN_SECONDS = 1.0
_LAST_ANSWERS_SECONDS = 2.5
_TOGETHER = 64
_PACE_SECONDS = 0.02
"""So many connections are made to one replica in this time, when many waited: what a server cannot queue is lost,
and many queue no more than 100."""
_MOST_REPLAYS = 3
"""Pods that may take a call and die without a word before its caller is told: the call may be why."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one process. ``seconds`` is how long a call waits that says nothing else of itself."""

    host: str = ""
    most: int = MOST_CALLS
    most_in_all: int = MOST_IN_ALL
    most_connections: int = 4 * MOST_IN_ALL
    seconds: float = 180.0
    connect_seconds: float = 2.0
    grace_seconds: float = 25.0


class Count(msgspec.Struct):
    """Of one target, since the process began (``connected``: now)."""

    held: int = 0
    connected: int = 0
    refused: int = 0
    left: int = 0
    replayed: int = 0


class _Refused(Exception):
    """The caller has to be told."""


class Holder:
    """``update`` it with what ``targets`` says; ``close`` it. All from the loop it was made in."""

    def __init__(self, asking: Asking, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.targets = Targets()
        self.counts: dict[str, Count] = {}
        self.is_closing = False
        self._asking = asking
        self._loop = asyncio.get_running_loop()
        self._holds = Holds(most_in_all=self.settings.most_in_all)
        self._leaving = Leaving(self._loop)
        self._listeners: dict[int, tuple[str, asyncio.Server]] = {}
        self._turns: dict[int, asyncio.Future[None]] = {}
        self._callers: dict[Caller, asyncio.Task[None] | None] = {}
        self._busy: Counter[Address] = Counter()
        self._gates: dict[Address, asyncio.Semaphore] = {}
        self._dirty = asyncio.Event()
        self._listening = self._loop.create_task(self._listen())

    # -- what the cluster says -----------------------------------------------------------------------------

    def update(self, key: str | None) -> None:
        """A target or its endpoints may have changed; what waits goes on if it can."""
        if key is None:
            return
        target = self.targets.get(key)
        if target is None:
            for index in range(ACTIVATOR_PORTS):
                self._settle(self._holds.forget(_pool(key, index)), _Refused("its Service was deleted"))
        else:
            for index, name in enumerate(target.ports):
                self._update(_pool(key, index), self.targets.ready(key, name), target)
            if any(self.targets.ready(key, name) for name in target.ports):
                self._asking.stop(key)
        self._dirty.set()

    def _update(self, pool: str, ready: tuple[Address, ...], target: Target) -> None:
        if ready:
            self._settle(self._holds.release(pool, [f"{host} {port}" for host, port in ready]), None)
        else:
            self._holds.hold(pool, most=self.settings.most, seconds=target.seconds or self.settings.seconds)

    def held(self, key: str) -> int:
        """How many calls for a target wait."""
        target = self.targets.get(key)
        return 0 if target is None else sum(self._holds.held(_pool(key, one)) for one in range(len(target.ports)))

    @property
    def connections(self) -> int:
        """All that are open."""
        return len(self._callers)

    @property
    def listening(self) -> frozenset[int]:
        """Ports that take connections now."""
        return frozenset(self._listeners)

    # -- listening -----------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """Open and close listeners as targets come and go; a port that is taken is tried again."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            wanted = {
                target.port + index: _pool(target.key, index)
                for target in self.targets.all
                for index in range(len(target.ports))
            }
            for port, (pool, server) in list(self._listeners.items()):
                if wanted.get(port) != pool:
                    server.close()
                    del self._listeners[port]
            for port, pool in wanted.items():
                if port not in self._listeners:
                    await self._open(port, pool)

    async def _open(self, port: int, pool: str) -> None:
        door = _Door(self, pool)
        try:
            server = await self._loop.create_server(door.made, self.settings.host or None, port, backlog=1024)
        except OSError as error:
            log.warning("port %d for %s: %s; trying again", port, pool, error.strerror or error)
            self._loop.call_later(_LISTEN_AGAIN_SECONDS, self._dirty.set)
            return
        self._listeners[port] = (pool, server)

    # -- one connection ------------------------------------------------------------------------------------

    def opened(self, caller: Caller) -> None:
        """Somebody connected."""
        if self.is_closing or len(self._callers) >= self.settings.most_connections:
            caller.transport.abort()
        self._callers[caller] = None

    def began(self, pool: str, caller: Caller) -> None:
        """Somebody said something, for this port of a Service."""
        self._callers[caller] = self._loop.create_task(self._serve(pool, caller))

    def gone(self, caller: Caller) -> None:
        """Somebody has no connection any more."""
        task = self._callers.pop(caller, None)
        if task is not None:
            task.cancel()

    async def _serve(self, pool: str, caller: Caller) -> None:
        """Until it is connected for good, or refused; cancelled when its caller leaves."""
        key = pool.rpartition("#")[0]
        count = self.counts.setdefault(key, Count())
        descriptor = caller.descriptor
        self._leaving.watch(descriptor, caller.transport.abort)
        try:
            async with asyncio.timeout(self._seconds(key)):
                await self._connected(pool, caller, count)
        except TimeoutError:
            count.refused += 1
            caller.refuse(f"no replica was ready within {self._seconds(key):g} s")
        except _Refused as error:
            count.refused += 1
            caller.refuse(str(error))
        except asyncio.CancelledError:
            count.left += 1
            raise
        except Exception:
            log.exception("%s: a connection failed", key)
            caller.refuse("the platform failed at this for a reason of its own")
        finally:
            self._leaving.forget(descriptor)
            if caller in self._callers:
                self._callers[caller] = None

    async def _connected(self, pool: str, caller: Caller, count: Count) -> None:
        pause, replays = 0.0, 0
        while True:
            await self._turn(pool, caller, count)
            pod, address = await self._connect(pool)
            if pod is None:
                # They are said to be ready, and are not: the next look may know better.
                pause = min(max(2 * pause, _RETRY_SECONDS), _LONGEST_RETRY_SECONDS)
                await asyncio.sleep(pause)
                continue
            if await self._joined(caller, pod, address, count):
                return
            replays += 1
            count.replayed += 1
            if replays >= _MOST_REPLAYS:
                raise _Refused(f"{replays} replicas took the call and broke off before they answered")
            await asyncio.sleep(_RETRY_SECONDS)

    async def _turn(self, pool: str, caller: Caller, count: Count) -> None:
        """Wait until there is a replica."""
        entry, ticket = self._holds.arrive(pool)
        if entry is Entry.PASSES:
            return
        if entry is Entry.IS_TOO_MUCH:
            raise _Refused("too many calls wait for a replica already")
        count.held += 1
        key = pool.rpartition("#")[0]
        target = self.targets.get(key)
        if target is None:
            self._holds.leave(pool, ticket)
            raise _Refused("its Service was deleted")
        caller.greet()
        turn = self._turns[ticket] = self._loop.create_future()
        self._asking.want(target, lambda: self.held(key) > 0)
        try:
            await turn
        finally:
            del self._turns[ticket]
            self._holds.leave(pool, ticket)

    async def _connect(self, pool: str) -> tuple[Pod | None, Address]:
        """A connection to the least busy replica that takes one."""
        turns = [(host, int(port)) for host, port in (one.split(" ") for one in self._holds.endpoints(pool))]
        for address in sorted(turns, key=self._busy.__getitem__):
            self._busy[address] += 1
            try:
                gate = self._gates.setdefault(address, asyncio.Semaphore(_TOGETHER))
                await gate.acquire()
                self._loop.call_later(_PACE_SECONDS, gate.release)
                async with asyncio.timeout(self.settings.connect_seconds):
                    _, pod = await self._loop.create_connection(Pod, *address)
                return pod, address
            except (OSError, TimeoutError) as error:
                self._free(address)
                log.debug("%s: %s:%d: %s", pool, *address, error)
            except BaseException:
                self._free(address)
                raise
        return None, ("", 0)

    async def _joined(self, caller: Caller, pod: Pod, address: Address, count: Count) -> bool:
        """Let the bytes pass; False when the pod was lost before any of them was beyond recall."""
        count.connected += 1

        def over() -> None:
            count.connected -= 1
            self._free(address)

        pod.over = over
        if pod.is_lost:
            over()
            return False
        self._leaving.forget(caller.descriptor)
        caller.join(pod)
        try:
            if await pod.settled:
                return True
        except asyncio.CancelledError:
            pod.transport.abort()
            raise
        self._leaving.watch(caller.descriptor, caller.transport.abort)
        return False

    # -- the end -------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Listen no more; what waits may still find a replica, and what is connected may end, within the grace."""
        self.is_closing = True
        self._listening.cancel()
        for _, server in self._listeners.values():
            server.close()
        self._listeners.clear()
        await until(self._is_empty, seconds=self.settings.grace_seconds)
        self._settle(list(self._turns), _Refused("the platform is stopping"))
        await until(self._is_empty, seconds=_LAST_ANSWERS_SECONDS)
        for caller in list(self._callers):
            caller.transport.abort()
        await self._asking.close()
        self._leaving.close()

    async def _is_empty(self) -> bool | None:
        return None if self._callers else True

    def _settle(self, tickets: list[int], error: Exception | None) -> None:
        for ticket in tickets:
            turn = self._turns.get(ticket)
            if turn is None or turn.done():
                continue
            if error is None:
                turn.set_result(None)
            else:
                turn.set_exception(error)

    def _seconds(self, key: str) -> float:
        target = self.targets.get(key)
        return self.settings.seconds if target is None or target.seconds is None else target.seconds

    def _free(self, address: Address) -> None:
        self._busy[address] -= 1
        if self._busy[address] <= 0:
            del self._busy[address]
            self._gates.pop(address, None)


class _Door:
    """Who comes in by one port."""

    def __init__(self, holder: Holder, pool: str) -> None:
        self._holder = holder
        self._pool = pool

    def made(self) -> Caller:
        return Caller(self, self._holder.settings.seconds)

    def opened(self, caller: Caller) -> None:
        self._holder.opened(caller)

    def began(self, caller: Caller) -> None:
        self._holder.began(self._pool, caller)

    def gone(self, caller: Caller) -> None:
        self._holder.gone(caller)


def _pool(key: str, index: int) -> str:
    """A Service's port in the book of holds."""
    return f"{key}#{index}"

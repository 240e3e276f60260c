"""The gateway's life under a controller: taken over or started, and started again whenever it dies or hangs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

from tiffin.gateway.router import Router
from tiffin.kits import processes
from tiffin.local import liveness
from tiffin.local.defects import fault
from tiffin.local.home import Home
from tiffin.local.lives import Lives
from tiffin.local.routing import Routing

FORGIVEN_SECONDS = 1.0
"""A gateway that lived for so long is started again at once: all callers wait for it, and it starts quickly."""

PAUSE_SECONDS = 0.2


class GatewayKeeper:
    """Keeps one gateway, and notes in the home which process it is.

    Args:
        home: Claimed; knows what an earlier controller left.
        gateway: Not started yet.
        routing: What the gateway is told comes from there.
        say: Told of everything that happens, a line at a time.
    """

    def __init__(self, home: Home, gateway: Router, routing: Routing, say: Callable[[str], None]) -> None:
        self._home = home
        self._gateway = gateway
        self._routing = routing
        self._say = say
        self._is_detached = False

    async def start(self, is_detached: bool) -> None:
        """Adopt the gateway that an earlier controller left, or start one; raises as ``Router.start`` does."""
        left = self._home.left
        host, port = self._gateway.address
        is_ours = False
        if left is not None and left.gateway is not None and processes.find(left.gateway) is not None:
            if left.host == host and port in (0, left.port):
                is_ours = await self._routing.tell(partial(self._gateway.adopt, left.gateway))
            if not is_ours:
                await asyncio.to_thread(processes.stop, [left.gateway], grace_seconds=5)
        if not is_ours:
            await self._routing.tell(self._gateway.start)
        self._is_detached = is_detached
        self._note()

    async def run(self) -> None:
        """For ever."""
        lives = Lives()
        while True:
            started = time.monotonic()
            try:
                await self._until_dead()
                lives = lives.after_death(time.monotonic() - started, FORGIVEN_SECONDS)
                self._say(f"{self._gateway.describe_end()}\nstarting it again")
                await asyncio.sleep(lives.pause_seconds)
                await self._gateway.restart()
                self._note()
                await self._routing.publish()
            except Exception as error:
                self._say(fault(error, "keeping the gateway").message)
                await asyncio.sleep(PAUSE_SECONDS)

    async def _until_dead(self) -> None:
        identity = self._gateway.identity
        if identity is not None and await liveness.ended_or_stuck(
            self._gateway.exited(), self._gateway.answers, identity.pid, liveness.GATEWAY
        ):
            self._say("the gateway answers nobody; it is ended")
            self._gateway.kill()
        await self._gateway.exited()

    def _note(self) -> None:
        host, port = self._gateway.address
        self._home.note(host=host, port=port, gateway=self._gateway.identity, is_detached=self._is_detached)

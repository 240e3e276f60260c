"""What the connections of a worker share: endpoints, limits, the state of its life, and one sweep of deadlines.

Clients repeat themselves: the head of a keep-alive client's next request is nearly always byte for byte the
last one. So parsed heads, routed, are kept in a small table keyed by their bytes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from email.utils import formatdate
from typing import TYPE_CHECKING

from tiffin.errors import CallError, TiffinError
from tiffin.protocol import http1
from tiffin.protocol.head import Head
from tiffin.runtime.application import Application, RouteTable
from tiffin.runtime.exchange import Endpoint, Successor
from tiffin.runtime.lifecycle import State
from tiffin.runtime.metrics import Metrics
from tiffin.runtime.wire import Connection
from tiffin.spec import Limits

if TYPE_CHECKING:
    from tiffin.runtime.tap import Listener, Tap

_MAX_CACHED_HEADS = 256
_MAX_CACHED_HEAD_BYTES = 1024
_SWEEP_SECONDS = 0.5


class Server:
    """What the connections of a worker share: endpoints, limits, state, the table of heads.

    Args:
        timeout_seconds: for every request that is not exempt; the application may have finer ones.
        listeners: who may want to see calls; without any, nothing looks.
    """

    def __init__(
        self,
        application: Application,
        table: RouteTable,
        limits: Limits,
        metrics: Metrics,
        *,
        timeout_seconds: float | None = None,
        listeners: Sequence[Listener] = (),
    ) -> None:
        self.application = application
        self.table = table
        self.limits = limits
        self.metrics = metrics
        self.timeout_seconds = timeout_seconds
        self.state = State.STARTING
        self.connections: set[Successor] = set()
        self.in_flight = 0
        self.clock = 0.0
        self.on_idle: Callable[[], None] | None = None
        self.heads: dict[bytes, tuple[Head, Endpoint | TiffinError]] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self.connection: type[Connection] = Connection
        self.tap: Tap | None = None
        if listeners:
            from tiffin.runtime.tap import Tap

            self.tap = Tap(self, listeners)
        self.common = b""
        self.json_ok = b""
        self._second = 0
        self._tick()

    def start(self) -> None:
        """Begin to look after connections; needs a running loop."""
        self._sweep()

    def stop(self) -> None:
        """Close what is left."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self.tap is not None:
            self.tap.close()
        for connection in list(self.connections):
            connection.close()

    def route(self, table: RouteTable) -> None:
        """Find endpoints in this table from now on."""
        self.table = table
        self.heads.clear()
        self._second = 0
        self._tick()

    def connect(self) -> Connection:
        """The protocol factory for ``loop.create_server``."""
        return self.connection(self)

    def head(self, block: bytes) -> tuple[Head, Endpoint | TiffinError]:
        """Parse and route a head, or remember having done so."""
        found = self.heads.get(block)
        if found is None:
            found = self._route(block)
            if len(block) <= _MAX_CACHED_HEAD_BYTES:
                if len(self.heads) >= _MAX_CACHED_HEADS:
                    self.heads.clear()
                self.heads[block] = found
        return found

    def _route(self, block: bytes) -> tuple[Head, Endpoint | TiffinError]:
        head = http1.parse_head(block, max_headers=self.limits.max_headers)
        try:
            return head, self.table.find(head.method, head.path)
        except CallError as error:
            return head, error

    def forget(self, connection: Successor) -> None:
        """A connection is no more; the last one ends the drain."""
        self.connections.discard(connection)
        if self.on_idle is not None and not self.connections:
            self.on_idle()

    def begin_drain(self) -> None:
        """Answer what is in hand, take no new connections' requests for long: every reply now closes."""
        for connection in list(self.connections):
            connection.close_if_idle()

    def _tick(self) -> None:
        self.clock = time.monotonic()
        second = int(time.time())
        if second != self._second:
            self._second = second
            date = formatdate(second, usegmt=True).encode("ascii")
            server = self.application.server_header
            self.common = b"date: %b\r\n" % date + (b"server: %b\r\n" % server if server else b"")
            self.json_ok = (
                http1.status_line(200) + self.common + b"content-type: application/json\r\ncontent-length: "
            )

    def _sweep(self) -> None:
        """Twice a second: the time, the date header, and the connections that are late."""
        self._tick()
        now = self.clock
        for connection in list(self.connections):
            if connection.deadline < now:
                connection.late()
        self.metrics.gauges(self.in_flight, len(self.connections))
        if self.tap is not None:
            self.tap.look()
        self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)

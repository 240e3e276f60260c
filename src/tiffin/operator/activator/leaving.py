"""Tells when callers leave that nobody reads from."""

from __future__ import annotations

import asyncio
import contextlib
import select
from collections.abc import Callable


class Leaving:
    """Watches sockets for their other end's close, without reading: what was sent stays where it is.

    A socket that an event loop does not read from is not watched by it either. So they are put into a poll of
    their own, and the loop watches that one. A caller that shuts down its sending side while it waits counts as
    gone, as it does for web servers. Where there is no epoll (it is Linux's), nobody is noticed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._gone: dict[int, Callable[[], None]] = {}
        self._poll = select.epoll() if hasattr(select, "epoll") else None
        if self._poll is not None:
            loop.add_reader(self._poll.fileno(), self._look)

    def watch(self, descriptor: int, gone: Callable[[], None]) -> None:
        """Call ``gone`` once when the other end of this socket has closed it."""
        if self._poll is None or descriptor < 0:
            return
        with contextlib.suppress(OSError):
            self._poll.register(descriptor, select.EPOLLRDHUP | select.EPOLLONESHOT)
            self._gone[descriptor] = gone

    def forget(self, descriptor: int) -> None:
        """It is read from again, or closed."""
        if self._poll is not None and self._gone.pop(descriptor, None) is not None:
            with contextlib.suppress(OSError):
                self._poll.unregister(descriptor)

    def close(self) -> None:
        """Watch nothing any more."""
        if self._poll is not None:
            self._loop.remove_reader(self._poll.fileno())
            self._poll.close()
            self._poll = None
            self._gone.clear()

    def _look(self) -> None:
        assert self._poll is not None
        for descriptor, _ in self._poll.poll(0):
            gone = self._gone.get(descriptor)
            self.forget(descriptor)
            if gone is not None:
                gone()

"""One run of a task from its claim to its outcome: in time, and until somebody asks it to stop.

What can be stopped is: an async method is cancelled, an isolated one is killed. A plain method in a thread can
only be asked (``ctx.cancelled``); while it does not listen its slot stays taken, and nobody is told that it has
ended.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Literal

from tiffin.kits.threads import in_daemon
from tiffin.protocol import named_json
from tiffin.runtime.tasks.calls import Outcome, TaskCall, of_reply
from tiffin.runtime.tasks.record import Task, unpack_request
from tiffin.service.lifetime import Lifetime
from tiffin.service.task_endpoint import TaskEndpoint
from tiffin.service.task_run import CurrentTask

if TYPE_CHECKING:
    from tiffin.runtime.service_application import ServiceApplication
    from tiffin.runtime.tasks.isolation import Isolation

Why = Literal["canceled", "lost", "stop", "timeout"]

GRACE_SECONDS = 3.0
"""How long what was told to stop may take about it."""


class Run:
    """A task that this process runs.

    Attributes:
        task: Its record as last seen; the keeper's thread owns it.
        reported: How far the method says it is.
        leftover: What still runs though the outcome is known, if anything does.
    """

    def __init__(
        self,
        application: ServiceApplication,
        method: TaskEndpoint,
        task: Task,
        request: bytes,
        isolation: Isolation,
    ) -> None:
        self.task = task
        self.method = method
        self.reported: tuple[float | None, str] = (None, "")
        self.leftover: asyncio.Future[Outcome] | None = None
        self.is_told = False
        limit = method.timeout_seconds
        self._limit = limit
        lifetime = Lifetime(None if limit is None else time.monotonic() + limit)
        self._current = CurrentTask(task.id, task.runs, lifetime, self._report)
        self._application = application
        self._request = request
        self._isolation = isolation
        self._asked: asyncio.Future[Why] = application.loop.create_future()
        self._left: asyncio.Future[Why] = application.loop.create_future()

    def _report(self, part: float, note: str) -> None:
        self.reported = (part, note)

    def stop(self, why: Why) -> None:
        """Ask it to end; on the loop, as often as there is reason to."""
        if not self._asked.done():
            self._asked.set_result(why)
        if why != "canceled" and not self._left.done():
            self._left.set_result(why)

    async def run(self) -> Outcome:
        """Run it to its end."""
        work = asyncio.ensure_future(self._work())
        await asyncio.wait((work, self._asked), timeout=self._limit, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        why = self._asked.result() if self._asked.done() else "timeout"
        self._current.lifetime.cancel()
        if self._is_stoppable:
            work.cancel()
        if why == "canceled" and not self._is_stoppable:
            # Nobody can make it end, and to say that it has ended would be a lie.
            await asyncio.wait((work, self._left), timeout=self._rest(), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            await asyncio.wait((work,), timeout=GRACE_SECONDS)
        return self._stopped(why, work)

    def _rest(self) -> float | None:
        return self._current.lifetime.left()

    @property
    def _is_stoppable(self) -> bool:
        return self.method.isolated or self.method.batchable or self.method.kind != "plain"

    def _stopped(self, why: Why, work: asyncio.Future[Outcome]) -> Outcome:
        """What is said of a run that was told to stop: what it gives back after that may be half a result."""
        if not work.done():
            self.leftover = work
        if why == "canceled":
            return Outcome("canceled")
        if why == "timeout":
            reply = named_json.error_reply(named_json.deadline(self._limit or 0.0))
            # While the first one goes on in its thread there must not be a second.
            return of_reply(reply)._replace(is_retriable=self.leftover is None)
        return Outcome("released")

    async def _work(self) -> Outcome:
        head, body = unpack_request(self._request)
        if self.method.isolated:
            return await self._isolation.run(self.method, self._current, self._request)
        call = TaskCall(self._application, self.method, head, body, self._current)
        if self.method.kind == "plain" and not self.method.batchable:
            return await in_daemon(call.plain)
        return await call.on_loop()

"""Looks after the tasks of one worker: claims them, renews their leases, writes down how they end.

All of this happens in the store's thread, so a loop that an author's code holds up loses no lease. It wakes when
it is asked something, and once a second to see what others did: that is all the polling there is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from tiffin.protocol.named_json import UNEXPECTED
from tiffin.runtime.tasks import transitions
from tiffin.runtime.tasks.calls import Outcome
from tiffin.runtime.tasks.record import Counts, Task, pack_reply
from tiffin.runtime.tasks.running import GRACE_SECONDS, Run, Why
from tiffin.runtime.tasks.store import StoreUnreachable, TaskStore
from tiffin.runtime.tasks.store_thread import StoreThread
from tiffin.runtime.tasks.transitions import LEASE_SECONDS, NotYours

if TYPE_CHECKING:
    from tiffin.runtime.tasks.webhooks import Webhooks

log = logging.getLogger(__name__)

MAX_REPLY_BYTES = 268_435_456
COUNT_SECONDS = 5.0
HOUSEKEEPING_SECONDS = 60.0


class Keeper:
    """The tasks of one worker.

    Args:
        open_store: Opens where tasks are kept, in a thread of its own.
        queue: Whose tasks these are.
        methods: Names of the methods that this worker has.
        slots: How many run at once.
        make_run: A Run for a task that was claimed, and its request.
        ended: Told the state of each task that ended here, on the loop.
        webhooks: Delivers.
    """

    def __init__(
        self,
        open_store: Callable[[], TaskStore],
        *,
        queue_name: str,
        methods: tuple[str, ...],
        slots: int,
        make_run: Callable[[Task, bytes], Run],
        ended: Callable[[str], None],
        webhooks: Webhooks,
    ) -> None:
        self.queue = queue_name
        self.counts = Counts({})
        self._thread = StoreThread(open_store, self._pulse)
        self.ask = self._thread.ask
        self._methods = methods
        self._slots = slots
        self._make_run = make_run
        self._ended = ended
        self._webhooks = webhooks
        self._owner = uuid.uuid4().hex
        self._runs: dict[str, Run] = {}
        self._unwritten: list[tuple[Run, Outcome]] = []
        self._is_stopping = False
        self._next: dict[str, float] = {}
        self._working: set[asyncio.Task[None]] = set()

    # -- on the loop ---------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the store and begin; raises what opening it raises."""
        await self._thread.start()

    async def stop(self) -> None:
        """Let what runs end, for a moment; give the rest back to whoever comes next."""
        self._is_stopping = True
        if self._working:
            await asyncio.wait(self._working, timeout=GRACE_SECONDS)
        for run in list(self._runs.values()):
            run.stop("stop")
        if self._working:
            await asyncio.wait(self._working, timeout=2 * GRACE_SECONDS)
        with contextlib.suppress(StoreUnreachable, TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await self.ask(lambda store: None)  # what is ahead of it is done
        self._thread.stop()

    def now(self) -> float:
        """Seconds since 1970 by the store's clock."""
        return time.time() + self._thread.offset

    def _begin(self, run: Run) -> None:
        async def work() -> None:
            try:
                outcome = await run.run()
            except Exception:
                log.exception("running task %s failed", run.task.id)
                outcome = Outcome("failed", None, UNEXPECTED, is_retriable=True)
            self._thread.put(partial(self._finish, run, outcome))

        task = asyncio.get_running_loop().create_task(work())
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    # -- in the store's thread -----------------------------------------------------------------------------

    def cancel(self, store: TaskStore, identifier: str) -> Task | None:
        """Cancel a task, also one that another worker runs; ``None`` when there is none. Raises AlreadyEnded."""
        while (task := store.get(identifier)) is not None:
            changed = transitions.cancelled(task, self.now())
            if changed is task or store.swap(changed):
                run = self._runs.get(identifier)
                if run is not None and changed.is_cancel_wanted:
                    self._stop_run(run, "canceled")
                if changed.is_ended:
                    self._thread.tell(self._ended, changed.state)
                    self._deliver(store)
                return changed
        return None

    def wake(self, store: TaskStore) -> None:
        """Look for work at once."""
        self._claim(store)

    def _pulse(self, store: TaskStore) -> None:
        while self._unwritten:
            self._finish(*self._unwritten.pop(0), store)  # back to the list, when the store is still away
        for run in list(self._runs.values()):
            self._look(store, run)
        if self._is_time("housekeeping", HOUSEKEEPING_SECONDS):
            self._thread.synchronize(store)
            store.purge(self.now())
        self._claim(store)
        self._deliver(store)
        if self._is_time("count", COUNT_SECONDS):
            self.counts = store.counts(self.queue)

    def _is_time(self, what: str, seconds: float) -> bool:
        now = time.monotonic()
        if now < self._next.get(what, 0.0):
            return False
        self._next[what] = now + seconds
        return True

    def _look(self, store: TaskStore, run: Run) -> None:
        """Renew the lease of a run and write down its progress, when there is need; hear that it is to stop."""
        if run.leftover is not None:
            return
        task = store.get(run.task.id)
        if task is None or task.owner != self._owner or task.state != "running":
            self._stop_run(run, "lost")
            return
        run.task = task
        if task.is_cancel_wanted:
            self._stop_run(run, "canceled")
        part, note = run.reported
        now = self.now()
        if (part, note) != (task.progress, task.note) or task.due_at - now < LEASE_SECONDS * 2 / 3:
            renewed = transitions.renewed(task, self._owner, now, progress=part, note=note)
            if store.swap(renewed):
                run.task = renewed

    def _stop_run(self, run: Run, why: Why) -> None:
        if not run.is_told or why != "canceled":
            run.is_told = True
            self._thread.tell(run.stop, why)

    def _claim(self, store: TaskStore) -> None:
        while not self._is_stopping and (free := self._slots - len(self._runs)) > 0:
            now = self.now()
            # A few more than there is room for: others may be quicker.
            due = store.due(self.queue, "run", self._methods, now, free + 2)
            if not sum(self._take(store, task, now) for task in due if len(self._runs) < self._slots):
                return

    def _take(self, store: TaskStore, task: Task, now: float) -> bool:
        claimed = transitions.claimed(task, self._owner, now)
        if claimed is None or not store.swap(claimed):
            return False
        if claimed.is_ended:
            log.error("task %s: %s", claimed.id, claimed.error or claimed.state)
            self._thread.tell(self._ended, claimed.state)
            return True
        request = store.request(claimed.id)
        assert request is not None, "a task that was just claimed has its request"
        run = self._runs[claimed.id] = self._make_run(claimed, request)
        self._thread.tell(self._begin, run)
        return True

    def _finish(self, run: Run, outcome: Outcome, store: TaskStore) -> None:
        outcome = _bounded(outcome)
        reply = None if outcome.reply is None else pack_reply(outcome.reply)
        try:
            changed = self._written(store, run, outcome, reply)
        except NotYours:
            log.warning("task %s: its result is dropped, as others have taken it up", run.task.id)
            changed = None
        except StoreUnreachable:
            self._unwritten.append((run, outcome))  # Its lease may run out meanwhile, and it then runs again.
            raise
        if changed is not None and changed.is_ended:
            self._thread.tell(self._ended, changed.state)
        if run.leftover is not None and not run.leftover.done():
            self._thread.tell(self._when_over, run)
        else:
            self._runs.pop(run.task.id, None)
        self._deliver(store)
        self._claim(store)

    def _written(self, store: TaskStore, run: Run, outcome: Outcome, reply: bytes | None) -> Task | None:
        task: Task | None = run.task
        while task is not None:
            changed = self._after(task, outcome)
            if store.swap(changed, None if changed.state == "canceled" else reply):
                return changed
            task = store.get(task.id)  # A cancel came in between.
        return None

    def _after(self, task: Task, outcome: Outcome) -> Task:
        now = self.now()
        match outcome.how:
            case "crashed":
                return transitions.crashed(task, self._owner, now, outcome.error)
            case "released":
                return transitions.released(task, self._owner, now)
            case how:
                return transitions.finished(
                    task, self._owner, now, how, error=outcome.error, is_retriable=outcome.is_retriable
                )

    def _when_over(self, run: Run) -> None:
        """On the loop: free the slot once what could not be stopped has ended by itself."""

        def free(store: TaskStore) -> None:
            self._runs.pop(run.task.id, None)
            self._claim(store)

        assert run.leftover is not None
        run.leftover.add_done_callback(lambda done: self._thread.put(free))

    def _deliver(self, store: TaskStore) -> None:
        """Hand tasks that have ended to the webhooks."""
        while not self._is_stopping and (room := self._webhooks.room) > 0:
            now, taken = self.now(), 0
            for task in store.due(self.queue, "deliver", self._methods, now, room):
                claimed = transitions.delivering(task, now)
                if claimed is not None and store.swap(claimed):
                    taken += 1
                    self._webhooks.send(claimed, partial(self._delivered, claimed))
            if not taken:
                return

    def _delivered(self, task: Task, error: str, is_final: bool) -> None:
        """In a webhook's thread."""

        def write(store: TaskStore) -> None:
            store.swap(transitions.delivered(task, self.now(), error, is_final=is_final))

        self._thread.put(write)


def _bounded(outcome: Outcome) -> Outcome:
    """A failure in place of a result that no store should be asked to keep."""
    if outcome.reply is None or len(outcome.reply.body) <= MAX_REPLY_BYTES:
        return outcome
    found = len(outcome.reply.body)
    return Outcome("failed", None, f"expected a result of at most {MAX_REPLY_BYTES} bytes, found {found}")


def states_of(counts: Counts) -> Mapping[str, int]:
    """How many tasks are queued and running, 0 where there are none."""
    return {state: counts.states.get(state, 0) for state in ("queued", "running")}

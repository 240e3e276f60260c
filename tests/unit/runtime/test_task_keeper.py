import asyncio
from contextlib import asynccontextmanager

import pytest

from tiffin.kits import waiting
from tiffin.protocol.reply import Reply
from tiffin.runtime.tasks import keeper as keeper_module
from tiffin.runtime.tasks import store_thread, transitions
from tiffin.runtime.tasks.calls import Outcome
from tiffin.runtime.tasks.keeper import Keeper
from tiffin.runtime.tasks.record import Task, unpack_reply
from tiffin.runtime.tasks.sqlite_store import SqliteStore
from tiffin.runtime.tasks.store import StoreUnreachable, without_password
from tiffin.runtime.tasks.webhooks import Rules, Webhooks

DONE = Outcome("completed", Reply(200, b"done"))


class MayBeAway(SqliteStore):
    """A store that can be switched off."""

    is_away = False

    def _run(self, statement, values=()):
        if type(self).is_away:
            raise StoreUnreachable("the store of the tasks is away")
        return super()._run(statement, values)


class Held:
    """A run that ends when the test says how."""

    def __init__(self, task: Task, loop: asyncio.AbstractEventLoop) -> None:
        self.task = task
        self.reported: tuple[float | None, str] = (None, "")
        self.leftover: asyncio.Future[Outcome] | None = None
        self.is_told = False
        self.stops: list[str] = []
        self.began = asyncio.Event()
        self.outcome: asyncio.Future[Outcome] = loop.create_future()

    async def run(self) -> Outcome:
        self.began.set()
        return await self.outcome

    def stop(self, why: str) -> None:
        self.stops.append(why)
        if why in ("stop", "lost") and not self.outcome.done():
            self.outcome.set_result(Outcome("released"))


class Bench:
    """A keeper, the runs it made, and how tasks ended."""

    def __init__(self, path, slots: int) -> None:
        self.runs: dict[str, Held] = {}
        self.ended: list[str] = []
        loop = asyncio.get_running_loop()

        def make_run(task, request):
            self.runs[task.id] = run = Held(task, loop)
            return run

        self.keeper = Keeper(
            lambda: MayBeAway(str(path)),
            queue_name="q",
            methods=("m",),
            slots=slots,
            make_run=make_run,
            ended=self.ended.append,
            webhooks=Webhooks(Rules()),
        )

    async def add(self, identifier: str) -> Task:
        task = transitions.submitted(Task(id=identifier, queue="q", method="m", created_at=self.keeper.now()))

        def add(store):
            store.add(task, b"", limit=100)
            self.keeper.wake(store)

        await self.keeper.ask(add)
        return task

    async def state(self, identifier: str) -> str:
        return (await self.keeper.ask(lambda store: store.get(identifier))).state

    async def until(self, condition) -> None:
        async def ask():
            found = condition()
            return (await found if asyncio.iscoroutine(found) else found) or None

        assert await waiting.until(ask, seconds=10, every_seconds=0.01)

    async def until_state(self, identifier: str, state: str) -> None:
        async def ask():
            return await self.state(identifier) == state

        await self.until(ask)


@asynccontextmanager
async def bench(path, slots: int = 1):
    MayBeAway.is_away = False
    found = Bench(path, slots)
    await found.keeper.start()
    try:
        yield found
    finally:
        MayBeAway.is_away = False
        await found.keeper.stop()


def run(test):
    def wrapped(tmp_path, monkeypatch):
        monkeypatch.setattr(store_thread, "PULSE_SECONDS", 0.02)
        monkeypatch.setattr(keeper_module, "GRACE_SECONDS", 0.05)
        asyncio.run(test(tmp_path / "tasks.db"))

    wrapped.__name__ = test.__name__
    return wrapped


@run
async def test_as_many_run_as_there_are_slots_and_the_oldest_first(path):
    async with bench(path, slots=2) as b:
        for name in "abc":
            await b.add(name)
        await b.until(lambda: len(b.runs) == 2)
        assert sorted(b.runs) == ["a", "b"]
        b.runs["a"].outcome.set_result(DONE)
        await b.until(lambda: "c" in b.runs)
        assert await b.state("a") == "completed"
        assert b.ended == ["completed"]


@run
async def test_a_result_is_written_once_the_store_is_back(path):
    async with bench(path, slots=2) as b:
        for name in "ab":
            await b.add(name)
        await b.until(lambda: len(b.runs) == 2)
        MayBeAway.is_away = True
        for name in "ab":
            b.runs[name].outcome.set_result(DONE)
        with pytest.raises(StoreUnreachable):
            await b.state("a")
        assert b.ended == []
        MayBeAway.is_away = False
        await b.until_state("a", "completed")
        await b.until_state("b", "completed")
        assert unpack_reply(await b.keeper.ask(lambda store: store.reply("b"))).body == b"done"


@run
async def test_a_run_whose_task_others_took_up_is_told_and_its_result_dropped(path):
    async with bench(path) as b:
        await b.add("a")
        await b.until(lambda: "a" in b.runs)

        def steal(store):
            task = store.get("a")
            later = transitions.claimed(task, "another", task.due_at + 1)
            assert store.swap(later)

        await b.keeper.ask(steal)
        await b.until(lambda: "lost" in b.runs["a"].stops)
        await b.add("b")
        await b.until(lambda: "b" in b.runs)
        assert (await b.keeper.ask(lambda store: store.get("a"))).owner == "another"
        assert b.ended == []


@run
async def test_a_cancel_by_another_worker_is_heard_of(path):
    async with bench(path) as b:
        await b.add("a")
        await b.until(lambda: "a" in b.runs)
        await b.keeper.ask(lambda store: store.swap(transitions.cancelled(store.get("a"), b.keeper.now())))
        await b.until(lambda: b.runs["a"].stops == ["canceled"])
        b.runs["a"].outcome.set_result(DONE)
        await b.until_state("a", "canceled")
        assert await b.keeper.ask(lambda store: store.reply("a")) is None


@run
async def test_progress_is_written_down_while_it_runs(path):
    async with bench(path) as b:
        await b.add("a")
        await b.until(lambda: "a" in b.runs)
        b.runs["a"].reported = (0.4, "half, nearly")

        async def told():
            task = await b.keeper.ask(lambda store: store.get("a"))
            return (task.progress, task.note) == (0.4, "half, nearly")

        await b.until(told)


@run
async def test_a_run_that_breaks_fails_its_task_and_frees_its_slot(path):
    async with bench(path) as b:
        await b.add("a")
        await b.until(lambda: "a" in b.runs)
        b.runs["a"].outcome.set_exception(RuntimeError("a defect"))
        await b.until_state("a", "failed")
        await b.add("b")
        await b.until(lambda: "b" in b.runs)


@run
async def test_a_result_that_is_too_large_is_a_failure(path):
    before, keeper_module.MAX_REPLY_BYTES = keeper_module.MAX_REPLY_BYTES, 3
    try:
        async with bench(path) as b:
            await b.add("a")
            await b.until(lambda: "a" in b.runs)
            b.runs["a"].outcome.set_result(DONE)
            await b.until_state("a", "failed")
            task = await b.keeper.ask(lambda store: store.get("a"))
            assert task.error == "expected a result of at most 3 bytes, found 4"
    finally:
        keeper_module.MAX_REPLY_BYTES = before


@run
async def test_what_could_not_be_stopped_keeps_its_slot_until_it_is_over(path):
    async with bench(path) as b:
        await b.add("a")
        await b.until(lambda: "a" in b.runs)
        b.runs["a"].leftover = asyncio.get_running_loop().create_future()
        b.runs["a"].outcome.set_result(Outcome("failed", None, "too slow"))
        await b.until_state("a", "failed")
        await b.add("b")
        assert await b.state("b") == "queued"
        b.runs["a"].leftover.set_result(DONE)
        await b.until(lambda: "b" in b.runs)


@run
async def test_a_keeper_that_stops_gives_back_what_runs(path):
    async with bench(path) as b:
        await b.add("a")
        await b.until(lambda: "a" in b.runs)
        await b.keeper.stop()
    other = SqliteStore(str(path))
    task = other.get("a")
    other.close()
    assert (task.state, task.runs, task.owner) == ("queued", 0, "")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://:hidden@host:6379/0", "redis://:...@host:6379/0"),
        ("postgresql://me:hidden@host/db", "postgresql://me:...@host/db"),
        ("postgresql:///db?host=/x&password=hidden&user=me", "postgresql:///db?host=/x&password=...&user=me"),
        ("/var/lib/tasks.db", "/var/lib/tasks.db"),
    ],
)
def test_passwords_are_not_shown(url, shown):
    assert without_password(url) == shown

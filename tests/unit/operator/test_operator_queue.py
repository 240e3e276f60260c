"""The queue of the operator, against a model of it, and the workers that take from it."""

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tiffin.operator.queue import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Queue, Workers

KEYS = st.sampled_from("abcd")
SECONDS = st.sampled_from([0.0, 0.25, 1.0, 10.0])


class QueueMachine(RuleBasedStateMachine):
    """A key is due at the earliest of the times somebody wished for, and nobody has it twice."""

    def __init__(self):
        super().__init__()
        self.queue = Queue()
        self.now = 0.0
        self.due = {}
        self.running = {}
        self.failures = {}

    @rule(key=KEYS, after=SECONDS)
    def add(self, key, after):
        self.queue.add(key, self.now, after=after)
        self._wish(key, self.now + after)

    def _wish(self, key, when):
        if key in self.running:
            again = self.running[key]
            self.running[key] = when if again is None else min(again, when)
        else:
            self.due[key] = min(when, self.due.get(key, when))

    @rule(seconds=SECONDS)
    def pass_time(self, seconds):
        self.now += seconds

    @rule()
    def take(self):
        taken = self.queue.take(self.now)
        ready = {key: when for key, when in self.due.items() if when <= self.now}
        if taken is None:
            assert not ready
            return
        assert ready[taken] == min(ready.values()), "the one that waited longest goes first"
        del self.due[taken]
        self.running[taken] = None

    @precondition(lambda self: self.running)
    @rule(data=st.data(), after=st.none() | SECONDS)
    def succeed(self, data, after):
        key = data.draw(st.sampled_from(sorted(self.running)))
        assert self.queue.done(key, self.now, after=after) is None
        again = self.running.pop(key)
        self.failures.pop(key, None)
        if again is not None:
            self._wish(key, max(again, self.now))
        if after is not None:
            self._wish(key, self.now + after)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def fail(self, data):
        key = data.draw(st.sampled_from(sorted(self.running)))
        count = self.failures[key] = self.failures.get(key, 0) + 1
        pause = self.queue.done(key, self.now, failed=True)
        assert pause == min(FIRST_PAUSE_SECONDS * 2 ** (count - 1), LONGEST_PAUSE_SECONDS)
        self.running.pop(key)
        self._wish(key, self.now + pause)

    @invariant()
    def the_same_is_due_and_in_hand(self):
        assert self.queue.running == self.running.keys()
        assert len(self.queue) == len(self.due)
        assert self.queue.next_at() == min(self.due.values(), default=None)


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_key_that_changes_all_the_time_does_not_keep_others_waiting():
    queue = Queue()
    for key in ("busy", "other"):
        queue.add(key, 0.0)
    assert queue.take(0.0) == "busy"
    queue.add("busy", 0.0)
    queue.done("busy", 0.0)
    assert queue.take(0.0) == "other"
    assert queue.take(0.0) == "busy"


def test_a_failure_that_is_forgotten_starts_anew():
    queue = Queue()
    for _ in range(3):
        queue.add("a", 0.0)
        queue.take(LONGEST_PAUSE_SECONDS)
        queue.done("a", 0.0, failed=True)
    queue.forget("a")
    queue.take(LONGEST_PAUSE_SECONDS)
    assert queue.done("a", 0.0, failed=True) == FIRST_PAUSE_SECONDS


def test_workers_look_at_each_key_one_at_a_time_and_go_on_after_a_defect():
    async def whole():
        queue = Queue()
        together, most, seen, told = set(), 0, [], []
        twice = asyncio.Event()

        async def look(key):
            nonlocal most
            assert key not in together, "two workers have one key"
            together.add(key)
            most = max(most, len(together))
            await asyncio.sleep(0)
            together.remove(key)
            seen.append(key)
            if seen.count("bad") == 2:
                twice.set()
            if key == "bad" and seen.count("bad") == 1:
                raise ValueError("no")
            return

        workers = Workers(queue, look, lambda key, error, pause: told.append((key, str(error), pause)))
        running = asyncio.create_task(workers.run(3))
        for _ in range(5):
            for key in ("a", "b", "bad"):
                workers.add(key)
        async with asyncio.timeout(20):
            await twice.wait()
            while queue.running:  # noqa: ASYNC110  A queue tells nobody when it is empty.
                await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return most, seen, told

    most, seen, told = asyncio.run(whole())
    assert most == 3
    assert seen.count("a") == seen.count("b") == 1
    assert told == [("bad", "no", FIRST_PAUSE_SECONDS)]


@pytest.mark.parametrize("steps", range(6))
def test_workers_that_are_woken_and_ended_in_one_moment_end(steps):
    async def whole():
        async def look(key):
            return

        workers = Workers(Queue(), look, lambda key, error, pause: None)
        running = asyncio.create_task(workers.run(3))
        workers.add("later", after=1000.0)
        for _ in range(5):
            await asyncio.sleep(0)
        workers.add("a")
        for _ in range(steps):
            await asyncio.sleep(0)  # Whoever waits has its answer at one of these, and has not seen it yet.
        running.cancel()
        done, _ = await asyncio.wait({running}, timeout=20)
        assert done == {running}

    asyncio.run(whole())

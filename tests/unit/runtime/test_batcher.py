"""The batcher in virtual time: who goes with whom, and when."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tiffin.runtime.batcher import Batcher


@dataclass(eq=False)
class Item:
    name: str
    group: Any = "g"
    rows: int = 1
    nbytes: int = 8
    cancelled: bool = field(default=False)

    def __repr__(self) -> str:
        return self.name


def items(text: str) -> list[Item]:
    """``"a1 b2 x:c3"``: item a of 1 row, b of 2, c of 3 in group x; 8 bytes a row."""
    made = []
    for word in text.split():
        group, _, name = word.rpartition(":")
        rows = int(name[1:] or 1)
        made.append(Item(name[0], group or "g", rows, 8 * rows))
    return made


def taken(text: str, *, max_rows: int = 8, max_bytes: int = 1 << 18, cancelled: str = "") -> list[str]:
    batcher: Batcher[Item] = Batcher(max_rows, max_bytes)
    for item in items(text):
        item.cancelled = item.name in cancelled
        batcher.add(item)
    batches = []
    while batch := batcher.take():
        batches.append("".join(map(repr, batch)))
    assert batcher.rows == 0
    return batches


@pytest.mark.parametrize(
    ("text", "options", "batches"),
    [
        ("", {}, []),
        ("a", {}, ["a"]),
        ("a b c", {}, ["abc"]),
        ("a4 b4 c", {}, ["ab", "c"]),
        ("a4 b5 c", {}, ["a", "bc"]),  # Order is kept: c does not overtake b.
        ("a99 b", {}, ["a", "b"]),  # Larger than the cap: alone.
        ("a b99 c", {}, ["a", "b", "c"]),
        ("a b c", {"max_rows": 1}, ["a", "b", "c"]),
        ("a b c", {"max_bytes": 16}, ["ab", "c"]),
        ("a9 b", {"max_bytes": 16}, ["a", "b"]),
        ("a b c d", {"cancelled": "bd"}, ["ac"]),
        ("a b", {"cancelled": "ab"}, []),
        ("a99 b", {"cancelled": "a"}, ["b"]),
        ("x:a y:b x:c y:d", {}, ["ac", "bd"]),
        ("x:a y:b x:c", {"cancelled": "ac"}, ["b"]),
        # A busy group takes turns with the others.
        ("x:a8 x:b8 x:c8 y:d z:e", {}, ["a", "d", "e", "b", "c"]),
        # Calls without rows wait and go like any other.
        ("a0 b0 c8", {}, ["abc"]),
        ("a0", {}, ["a"]),
    ],
)
def test_batches(text: str, options: dict[str, Any], batches: list[str]) -> None:
    assert taken(text, **options) == batches


def after_a_batch(rows: int, seconds: float) -> Batcher[Item]:
    """A batcher whose last batch of ``rows`` took ``seconds`` and ended at time 0."""
    batcher: Batcher[Item] = Batcher(64, 1 << 18)
    batcher.ended(rows, seconds, 0.0)
    return batcher


@pytest.mark.parametrize(
    ("last_rows", "waiting", "now", "lingers"),
    [
        (8, "", 0.0, False),  # Nobody waits: nothing to linger with.
        (8, "a", 0.05, True),  # Fewer than last time, and a tenth of 1 s is not over.
        (8, "a", 0.0999, True),
        (8, "a", 0.1, False),
        (8, "a", 60.0, False),  # After a quiet spell nobody waits.
        (8, "a8", 0.05, False),  # As many as last time.
        (1, "a", 0.05, False),  # A lone caller, calling again.
        (99, "a64", 0.05, False),  # The cap is reached.
    ],
)
def test_lingering(last_rows: int, waiting: str, now: float, lingers: bool) -> None:
    batcher = after_a_batch(last_rows, 1.0)
    for item in items(waiting):
        batcher.add(item)
    assert batcher.lingers(now) is lingers


def test_the_first_call_of_all_does_not_linger() -> None:
    batcher: Batcher[Item] = Batcher(8, 1 << 18)
    batcher.add(Item("a"))
    assert not batcher.lingers(0.0)


def test_the_time_to_linger_follows_the_average_predict() -> None:
    batcher = after_a_batch(8, 1.0)
    for _ in range(100):
        batcher.ended(8, 0.01, 0.0)
    batcher.add(Item("a"))
    assert batcher.lingers(0.0009)
    assert not batcher.lingers(0.0011)


def test_linger_can_be_turned_off() -> None:
    batcher: Batcher[Item] = Batcher(8, 1 << 18, linger=0)
    batcher.ended(8, 1.0, 0.0)
    batcher.add(Item("a"))
    assert not batcher.lingers(0.0)


def test_a_large_call_whose_caller_has_gone_takes_nobodys_place() -> None:
    batcher: Batcher[Item] = Batcher(8, 50)
    first, gone, last = Item("a", nbytes=12), Item("b", nbytes=39, cancelled=True), Item("c", nbytes=1)
    for item in (first, gone, last):
        batcher.add(item)
    assert batcher.take() == [first, last]
    assert batcher.rows == 0


class Batches(RuleBasedStateMachine):
    """Calls come, go and are taken in any order: each comes out once, or was cancelled."""

    MAX_ROWS, MAX_BYTES = 6, 50

    def __init__(self) -> None:
        super().__init__()
        self.batcher: Batcher[Item] = Batcher(self.MAX_ROWS, self.MAX_BYTES)
        self.waiting: list[Item] = []
        self.passed_over: dict[Any, int] = {}

    @rule(group=st.sampled_from("xyz"), rows=st.integers(0, 8), nbytes=st.integers(0, 60))
    def add(self, group: str, rows: int, nbytes: int) -> None:
        item = Item("i", group, rows, nbytes)
        self.waiting.append(item)
        self.batcher.add(item)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.waiting)).cancelled = True

    @rule()
    def take(self) -> None:
        batch = self.batcher.take()
        live = [item for item in self.waiting if not item.cancelled]
        if not batch:
            assert not live
            self.waiting, self.passed_over = [], {}
            return
        group = batch[0].group
        assert all(item.group == group and not item.cancelled for item in batch)
        # First come, first served within the group.
        assert batch == [item for item in live if item.group == group][: len(batch)]
        if len(batch) > 1:
            assert sum(item.rows for item in batch) <= self.MAX_ROWS
            assert sum(item.nbytes for item in batch) <= self.MAX_BYTES
        following = [item for item in live if item.group == group][len(batch) :][:1]
        for item in following:  # Nobody was left behind who would have fitted.
            rows = sum(each.rows for each in [*batch, item])
            nbytes = sum(each.nbytes for each in [*batch, item])
            assert rows > self.MAX_ROWS or nbytes > self.MAX_BYTES
        # No group is passed over more often than there are other groups.
        others = {item.group for item in live} - {group}
        self.passed_over = {other: self.passed_over.get(other, 0) + 1 for other in others}
        assert all(count <= 2 for count in self.passed_over.values())
        gone = set(map(id, batch))
        self.waiting = [item for item in self.waiting if id(item) not in gone]

    @invariant()
    def whoever_waits_is_seen(self) -> None:
        if any(not item.cancelled for item in self.waiting):
            assert self.batcher.rows > 0

    def teardown(self) -> None:
        while self.batcher.take():
            pass
        assert self.batcher.rows == 0


TestBatches = Batches.TestCase
TestBatches.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)

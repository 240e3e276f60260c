"""Calls through the runner and a model that can be told what to do: who gets what back."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiffin.errors import DecodeError, PredictError, TiffinError
from tiffin.models.model import ModelInfo
from tiffin.protocol.tensors import TensorCall
from tiffin.runtime.metrics import Metrics
from tiffin.runtime.runner import Outcome, Runner
from tiffin.spec import Batching

Array = np.ndarray[Any, Any]
INLINE, THREAD = 0.0, 1.0
PLACES = pytest.mark.parametrize("place", [INLINE, THREAD], ids=["inline", "thread"])


def double(array: Array) -> tuple[Array, ...]:
    return (array.sum(axis=1) * 2,)


class FakeModel:
    """Answers with ``function`` of its first array; remembers the batches and the threads it saw."""

    fork_safe = True
    info: ModelInfo

    def __init__(self, function: Callable[[Array], tuple[Array, ...]] = double, *, batchable: bool = True) -> None:
        self.function = function
        self.batchable = batchable
        self.seen: list[int] = []
        self.threads: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()

    def conform(self, names: Sequence[str], arrays: Sequence[Array]) -> tuple[Array, ...]:
        return tuple(arrays)

    def predict(self, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        assert self.gate.wait(10)
        self.seen.append(len(arrays[0]))
        self.threads.add(threading.current_thread().name)
        return self.function(arrays[0])

    def example(self) -> None:
        return None


def call(*rows: Sequence[float]) -> TensorCall:
    return TensorCall(["x"], [np.array(rows, dtype="f8")])


def outcomes(
    model: FakeModel,
    rounds: Sequence[Sequence[TensorCall]],
    place: float = INLINE,
    *,
    cancel: Sequence[TensorCall] = (),
    batching: Batching | None = None,
) -> list[list[Outcome]]:
    """What each call got, in order of arrival; a round is submitted in one turn of the loop."""
    calls = [each for round_ in rounds for each in round_]
    got: dict[int, list[Outcome]] = {id(each): [] for each in calls}

    async def run() -> None:
        done = asyncio.Event()

        def deliver(each: TensorCall, outcome: Outcome) -> None:
            got[id(each)].append(outcome)
            if all(got[id(c)] or c.cancelled for c in calls):
                done.set()

        runner = Runner(model, batching or Batching(), deliver, Metrics([]), place)
        runner.start()
        for round_ in rounds:
            for each in round_:
                runner.submit(each)
            await asyncio.sleep(0)
        for each in cancel:
            each.cancel()
        model.gate.set()
        if not all(got[id(c)] or c.cancelled for c in calls):
            async with asyncio.timeout(10):
                await done.wait()
        runner.stop()

    asyncio.run(run())
    return [got[id(each)] for each in calls]


ROWS = st.lists(st.lists(st.integers(-9, 9), min_size=2, max_size=2), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.tuples(ROWS, st.booleans()), max_size=6), min_size=1, max_size=5),
    st.sampled_from([INLINE, THREAD]),
    st.integers(1, 8),
    st.integers(16, 200),
    st.booleans(),
)
def test_every_reply_goes_to_its_caller_with_its_own_rows(
    rounds: list[list[tuple[list[list[int]], bool]]], place: float, max_rows: int, max_bytes: int, batchable: bool
) -> None:
    made = [[(call(*rows), leaves) for rows, leaves in round_] for round_ in rounds]
    model = FakeModel(batchable=batchable)
    if place == THREAD:
        model.gate.clear()  # The first batch is in hand while the others wait, and some leave.
    leaving = [each for round_ in made for each, leaves in round_ if leaves]
    found = outcomes(
        model,
        [[each for each, _ in round_] for round_ in made],
        place,
        cancel=leaving,
        batching=Batching(max_rows=max_rows, max_bytes=max_bytes),
    )
    flat = [each for round_ in made for each, _ in round_]
    for each, got in zip(flat, found, strict=True):
        assert len(got) <= 1
        if not each.cancelled:
            assert len(got) == 1
        for outcome in got:
            assert not isinstance(outcome, TiffinError)
            assert outcome[0].tolist() == (each.arrays[0].sum(axis=1) * 2).tolist()


@PLACES
def test_calls_of_one_turn_share_a_batch(place: float) -> None:
    model = FakeModel()
    outcomes(model, [[call([1, 2]), call([3, 4], [5, 6]), call([7, 8])]], place)
    assert model.seen == [4]
    assert model.threads == ({"MainThread"} if place == INLINE else {"predict"})


def test_what_queues_up_while_the_model_is_busy_goes_together() -> None:
    model = FakeModel()
    model.gate.clear()
    outcomes(model, [[call([1, 2])], [call([3, 4])], [call([5, 6])], [call([7, 8])]], THREAD)
    assert model.seen == [1, 3]


@pytest.mark.parametrize("options", [{"batchable": False}, {"batching": Batching(enabled=False)}])
def test_without_batching_every_call_goes_alone(options: dict[str, Any]) -> None:
    model = FakeModel(batchable=options.pop("batchable", True))
    outcomes(model, [[call([1, 2]), call([3, 4], [5, 6]), call([7, 8])]], **options)
    assert model.seen == [1, 2, 1]


@PLACES
def test_other_shapes_and_dtypes_never_share_a_batch(place: float) -> None:
    model = FakeModel()
    calls = [call([1, 2]), call([1, 2, 3]), TensorCall(["x"], [np.array([[1, 2]], "i4")]), call([5, 6])]
    found = outcomes(model, [calls], place)
    assert sorted(model.seen) == [1, 1, 2]
    assert [got[0][0].tolist() for got in found] == [[6.0], [12.0], [6], [22.0]]  # type: ignore[index]


def fails_on_nan(array: Array) -> tuple[Array, ...]:
    if np.isnan(array).any():
        raise ValueError("a NaN")
    return double(array)


@PLACES
@pytest.mark.parametrize("bad", [{0}, {3}, {7}, {2, 5}, set(range(8))])
def test_bad_rows_fail_alone(place: float, bad: set[int]) -> None:
    calls = [call([np.nan if index in bad else index, 1]) for index in range(8)]
    for index, got in enumerate(outcomes(FakeModel(fails_on_nan), [calls], place)):
        assert len(got) == 1
        if index in bad:
            assert isinstance(got[0], PredictError)
            assert "ValueError: a NaN" in str(got[0])
        else:
            assert got[0][0].tolist() == [2 * (index + 1)]  # type: ignore[index]


@PLACES
@pytest.mark.parametrize(
    "function",
    [
        lambda array: (array[:-1],),
        lambda array: (np.concatenate([array, array]),),
        lambda array: (np.array(5.0),),
        lambda array: (array, array[:0]),
    ],
    ids=["fewer", "more", "no rows", "second output"],
)
def test_a_model_that_gives_other_rows_than_it_got_fails_every_call(
    place: float, function: Callable[[Array], tuple[Array, ...]]
) -> None:
    for calls in ([call([1, 2])], [call([1, 2]), call([3, 4]), call([5, 6])]):
        for got in outcomes(FakeModel(function), [calls], place):
            assert [type(outcome) for outcome in got] == [PredictError]
            assert got[0].status == 500  # type: ignore[union-attr]


def test_a_model_that_is_not_batchable_may_give_what_it_likes() -> None:
    ((got,),) = outcomes(FakeModel(lambda array: (np.array(5.0),), batchable=False), [[call([1, 2])]])
    assert got[0].tolist() == 5.0  # type: ignore[index]


@PLACES
@pytest.mark.parametrize("error", [DecodeError("no"), MemoryError(), SystemExit(3), RecursionError()])
def test_whatever_a_model_raises_is_an_outcome_and_the_next_call_is_served(
    place: float, error: BaseException
) -> None:
    def function(array: Array) -> tuple[Array, ...]:
        if array[0, 0] == 1:
            raise error
        return double(array)

    first, second = outcomes(FakeModel(function), [[call([1, 2])], [call([3, 4])]], place)
    assert isinstance(first[0], DecodeError if isinstance(error, DecodeError) else PredictError)
    assert second[0][0].tolist() == [14.0]  # type: ignore[index]


@PLACES
def test_several_outputs_are_split_by_rows(place: float) -> None:
    model = FakeModel(lambda array: (array[:, 0], array * 2))
    first, second = outcomes(model, [[call([1, 2]), call([3, 4], [5, 6])]], place)
    assert [part.tolist() for part in first[0]] == [[1], [[2, 4]]]  # type: ignore[union-attr]
    assert [part.tolist() for part in second[0]] == [[3, 5], [[6, 8], [10, 12]]]  # type: ignore[union-attr]


def test_a_caller_that_left_is_not_predicted_for() -> None:
    model = FakeModel()
    model.gate.clear()
    gone = [call([3, 4]), call([5, 6])]
    found = outcomes(model, [[call([1, 2])], [gone[0], call([7, 8]), gone[1]]], THREAD, cancel=gone)
    assert model.seen == [1, 1]
    assert [len(got) for got in found] == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("slow", "threads"), [(12, {"MainThread", "predict"}), (7, {"MainThread"})], ids=["always", "for a moment"]
)
def test_predicts_that_turn_out_slow_move_to_a_thread_and_a_moment_of_it_does_not(
    slow: int, threads: set[str]
) -> None:
    pause = threading.Event()
    left = iter(range(slow))

    def function(array: Array) -> tuple[Array, ...]:
        if next(left, None) is not None:
            pause.wait(0.005)
        return double(array)

    model = FakeModel(function)
    outcomes(model, [[call([1, 2])] for _ in range(12)], INLINE)
    assert model.threads == threads

import asyncio
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiffin.errors import CallError, NotReady, PredictError, TooLarge
from tiffin.runtime.batch_values import asked, costs, cut, group_of, join, length, parts
from tiffin.runtime.value_batches import ValueBatches


def answers(values, ask, **options):
    """What each of ``values``, sent at once, is answered with."""
    settings_ = {"max_items": 100, "max_wait_seconds": 60.0, **options}

    async def main():
        batches = ValueBatches(**settings_)
        return await asyncio.gather(*(batches.submit(v, ask) for v in values), return_exceptions=True)

    return asyncio.run(main())


@given(st.lists(st.lists(st.integers(), max_size=7), min_size=1, max_size=20), st.integers(2, 9))
@settings(deadline=None, max_examples=60)
def test_every_caller_gets_the_answers_to_its_own_items(values, max_items):
    seen = []

    async def double(batch):
        seen.append(len(batch))
        return [2 * item for item in batch]

    found = answers(values, double, max_items=max_items)
    assert found == [[2 * item for item in value] for value in values]
    assert max(seen) <= max_items


def test_calls_that_come_together_share_a_batch():
    seen = []

    async def ask(batch):
        seen.append(len(batch))
        return batch

    answers([[1], [2], [3]], ask)
    assert seen == [3]


def test_a_bad_item_fails_alone():
    async def ask(batch):
        if 13 in batch:
            raise ValueError("unlucky")
        return batch

    found = answers([[1], [13], [3], [4, 5]], ask)
    assert [found[0], found[2], found[3]] == [[1], [3], [4, 5]]
    assert isinstance(found[1], ValueError)


def test_arrays_of_other_widths_or_datatypes_never_meet():
    seen = []

    async def ask(batch):
        seen.append((batch.dtype.str, batch.shape))
        return batch.sum(axis=1)

    values = [np.ones((1, 2)), np.ones((2, 3)), np.ones((1, 2)), np.ones((1, 2), "f4")]
    found = answers(values, ask)
    assert [len(array) for array in found] == [1, 2, 1, 1]
    assert sorted(seen) == [("<f4", (1, 2)), ("<f8", (2, 2)), ("<f8", (2, 3))]


def test_an_answer_of_the_wrong_length_fails_every_caller_without_hanging():
    async def short(batch):
        return batch[:-1]

    found = answers([[1, 1], [3, 3]], short)
    assert all(isinstance(error, PredictError) for error in found)


def test_a_caller_that_leaves_hurts_nobody():
    async def main():
        batches = ValueBatches(max_items=10, max_wait_seconds=60.0)
        started = asyncio.Event()

        async def ask(batch):
            started.set()
            await asyncio.sleep(0)
            return batch

        first = asyncio.create_task(batches.submit([1], ask))
        await started.wait()
        others = [asyncio.create_task(batches.submit([n], ask)) for n in (2, 3, 4)]
        await asyncio.sleep(0)
        others[1].cancel()
        return await asyncio.gather(first, *others, return_exceptions=True)

    done = asyncio.run(main())
    assert done[0] == [1]
    assert (done[1], done[3]) == ([2], [4])
    assert isinstance(done[2], asyncio.CancelledError)


def test_a_call_that_waited_too_long_is_refused():
    async def slow(batch):
        await asyncio.sleep(0.3)
        return batch

    async def main():
        batches = ValueBatches(max_items=2, max_wait_seconds=0.2)
        return await asyncio.gather(*(batches.submit([n], slow) for n in range(4)), return_exceptions=True)

    found = asyncio.run(main())
    assert found[:2] == [[0], [1]]
    assert all(isinstance(error, NotReady) for error in found[2:])


@pytest.mark.parametrize("dimension", [0, 1])
def test_arrays_are_cut_and_joined_along_the_batch_dimension(dimension):
    array = np.arange(12).reshape(3, 4)
    size = length(array, dimension)
    parts = [cut(array, dimension, 0, 1), cut(array, dimension, 1, size)]
    assert (join(parts, dimension) == array).all()
    assert group_of(parts[0], dimension) == group_of(parts[1], dimension)


def test_what_has_no_length_is_no_batch():
    with pytest.raises(PredictError, match="expected a batch"):
        length(3.5, 0)


@given(st.lists(st.integers(0, 10), max_size=40), st.integers(2, 7), st.integers(10, 30))
def test_parts_hold_every_item_in_order_and_stay_within_both_limits(weights, max_items, max_cost):
    found = parts(len(weights), max_items, weights, max_cost)
    assert [start for start, _ in found] == [0, *(end for _, end in found[:-1])]
    assert found[-1][1] == len(weights)
    for start, end in found:
        assert end - start <= max_items
        assert sum(weights[start:end]) <= max_cost
    for (start, end), (_, following) in itertools.pairwise(found):
        is_full = end - start == max_items or sum(weights[start : end + 1]) > max_cost
        assert is_full, f"{end} would have found room before {following}"


@given(st.lists(st.lists(st.text("ab", max_size=6), max_size=7), min_size=1, max_size=12), st.integers(6, 20))
@settings(deadline=None, max_examples=60)
def test_no_batch_costs_more_than_it_may_and_nobody_gets_anothers_answer(values, max_cost):
    seen = []

    async def upper(batch):
        seen.append(sum(map(len, batch)))
        return [item.upper() for item in batch]

    found = answers(values, upper, max_items=5, cost=len, max_cost=max_cost)
    assert found == [[item.upper() for item in value] for value in values]
    assert max(seen) <= max_cost


def test_an_item_that_alone_costs_too_much_is_refused_and_its_neighbours_are_answered():
    async def ask(batch):
        return batch

    found = answers([["aa"], ["a", "a" * 11], ["b"]], ask, cost=len, max_cost=10)
    assert (found[0], found[2]) == (["aa"], ["b"])
    assert isinstance(found[1], TooLarge)
    assert str(found[1]) == "[1]: expected items that cost at most 10, found one of 11"


@pytest.mark.parametrize("given_back", ["much", None, -1, float("nan"), float("inf")])
def test_a_cost_that_is_none_is_the_authors_mistake(given_back):
    with pytest.raises(PredictError, match=r"\[0\]: expected cost to return a number from 0"):
        costs([1], 0, lambda item: given_back, 10)


def test_items_of_arrays_and_frames_are_weighed_one_by_one():
    import pandas

    assert costs(np.ones((2, 3)), 0, np.sum, 10) == [3.0, 3.0]
    assert costs(np.ones((2, 3)), 1, np.sum, 10) == [2.0, 2.0, 2.0]
    assert costs(pandas.DataFrame({"n": [4, 5]}), 0, lambda row: row["n"], 10) == [4.0, 5.0]


def test_a_call_is_refused_in_time_also_while_the_method_is_busy():
    async def main():
        release = asyncio.Event()

        async def ask(batch):
            await release.wait()
            return batch

        batches = ValueBatches(max_items=1, max_wait_seconds=0.05)
        first = asyncio.create_task(batches.submit([1], ask))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(NotReady, match="has waited 50 ms for its batch"):
            await batches.submit([2], ask)
        assert not first.done()
        release.set()
        return await first, await batches.submit([3], ask)

    assert asyncio.run(main()) == ([1], [3])


def test_a_value_without_items_is_the_callers_mistake():
    with pytest.raises(CallError, match="an array of at least 1 dimensions, found an array of 0"):
        asked(np.array(5), 0)
    with pytest.raises(CallError, match="a list of items, found int"):
        asked(5, 0)
    assert asked([1, 2], 0) == 2

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiffin.errors import NotReady, PredictError
from tiffin.runtime.value_batches import ValueBatches, cut, group_of, join, length


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

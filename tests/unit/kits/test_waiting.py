import asyncio

from tiffin.kits import waiting


def test_waiting_ends_with_the_first_answer() -> None:
    answers = iter([None, None, "yes", "late"])

    async def ask() -> str | None:
        return next(answers)

    assert asyncio.run(waiting.until(ask, seconds=5, every_seconds=0)) == "yes"


def test_waiting_ends_with_none_at_the_deadline_and_asks_at_least_once() -> None:
    asked = []

    async def ask() -> None:
        asked.append(1)

    assert asyncio.run(waiting.until(ask, seconds=0)) is None
    assert asked == [1]


def test_zero_is_an_answer() -> None:
    async def ask() -> int:
        return 0

    assert asyncio.run(waiting.until(ask, seconds=0)) == 0

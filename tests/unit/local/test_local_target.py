import asyncio
import errno
from typing import Any

import pytest

from tiffin.local import target
from tiffin.local.target import Target


class Full:
    """A gateway whose files do not fit on the disk the first ``times``."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.told = 0

    async def publish(self, snapshot: Any) -> None:
        if self.times:
            self.times -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        self.told += 1


def test_a_change_the_gateway_was_not_told_of_is_told_when_there_is_room_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    gateway = Full(3)
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr(target.asyncio, "sleep", pause)

    async def main() -> None:
        served = Target(None, [], gateway, say=said.append)  # type: ignore[arg-type]
        await served._publish_or_say()
        for _ in range(20):
            await sleep(0)
        await served._publish_or_say()

    asyncio.run(main())
    assert "No space left" in said[0]
    assert said[1:] == ["the gateway has been told"]
    assert pauses == [1.0, 2.0, 4.0]
    assert gateway.told == 2

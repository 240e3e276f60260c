"""Blocking work beside the event loop that nobody has to wait for at the end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


async def in_daemon(work: Callable[[], Result]) -> Result:
    """Run ``work`` in a thread of its own. Cancelled, it goes on unheard, and ends with the process at the latest.

    ``asyncio.to_thread`` would keep the process from ending until the work is done: minutes, for a download.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except BaseException as error:
            failure = error
        try:
            loop.call_soon_threadsafe(settle, result, failure)
        except RuntimeError:
            return  # The loop has closed: nobody listens any more.

    threading.Thread(target=run, daemon=True, name="tiffin-work").start()
    return await future

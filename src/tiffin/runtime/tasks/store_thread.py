"""The one thread of a worker that talks to the store of its tasks: the event loop never waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from tiffin.runtime.tasks.store import StoreUnreachable, TaskStore

log = logging.getLogger(__name__)

PULSE_SECONDS = 1.0

Answer = TypeVar("Answer")
Question = Callable[[TaskStore], None]


class StoreThread:
    """Answers questions in the order they come, and calls ``pulse`` once a second in between.

    Args:
        open_store: Called in the thread.
        pulse: What is to be done anyway.

    Attributes:
        offset: What is to be added to this machine's clock for the store's; the thread sets it.
    """

    def __init__(self, open_store: Callable[[], TaskStore], pulse: Question) -> None:
        self.offset = 0.0
        self._open = open_store
        self._pulse = pulse
        self._questions: queue.SimpleQueue[Question | None] = queue.SimpleQueue()
        self._is_away = False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Open the store and begin; raises what opening it raises."""
        self._loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = self._loop.create_future()
        threading.Thread(target=self._serve, args=(opened,), name="tasks", daemon=True).start()
        await opened

    def stop(self) -> None:
        """Close the store, after the questions that were put before."""
        self._questions.put(None)

    async def ask(self, question: Callable[[TaskStore], Answer]) -> Answer:
        """What ``question`` answers; raises what it raises. For code on the loop."""
        assert self._loop is not None
        future: asyncio.Future[Answer] = self._loop.create_future()

        def answer(store: TaskStore) -> None:
            try:
                found = question(store)
            except Exception as error:
                self.tell(_settle, future, None, error)
            else:
                self.tell(_settle, future, found, None)

        self._questions.put(answer)
        return await future

    def put(self, question: Question) -> None:
        """Ask without waiting, from anywhere."""
        self._questions.put(question)

    def tell(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call something on the loop, from this thread."""
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody listens any more
            self._loop.call_soon_threadsafe(function, *arguments)

    def synchronize(self, store: TaskStore) -> None:
        """Learn what the store's clock says."""
        self.offset = store.clock() - time.time()

    def _serve(self, opened: asyncio.Future[None]) -> None:
        try:
            store = self._open()
            self.synchronize(store)
        except Exception as error:
            self.tell(_settle, opened, None, error)
            return
        self.tell(_settle, opened, None, None)
        following = time.monotonic()
        while True:
            try:
                question = self._questions.get(timeout=max(0.0, following - time.monotonic()))
                if question is None:
                    break
                self._safely(question, store)
            except queue.Empty:
                pass
            if time.monotonic() >= following:
                if self._safely(self._pulse, store) and self._is_away:
                    self._is_away = False
                    log.info("the store of the tasks answers again")
                following = time.monotonic() + PULSE_SECONDS
        with contextlib.suppress(StoreUnreachable):
            store.close()

    def _safely(self, question: Question, store: TaskStore) -> bool:
        """Whether it went well; a store that is away is logged once."""
        try:
            question(store)
        except StoreUnreachable as error:
            if not self._is_away:
                log.error("%s", error)
            self._is_away = True
        except Exception:
            log.exception("looking after tasks failed")
        else:
            return True
        return False


def _settle(future: asyncio.Future[Any], answer: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(answer)

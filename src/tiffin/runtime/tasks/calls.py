"""One run of a task's method: its stored request decoded, the method called, what it gives encoded."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from tiffin.codec.files import Scratch
from tiffin.codec.inputs import Arguments
from tiffin.errors import CallError
from tiffin.protocol import named_json
from tiffin.protocol.head import Head
from tiffin.protocol.reply import Reply
from tiffin.runtime.service_call import invoke
from tiffin.service import context, loading
from tiffin.service.task_endpoint import TaskEndpoint
from tiffin.service.task_run import CurrentTask, running

if TYPE_CHECKING:
    from tiffin.runtime.service_application import ServiceApplication

log = logging.getLogger(__name__)

How = Literal["completed", "failed", "canceled", "crashed", "released"]


class Outcome(NamedTuple):
    """How a run ended. ``crashed``: its process died; ``released``: it is somebody else's turn."""

    how: How
    reply: Reply | None = None
    error: str = ""
    is_retriable: bool = False


def of_reply(reply: Reply) -> Outcome:
    """A reply with a status from 400 is a failure, as BentoML has it; one from 500 may be tried again."""
    if reply.status < 400:
        return Outcome("completed", reply)
    return Outcome("failed", reply, error_in(reply), is_retriable=reply.status >= 500)


def error_in(reply: Reply) -> str:
    """The text a caller is told in an error's reply."""
    try:
        said = json.loads(reply.body)
        said = said[0] if isinstance(said, list) else said
        return str(said["error"])
    except (ValueError, TypeError, LookupError):
        return f"it answered {reply.status}"


class TaskCall:
    """A method's call from a request that was written down."""

    def __init__(
        self, application: ServiceApplication, method: TaskEndpoint, head: Head, body: bytes, current: CurrentTask
    ) -> None:
        self._application = application
        self._method = method
        self._head = head
        self._body = body
        self._current = current
        self._scratch = Scratch()
        self._context: context.Context | None = None

    def check(self) -> None:
        """Decode the request, to refuse what does not fit before it is kept.

        Raises:
            CallError, pydantic.ValidationError: it does not.
        """
        try:
            self._arguments()
        finally:
            self._scratch.close()

    def plain(self) -> Outcome:
        """A plain method, whole; in a thread of its own."""
        running.set(self._current)
        try:
            return of_reply(self._encode(self._application.bind(self._method, self._arguments())()))
        except BaseException as error:
            return self._failed(error)
        finally:
            self._scratch.close()

    async def on_loop(self) -> Outcome:
        """An async or a batchable method."""
        running.set(self._current)
        application = self._application
        try:
            arguments: Arguments = await application.in_pool(self._arguments)
            value = await invoke(application, self._method, arguments)
            return of_reply(await application.in_pool(self._encode, value))
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            return self._failed(error)
        finally:
            self._scratch.close()

    def _arguments(self) -> Arguments:
        limit = self._application.max_nesting
        arguments = named_json.decode(self._method, self._head, self._body, self._scratch, max_nesting=limit)
        if self._method.context_name is not None:
            request = context.Request(self._head, self._body)
            request.state.task_id = self._current.id
            self._context = context.Context(
                self._application.service.context.state,
                request,
                scratch=self._scratch,
                lifetime=self._current.lifetime,
                task=self._current,
            )
            arguments.kwargs[self._method.context_name] = self._context
        return arguments

    def _encode(self, value: object) -> Reply:
        return named_json.encode(self._method, value, None if self._context is None else self._context.response)

    def _failed(self, error: BaseException) -> Outcome:
        reply = named_json.error_reply(error)
        if reply.status >= 500 and not isinstance(error, CallError):
            frames = loading.users_frames(error.__traceback__, Path(self._application.spec.path))
            about = (type(error), error, frames)
            log.error("task %s: %s failed", self._current.id, self._method.name, exc_info=about)
        return of_reply(reply)

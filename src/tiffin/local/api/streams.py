"""Answers that go on: server-sent events and lines, with a sign of life while nothing happens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import msgspec
from aiohttp import web

from tiffin.local.api import failures

KEEP_ALIVE_SECONDS = 15.0
SLOWEST_READER_SECONDS = 30.0
FIRST_SECONDS = 0.05
"""How long a stream may take to say that it cannot begin: until then the answer can still be an error's."""


@dataclass(frozen=True)
class Form:
    """How items are written. ``silence`` is what is sent while nothing happens."""

    content_type: str
    silence: bytes


EVENTS = Form("text/event-stream", b": nothing new\n\n")
LINES = Form("application/x-ndjson", b"\n")
TEXT = Form("text/plain", b"")


def event(name: str, data: object, number: int | None = None) -> bytes:
    """One server-sent event; its data is one line of JSON."""
    head = f"event: {name}\n" + (f"id: {number}\n" if number is not None else "")
    return head.encode() + b"data: " + msgspec.json.encode(data) + b"\n\n"


async def send(
    request: web.Request, chunks: AsyncIterator[bytes], form: Form, stopping: asyncio.Event
) -> web.StreamResponse:
    """Send the chunks until they end, the client leaves or ``stopping`` is set.

    What the iterator raises at its first step passes through; later it is sent as an event ``ERROR``.
    """
    iterator = aiter(chunks)
    step = asyncio.ensure_future(anext(iterator))
    stop = asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait({step}, timeout=FIRST_SECONDS)
        if step.done() and (raised := step.exception()) and not isinstance(raised, StopAsyncIteration):
            raise raised
        response = web.StreamResponse(
            headers={"Content-Type": f"{form.content_type}; charset=utf-8", "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        while True:
            await asyncio.wait({step, stop}, timeout=KEEP_ALIVE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if step.done():
                try:
                    chunk = step.result()
                except StopAsyncIteration:
                    break
                except Exception as error:
                    await _write(response, _failure(error, form))
                    break
                await _write(response, chunk)
                step = asyncio.ensure_future(anext(iterator))
            elif stop.done():
                break
            elif form.silence:
                await _write(response, form.silence)
        await response.write_eof()
    except (ConnectionError, TimeoutError):
        # The client has gone, or reads no more; nobody is there to tell.
        if request.transport is not None:
            request.transport.abort()
        raise asyncio.CancelledError from None
    finally:
        for task in (step, stop):
            task.cancel()
        await asyncio.gather(step, stop, return_exceptions=True)
        if (close := getattr(iterator, "aclose", None)) is not None:
            with contextlib.suppress(Exception):
                await close()
    return response


async def _write(response: web.StreamResponse, chunk: bytes) -> None:
    async with asyncio.timeout(SLOWEST_READER_SECONDS):
        await response.write(chunk)


def _failure(error: Exception, form: Form) -> bytes:
    status, failure = failures.answer(error)
    if form is EVENTS:
        return event("ERROR", {"status": status, **msgspec.to_builtins(failure)})
    if form is LINES:
        return msgspec.json.encode(failure) + b"\n"
    return f"error: {failure.error}\n".encode()

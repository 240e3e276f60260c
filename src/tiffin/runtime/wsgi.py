"""A WSGI application (PEP 3333) as an ASGI one: it runs in a thread, its answer is sent from the loop."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from tiffin.runtime.asgi import Message, Receive, Send

WsgiCallable = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class WsgiApp:
    """Calls the application.

    Args:
        app: the WSGI application.
        in_thread: runs a function in a thread and gives its result.
    """

    def __init__(self, app: WsgiCallable, in_thread: Callable[..., Awaitable[Any]]) -> None:
        self._app = app
        self._in_thread = in_thread

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """One call; a lifespan or a WebSocket is refused, as WSGI knows neither."""
        if scope["type"] != "http":
            raise ValueError(f"expected an http scope for a WSGI application, found {scope['type']}")
        body = bytearray()
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        await self._in_thread(self._run, environ_of(scope, bytes(body)), send, asyncio.get_running_loop())

    def _run(self, environ: dict[str, Any], send: Send, loop: asyncio.AbstractEventLoop) -> None:
        """In the thread; each part waits until it is sent."""
        head: list[Message] = []

        def start_response(status: str, headers: list[tuple[str, str]], problem: Any = None) -> Callable[..., Any]:
            if head and problem is None:
                raise AssertionError("start_response was called twice")
            lines = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
            code = int(status[:3])
            head[:] = [{"type": "http.response.start", "status": code, "headers": lines}]
            return lambda data: say(data, is_more=True)

        def tell(message: Message) -> None:
            asyncio.run_coroutine_threadsafe(_awaited(send(message)), loop).result()

        is_begun: list[bool] = []

        def say(data: bytes, *, is_more: bool) -> None:
            if not is_begun:
                if not head:
                    raise AssertionError("the application gave a body before it called start_response")
                is_begun.append(True)
                tell(head[0])
            tell({"type": "http.response.body", "body": data, "more_body": is_more})

        parts = self._app(environ, start_response)
        try:
            if isinstance(parts, (list, tuple)):
                say(b"".join(parts), is_more=False)
                return
            for part in parts:
                if part:
                    say(part, is_more=True)
            say(b"", is_more=False)
        finally:
            close = getattr(parts, "close", None)
            if close is not None:
                close()


async def _awaited(work: Awaitable[None]) -> None:
    await work


def environ_of(scope: MutableMapping[str, Any], body: bytes) -> dict[str, Any]:
    """The variables of one request."""
    root = scope["root_path"]
    host, port = scope["server"] or ("localhost", 80)
    environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": _wsgi(root),
        "PATH_INFO": _wsgi(scope["path"].removeprefix(root)),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    if scope["client"]:
        environ["REMOTE_ADDR"] = scope["client"][0]
    for name, value in scope["headers"]:
        key = name.decode("latin-1").upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        text = value.decode("latin-1")
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    return environ


def _wsgi(text: str) -> str:
    """Text as WSGI has it: the bytes of its UTF-8, each as a character."""
    return text.encode("utf-8").decode("latin-1")

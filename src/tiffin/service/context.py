"""What a method may ask about its call, and set on its answer: the ``ctx`` parameter.

Also the facts of the process: ``server_context``, ``get_current_service`` and ``importing``.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from types import SimpleNamespace
from typing import Any, Literal, NoReturn, Protocol
from urllib.parse import parse_qsl, urlsplit

from tiffin.errors import ServiceError
from tiffin.service.lifetime import Lifetime
from tiffin.service.task_run import CurrentTask

log = logging.getLogger(__name__)


class Headers(MutableMapping[str, str]):
    """Header lines by name, in order; names compare without case."""

    def __init__(self, lines: Mapping[str, str] | None = None) -> None:
        self._lines: list[tuple[str, str]] = []
        self.update(lines or {})

    def __getitem__(self, name: str) -> str:
        for key, value in self._lines:
            if key == name.lower():
                return value
        raise KeyError(name)

    def __setitem__(self, name: str, value: str) -> None:
        key = name.lower()
        for index, (found, _) in enumerate(self._lines):
            if found == key:
                kept = [line for line in self._lines[index + 1 :] if line[0] != key]
                self._lines[index:] = [(key, str(value)), *kept]
                return
        self._lines.append((key, str(value)))

    def __delitem__(self, name: str) -> None:
        self._lines = [line for line in self._lines if line[0] != name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self._lines))

    def __len__(self) -> int:
        return len(dict(self._lines))

    def append(self, name: str, value: str) -> None:
        """Add a line, keeping others of the same name."""
        self._lines.append((name.lower(), str(value)))

    def getlist(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for key, value in self._lines if key == name.lower()]

    def lines(self) -> list[tuple[str, str]]:
        """Every line, in order."""
        return list(self._lines)


class CallHead(Protocol):
    """What is known of a request before its body."""

    method: str
    path: str
    query: bytes
    headers: dict[bytes, bytes]


class Request:
    """The request behind a call."""

    def __init__(self, head: CallHead, body: bytes) -> None:
        self.method = head.method
        self.headers = Headers({k.decode("latin-1"): v.decode("latin-1") for k, v in head.headers.items()})
        self.state = SimpleNamespace()
        self._path = head.path
        self._query = head.query.decode("latin-1")
        self._body = body

    @property
    def metadata(self) -> Headers:
        """The headers."""
        return self.headers

    @property
    def url(self) -> Any:
        """The URL, split: ``.path``, ``.query``, ``.netloc``; ``str`` of ``.geturl()`` is the whole."""
        query = f"?{self._query}" if self._query else ""
        return urlsplit(f"http://{self.headers.get('host', 'localhost')}{self._path}{query}")

    @property
    def client(self) -> None:
        """The caller's address; ``None``, as the gateway stands between. It may add ``x-forwarded-for``."""
        return

    @property
    def query_params(self) -> dict[str, str]:
        """Query parameters; the last one of a name wins."""
        return dict(parse_qsl(self._query, keep_blank_values=True))

    @property
    def cookies(self) -> dict[str, str]:
        """Cookies the caller sent."""
        return {name: morsel.value for name, morsel in SimpleCookie(self.headers.get("cookie", "")).items()}

    async def body(self) -> bytes:
        """The whole body, as it came."""
        return self._body

    async def json(self) -> Any:
        """The body read as JSON."""
        return json.loads(self._body)


@dataclass
class Cookie:
    """A cookie to set; ``max_age`` and ``expires`` in seconds."""

    key: str
    value: str
    max_age: int | None = None
    expires: int | None = None
    path: str = "/"
    domain: str | None = None
    secure: bool = False
    httponly: bool = False
    samesite: Literal["lax", "strict", "none"] | None = "lax"

    def line(self) -> str:
        """The value of its ``set-cookie`` header."""
        morsels: SimpleCookie = SimpleCookie()
        morsels[self.key] = self.value
        morsel = morsels[self.key]
        # http.cookies has no attribute for an absent value; only what was set is written.
        for name, value in (
            ("max-age", self.max_age),
            ("expires", self.expires),
            ("path", self.path),
            ("domain", self.domain),
            ("secure", self.secure or None),
            ("httponly", self.httponly or None),
            ("samesite", self.samesite),
        ):
            if value is not None:
                morsel[name] = value
        return morsel.OutputString()


@dataclass
class Response:
    """What the method sets on its answer; applied only when the method does not raise.

    ``background`` is called without arguments once the answer has been sent, a plain function in a thread;
    Starlette's ``BackgroundTask`` is one such.
    """

    status_code: int = 200
    headers: Headers = field(default_factory=Headers)
    cookies: list[Cookie] = field(default_factory=list)
    background: Callable[[], Any] | None = None

    @property
    def metadata(self) -> Headers:
        """The headers."""
        return self.headers

    def set_cookie(self, key: str, value: str, **options: Any) -> None:
        """Set a cookie; options are the fields of ``Cookie``."""
        self.cookies.append(Cookie(key, value, **options))


class Scratchpad(Protocol):
    """Where the files of a call go."""

    @property
    def directory(self) -> str:
        """A directory that is removed after the answer."""


class Context:
    """One call, as its method sees it.

    Attributes:
        request: Headers, path, query and body.
        response: Status, headers and cookies of the answer.
        state: A dict shared by all calls of this worker.
        task: The task the call is a run of; ``None`` for other calls.
    """

    def __init__(
        self,
        state: dict[str, Any],
        request: Request | None = None,
        response: Response | None = None,
        scratch: Scratchpad | None = None,
        lifetime: Lifetime | None = None,
        task: CurrentTask | None = None,
    ) -> None:
        self.state = state
        self._request = request
        self._scratch = scratch
        self._lifetime = lifetime
        self.task = task
        self.response = response or Response()

    @property
    def request(self) -> Request:
        """The request; LookupError outside of a call."""
        if self._request is None:
            raise LookupError("there is no request: this context is not of a call")
        return self._request

    @property
    def temp_dir(self) -> str:
        """A directory of this call's own, removed after the answer."""
        if self._scratch is None:
            raise LookupError("there is no temporary directory: this context is not of a call")
        return self._scratch.directory

    @property
    def deadline(self) -> float | None:
        """Seconds until the call's time is over, 0 when it is; ``None`` when it may take for ever.

        It is the service's (``traffic.timeout``), the task's (``timeout``), or the caller's when that is less.
        """
        return None if self._lifetime is None else self._lifetime.left()

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits any more: the caller left, the time is over, the task was cancelled."""
        return self._lifetime is not None and self._lifetime.is_cancelled

    def is_cancelled(self) -> bool:
        """The same, as a call."""
        return self.cancelled

    def wait_cancelled(self, seconds: float) -> bool:
        """Wait up to ``seconds``, in a thread and not on the event loop; true as soon as nobody waits any more."""
        return (self._lifetime or Lifetime()).wait(seconds)

    def progress(self, part: float, note: str = "") -> None:
        """Say how far the task is, from 0 to 1; callers see it in its status. Other calls have nobody to tell."""
        if self.task is not None:
            self.task.progress(part, note)


class BatchContext(Context):
    """What a method whose calls are joined gets for its batch: ``state``, and nothing of any one call."""

    def _refuse(self, what: str) -> NoReturn:
        raise ServiceError(
            f"ctx.{what} is that of one call, and a batch has several",
            hint="leave batchable=True out, or put what the method needs into the items",
        )

    @property
    def request(self) -> NoReturn:
        """Raises ServiceError: a batch has several."""
        self._refuse("request")

    @property
    def temp_dir(self) -> NoReturn:
        """Raises ServiceError: a batch has several."""
        self._refuse("temp_dir")

    @property
    def response(self) -> Response:
        """Raises ServiceError: a batch has several."""
        self._refuse("response")

    @response.setter
    def response(self, value: Response) -> None:
        """Nothing that is kept."""


@dataclass
class ServerContext:
    """The process a service runs in; ``worker_index`` counts from 1 and is ``None`` outside of a replica."""

    bento_name: str = ""
    bento_version: str = "not available"
    service_name: str | None = None
    service_type: str | None = None
    worker_index: int | None = None


server_context = ServerContext()
_current: list[Any] = []


def set_current_service(instance: Any) -> None:
    """Name the instance this process serves; ``None`` for none."""
    _current[:] = [] if instance is None else [instance]


def get_current_service() -> Any:
    """The instance this process serves, or ``None``."""
    return _current[0] if _current else None


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Let imports fail where the service is only looked at; in a replica they fail as always.

    Example::

    with tiffin.importing():
        import torch
    """
    try:
        yield
    except ImportError as error:
        if server_context.worker_index is not None:
            raise
        log.info("left out an import that is not installed here: %s", error.name)

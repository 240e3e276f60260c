"""What a written client stands on: ``tiffin client`` copies it into what it writes. The standard library alone."""

from __future__ import annotations

import dataclasses
import http.client
import json
import mimetypes
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from email.message import Message
from email.parser import BytesParser
from typing import IO, Any, Generic, TypeVar
from urllib.parse import urlencode, urlsplit

T = TypeVar("T")
Upload = str | os.PathLike[str] | bytes | IO[bytes]
"""A file to send: its path, its bytes, or an open file; the service fetches a text that begins with http(s)://."""


class Unset:
    """An argument that was left out: the service's own default counts."""


UNSET = Unset()


class CallFailed(Exception):
    """The service answered with an error.

    Attributes:
        status: The HTTP status.
        detail: Where the input does not fit, and why; empty for other errors.
    """

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.detail: list[dict[str, Any]] = []
        message = body.decode("utf-8", "replace")
        try:
            found = json.loads(message)
        except ValueError:
            found = None
        found = found[0] if isinstance(found, list) and found else found
        if isinstance(found, dict):
            message = str(found.get("error", message))
            self.detail = found.get("detail") or []
        super().__init__(f"{status}: {message}")


@dataclasses.dataclass(frozen=True)
class File:
    """A file that was answered."""

    name: str
    content_type: str
    data: bytes


@dataclasses.dataclass(frozen=True)
class Answer:
    """Bytes and headers, names in lower case."""

    headers: Mapping[str, str]
    body: bytes

    def value(self) -> Any:
        """JSON, or the text itself where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return self.text()

    def text(self) -> str:
        """Text; that of dates and enums without its quotation marks."""
        return self.body.decode("utf-8", "replace")

    def quoted(self) -> str:
        """The text of a JSON string."""
        return str(json.loads(self.body)) if self.body[:1] == b'"' else self.text()

    def file(self) -> File:
        """The body as a file."""
        return _file(self.headers, self.body)

    def files(self) -> list[File]:
        """The parts of the body as files."""
        head = f"content-type: {self.headers.get('content-type', '')}\r\n\r\n".encode("latin-1", "replace")
        parts = BytesParser().parsebytes(head + self.body).get_payload()
        found = []
        for part in parts if isinstance(parts, list) else []:
            data = part.get_payload(decode=True) if isinstance(part, Message) else None
            if isinstance(part, Message) and isinstance(data, bytes):
                found.append(_file({name.lower(): str(value) for name, value in part.items()}, data))
        return found


def _file(headers: Mapping[str, str], data: bytes) -> File:
    message = Message()
    message["content-disposition"] = headers.get("content-disposition", "")
    return File(os.path.basename(message.get_filename() or ""), headers.get("content-type", ""), data)


class Task(Generic[T]):
    """A call that was submitted."""

    def __init__(self, client: Calls, route: str, id_: str, read: Callable[[Answer], T]) -> None:
        self.id = id_
        self._client = client
        self._route = route
        self._read = read

    def status(self) -> str:
        """``pending``, ``in_progress``, ``completed``, ``failed`` or ``canceled``."""
        return str(self._ask("GET", "status").value()["status"])

    def get(self) -> T:
        """Its result; raises CallFailed while there is none."""
        return self._read(self._ask("GET", "get"))

    def wait(self, seconds: float = float("inf")) -> T:
        """Its result when it has ended; raises TimeoutError."""
        end = time.monotonic() + seconds
        while self.status() in ("pending", "in_progress"):
            if time.monotonic() > end:
                raise TimeoutError(f"the task {self.id} has not ended within {seconds:g} seconds")
            threading.Event().wait(0.05)
        return self.get()

    def cancel(self) -> None:
        """Ask for its end."""
        self._ask("PUT", "cancel")

    def retry(self) -> Task[T]:
        """The same call again."""
        return Task(self._client, self._route, str(self._ask("POST", "retry").value()["task_id"]), self._read)

    def _ask(self, method: str, verb: str) -> Answer:
        query = urlencode({"task_id": self.id})
        return self._client.ask(method, f"{self._route}/{verb}?{query}", b"", {})


class Calls:
    """Sends calls; safe for several threads.

    Args:
        url: Where the service is: ``http(s)://host:port/path``.
        token: Sent as ``Authorization: Bearer``.
        timeout: Seconds without a byte before a call is given up.
        headers: Sent with every call.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float = 30.0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"expected http(s)://host:port, found {url!r}")
        self._parts = parts
        self._timeout = timeout
        self._headers = dict(headers or {})
        if token:
            self._headers["authorization"] = f"Bearer {token}"
        self._idle: list[http.client.HTTPConnection] = []

    def close(self) -> None:
        """Close the connections."""
        while self._idle:
            self._idle.pop().close()

    def is_ready(self) -> bool:
        """Whether the service is ready."""
        try:
            self.ask("GET", "/readyz", b"", {})
        except (OSError, http.client.HTTPException, CallFailed):
            return False
        return True

    def ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """A request and its answer; raises CallFailed, or OSError when nobody answers."""
        connection, response = self._send(method, path, body, headers)
        content = response.read()
        if not response.will_close:
            self._idle.append(connection)
        if response.status >= 400:
            raise CallFailed(response.status, content)
        return Answer({name.lower(): value for name, value in response.getheaders()}, content)

    def stream(self, path: str, body: bytes, headers: Mapping[str, str]) -> Iterator[bytes]:
        """The chunks of an answer as they come."""
        connection, response = self._send("POST", path, body, headers)
        try:
            if response.status >= 400:
                raise CallFailed(response.status, response.read())
            while chunk := response.read1(65_536):
                yield chunk
        finally:
            connection.close()

    def _send(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        target = self._parts.path.rstrip("/") + path
        while True:
            try:
                connection, is_used = self._idle.pop(), True
            except IndexError:
                kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
                assert self._parts.hostname is not None
                connection, is_used = kind(self._parts.hostname, self._parts.port, timeout=self._timeout), False
            try:
                connection.request(method, target, body, {**self._headers, **headers})
                return connection, connection.getresponse()
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                connection.close()
                if not is_used:  # else it had been closed while it was idle, and nothing was answered
                    raise
            except BaseException:
                connection.close()
                raise


def encoded(values: Mapping[str, Any]) -> tuple[bytes, dict[str, str]]:
    """Arguments as JSON."""
    given = {name: value for name, value in values.items() if not isinstance(value, Unset)}
    return json.dumps(given, default=_plain).encode(), {"content-type": "application/json"}


def whole(value: Any, content_type: str) -> tuple[bytes, dict[str, str]]:
    """One argument that is the whole body."""
    if content_type == "application/json":
        return json.dumps(value, default=_plain).encode(), {"content-type": content_type}
    if content_type == "text/plain":
        return value if isinstance(value, bytes) else str(value).encode(), {"content-type": content_type}
    _, data, media_type = _opened(value)
    return data, {"content-type": media_type}


def form(values: Mapping[str, Any], files: Mapping[str, Any]) -> tuple[bytes, dict[str, str]]:
    """Arguments with files among them as multipart/form-data."""
    boundary = secrets.token_hex(16)
    chunks: list[bytes] = []

    def part(name: str, data: bytes, more: str = "", media_type: str = "") -> None:
        head = f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"{more}\r\n'
        head += f"content-type: {media_type}\r\n" if media_type else ""
        chunks.extend((head.encode(), b"\r\n", data, b"\r\n"))

    for name, value in values.items():
        if not isinstance(value, Unset):
            part(name, json.dumps(value, default=_plain).encode())
    for name, given in files.items():
        for one in given if isinstance(given, (list, tuple)) else [given]:
            if one is None or isinstance(one, Unset):
                continue
            if isinstance(one, str) and one.startswith(("http://", "https://")):
                part(name, one.encode())
                continue
            filename, data, media_type = _opened(one)
            quoted = filename.replace("\\", "_").replace('"', "_").replace("\r", "_").replace("\n", "_")
            part(name, data, f'; filename="{quoted}"', media_type)
    chunks.append(f"--{boundary}--\r\n".encode())
    return b"".join(chunks), {"content-type": f"multipart/form-data; boundary={boundary}"}


def _opened(value: Upload) -> tuple[str, bytes, str]:
    if isinstance(value, bytes):
        return "upload", value, "application/octet-stream"
    if isinstance(value, (str, os.PathLike)):
        name = os.path.basename(os.fspath(value))
        with open(value, "rb") as file:
            data = file.read()
    else:
        name, data = os.path.basename(str(getattr(value, "name", "upload"))), value.read()
    return name, data, mimetypes.guess_type(name)[0] or "application/octet-stream"


def text_items(chunks: Iterator[bytes]) -> Iterator[str]:
    """Text as it comes, in whole characters."""
    import codecs

    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for chunk in chunks:
        if text := decoder.decode(chunk):
            yield text


def json_items(chunks: Iterator[bytes]) -> Iterator[Any]:
    """JSON values that follow each other; text where it is none."""
    left = ""
    for text in text_items(chunks):
        left += text
        while left:
            try:
                value, end = json.JSONDecoder().raw_decode(left)
            except ValueError:
                if left[0] not in '{["':
                    yield left
                    left = ""
                break
            yield value
            left = left[end:].lstrip()
    if left:
        yield left


def _plain(value: Any) -> Any:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "to_dicts"):
        return value.to_dicts()
    if hasattr(value, "to_dict"):
        return value.to_dict(orient="records")
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray)):
        return value.decode()
    if isinstance(value, (set, frozenset)):
        return list(value)
    return str(value)

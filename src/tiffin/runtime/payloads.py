"""Payload logging: requests and answers as CloudEvents 1.0 in HTTP binary mode, as KServe and Seldon send them.

A call costs the loop one put into a queue; threads deliver. The queue is bounded in events and bytes: what comes
while the receiver is slow or away is dropped and counted, and no call ever waits for it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import queue
import threading
import urllib.parse
import uuid
from datetime import UTC, datetime

from tiffin.protocol.head import Head
from tiffin.runtime.metrics import Metrics
from tiffin.runtime.tap import Taken
from tiffin.spec import ReplicaSpec
from tiffin.spec.deployment import Logger

log = logging.getLogger(__name__)

MOST_EVENTS = 10_000
MOST_BYTES = 67_108_864
TIMEOUT_SECONDS = 2.0
THREADS = 2
MOST_STREAMED_BYTES = 1_048_576
SOURCE = "http://localhost:9081/"
"""What KServe's agent calls itself when nobody told it a name."""


class PayloadLogger:
    """Sends the calls of one worker to ``logger.url``; a listener of a ``Tap``."""

    limit = MOST_STREAMED_BYTES

    def __init__(self, spec: ReplicaSpec, logger: Logger, metrics: Metrics) -> None:
        self._spec = spec
        self._logger = logger
        self._metrics = metrics
        self._events: queue.SimpleQueue[tuple[dict[str, str], bytes] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting_bytes = 0
        self._sent = self._lost = self._told_sent = self._told_lost = 0
        self._is_failing = False
        self._threads: list[threading.Thread] = []

    def look(self) -> bool:
        """Always wanted; what the threads did is told to the metrics here, on the loop."""
        if not self._threads:
            self._threads = [
                threading.Thread(target=self._deliver, name=f"payloads-{index}", daemon=True)
                for index in range(THREADS)
            ]
            for thread in self._threads:
                thread.start()
        self._count()
        return True

    def take(self, taken: Taken) -> None:
        """Queue the events of a call."""
        for headers, body in events(self._spec, self._logger, taken):
            with self._lock:
                is_full = self._events.qsize() >= MOST_EVENTS or self._waiting_bytes + len(body) > MOST_BYTES
                if is_full:
                    self._lost += 1
                    continue
                self._waiting_bytes += len(body)
            self._events.put((headers, body))

    def close(self) -> None:
        """Deliver what waits, for at most a moment."""
        for _ in self._threads:
            self._events.put(None)
        for thread in self._threads:
            thread.join(TIMEOUT_SECONDS / THREADS)
        left = 0
        with contextlib.suppress(queue.Empty):
            while True:
                left += self._events.get_nowait() is not None
        with self._lock:
            self._lost += left
        self._count()

    def _count(self) -> None:
        with self._lock:
            sent, lost = self._sent, self._lost
        self._metrics.logged(sent - self._told_sent)
        self._metrics.unlogged(lost - self._told_lost)
        self._told_sent, self._told_lost = sent, lost

    def _deliver(self) -> None:
        receiver = Receiver(self._logger.url)
        while (event := self._events.get()) is not None:
            headers, body = event
            failure = ""
            try:
                status = receiver.send(headers, body)
                failure = "" if status < 300 else f"it answered {status}"
            except (OSError, http.client.HTTPException, ValueError) as error:
                failure = str(error) or type(error).__name__
            with self._lock:
                self._waiting_bytes -= len(body)
                self._sent += not failure
                self._lost += bool(failure)
                is_news = bool(failure) != self._is_failing
                self._is_failing = bool(failure)
            if is_news and failure:
                log.warning("payloads cannot be sent to %s: %s", self._logger.url, failure)
            elif is_news:
                log.info("payloads are sent to %s again", self._logger.url)
        receiver.close()


class Receiver:
    """A kept connection to who takes the events."""

    def __init__(self, url: str) -> None:
        self._url = urllib.parse.urlsplit(url)
        self._connection: http.client.HTTPConnection | None = None

    def send(self, headers: dict[str, str], body: bytes) -> int:
        """POST one event; the status. Raises OSError, HTTPException, or ValueError for a bad address."""
        connection = self._connection
        if connection is not None:
            try:
                return self._post(connection, headers, body)
            except (OSError, http.client.HTTPException):
                self.close()  # It was closed while nothing was sent: once more on a new one.
        self._connection = connection = self._connect()
        try:
            return self._post(connection, headers, body)
        except (OSError, http.client.HTTPException):
            self.close()
            raise

    def _connect(self) -> http.client.HTTPConnection:
        if self._url.scheme not in ("http", "https") or not self._url.hostname:
            raise ValueError(f"expected an address like http://host/path, found {self._url.geturl()!r}")
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        return kind(self._url.hostname, self._url.port, timeout=TIMEOUT_SECONDS)

    def _post(self, connection: http.client.HTTPConnection, headers: dict[str, str], body: bytes) -> int:
        path = self._url.path or "/"
        connection.request("POST", f"{path}?{self._url.query}" if self._url.query else path, body, headers)
        response = connection.getresponse()
        while response.read(65_536):
            pass
        return response.status

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


# -- events, pure ----------------------------------------------------------------------------------------------


def events(spec: ReplicaSpec, logger: Logger, taken: Taken) -> list[tuple[dict[str, str], bytes]]:
    """The events of a call, as headers and body of the POST that delivers each."""
    head = taken.head
    if logger.style == "seldon" and _text(head, b"seldon-skip-logging").lower() in ("true", "on", "1"):
        return []
    found = []
    same = _text(head, b"ce-id") or str(uuid.uuid4())
    if logger.mode != "response":
        content = _text(head, b"content-type") or "application/json"
        found.append((_headers(spec, logger, taken, "request", same, content), taken.body))
    if logger.mode != "request" and taken.status == 200:
        content = dict(taken.answer_headers).get(b"content-type", b"application/json").decode("latin-1")
        found.append((_headers(spec, logger, taken, "response", same, content), taken.answer))
    return found


def _headers(
    spec: ReplicaSpec, logger: Logger, taken: Taken, kind: str, same: str, content: str
) -> dict[str, str]:
    common = {
        "ce-specversion": "1.0",
        "ce-time": datetime.fromtimestamp(taken.time, UTC).isoformat().replace("+00:00", "Z"),
        "ce-inferenceservicename": spec.deployment,
        "ce-namespace": spec.namespace,
        "ce-endpoint": spec.variant or "default",
        "content-type": content,
    }
    if logger.style == "seldon":
        is_feedback = taken.head.path.endswith("/feedback")
        named = "feedback" if is_feedback else f"inference.{kind}"
        return common | {
            "ce-id": str(uuid.uuid4()),
            "ce-type": f"io.seldon.serving.{named}",
            "ce-source": f"http:///{spec.deployment}",
            "ce-requestid": _text(taken.head, b"seldon-puid") or _text(taken.head, b"x-request-id") or same,
            "ce-modelid": _node(spec),
            "ce-protocol": "v2" if spec.protocol == "open-inference" else "seldon",
        }
    metadata = {name: _text(taken.head, name.lower().encode("latin-1")) for name in logger.metadata_headers}
    return common | {
        "ce-id": same,
        "ce-type": f"org.kubeflow.serving.inference.{kind}",
        "ce-source": SOURCE,
        "ce-component": spec.component.name,
        "ce-metadata": json.dumps({name: [value] for name, value in metadata.items() if value}),
    }


def _node(spec: ReplicaSpec) -> str:
    unit = getattr(spec.component.source, "unit", "")
    return unit or spec.component.name


def _text(head: Head, name: bytes) -> str:
    # A header of a caller becomes a header of the event: without what would end it.
    return head.headers.get(name, b"").decode("latin-1").replace("\r", "").replace("\n", "")

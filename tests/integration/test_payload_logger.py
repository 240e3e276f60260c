"""Payload events: headers as KServe and Seldon set them, and a queue that never holds up a call."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tiffin.protocol.head import Head
from tiffin.runtime import payloads
from tiffin.runtime.metrics import _LOGGED, _UNLOGGED, Metrics
from tiffin.runtime.payloads import PayloadLogger, events
from tiffin.runtime.tap import Taken
from tiffin.spec import Artefact, ClassSource, Component, Logger, ReplicaSpec


def spec(logger: Logger, **fields: Any) -> ReplicaSpec:
    source = ClassSource(artefact=Artefact(uri="/m"), target="m:M", unit="classifier")
    return ReplicaSpec(
        deployment="iris",
        namespace="flowers",
        model_name="iris",
        component=Component(source=source, logger=logger),
        path="/m",
        **fields,
    )


def taken(status: int = 200, path: str = "/v1/models/iris:predict", **headers: str) -> Taken:
    known = {name.replace("_", "-").encode(): value.encode("latin-1") for name, value in headers.items()}
    head = Head("POST", path, b"", {b"content-type": b"application/json"} | known, 2, True)
    return Taken(head, b"{}", 1000.5, 0.1, status, ((b"content-type", b"text/plain"),), b"answer")


def test_kserves_pair_of_events_shares_an_id() -> None:
    logger = Logger(url="http://x", metadata_headers=("X-User", "x-none"))
    request, response = events(spec(logger), logger, taken(x_user="ada"))
    assert request[1] == b"{}"
    assert response[1] == b"answer"
    assert request[0]["ce-id"] == response[0]["ce-id"]
    assert (request[0]["ce-type"], response[0]["ce-type"]) == (
        "org.kubeflow.serving.inference.request",
        "org.kubeflow.serving.inference.response",
    )
    assert request[0]["ce-specversion"] == "1.0"
    assert request[0]["ce-source"] == "http://localhost:9081/"
    assert request[0]["ce-inferenceservicename"] == "iris"
    assert request[0]["ce-namespace"] == "flowers"
    assert request[0]["ce-component"] == "predictor"
    assert json.loads(request[0]["ce-metadata"]) == {"X-User": ["ada"]}
    assert (request[0]["content-type"], response[0]["content-type"]) == ("application/json", "text/plain")
    assert request[0]["ce-time"].startswith("1970-01-01T00:16:40.5")
    (first, _) = events(spec(logger), logger, taken(ce_id="mine"))
    assert first[0]["ce-id"] == "mine"


def test_seldons_events_name_puid_node_and_predictor() -> None:
    logger = Logger(url="http://x", style="seldon")
    order = spec(logger, variant="main", protocol="seldon")
    request, response = events(order, logger, taken(seldon_puid="p1"))
    assert request[0]["ce-type"] == "io.seldon.serving.inference.request"
    assert response[0]["ce-type"] == "io.seldon.serving.inference.response"
    assert request[0]["ce-id"] != response[0]["ce-id"]
    assert request[0]["ce-requestid"] == response[0]["ce-requestid"] == "p1"
    assert (request[0]["ce-modelid"], request[0]["ce-endpoint"]) == ("classifier", "main")
    feedback = events(order, logger, taken(path="/api/v1.0/feedback"))
    assert feedback[0][0]["ce-type"] == "io.seldon.serving.feedback"


@pytest.mark.parametrize("value", ["true", "on", "1", "TRUE"])
def test_seldon_callers_can_ask_not_to_be_logged(value: str) -> None:
    logger = Logger(url="http://x", style="seldon")
    assert events(spec(logger), logger, taken(seldon_skip_logging=value)) == []
    assert len(events(spec(logger), logger, taken(seldon_skip_logging="no"))) == 2


@pytest.mark.parametrize(
    ("mode", "status", "kinds"),
    [
        ("all", 200, ["request", "response"]),
        ("all", 500, ["request"]),
        ("request", 200, ["request"]),
        ("response", 200, ["response"]),
        ("response", 400, []),
    ],
)
def test_modes_and_failed_calls(mode: Any, status: int, kinds: list[str]) -> None:
    logger = Logger(url="http://x", mode=mode)
    found = events(spec(logger), logger, taken(status))
    assert [headers["ce-type"].rpartition(".")[2] for headers, _ in found] == kinds


def test_a_header_cannot_bring_another_one() -> None:
    logger = Logger(url="http://x", metadata_headers=("x-user",))
    (request, _) = events(spec(logger), logger, taken(ce_id="a\r\nx-evil: 1", x_user="a\nb"))
    assert all("\n" not in value and "\r" not in value for value in request[0].values())


class Receiver(ThreadingHTTPServer):
    daemon_threads = True
    status = 202

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.gate = threading.Event()
        self.gate.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.gate.wait(10)
                receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(receiver.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/events"

    def end(self) -> None:
        self.gate.set()
        self.shutdown()
        self.thread.join()
        self.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    try:
        yield made
    finally:
        made.end()


def counted(metrics: Metrics) -> tuple[int, int]:
    return int(metrics._slots[_LOGGED]), int(metrics._slots[_UNLOGGED])


def test_events_arrive_and_are_counted(receiver: Receiver) -> None:
    logger, metrics = Logger(url=receiver.url), Metrics([])
    made = PayloadLogger(spec(logger), logger, metrics)
    assert made.look()
    for _ in range(20):
        made.take(taken())
    made.close()
    assert counted(metrics) == (40, 0)
    assert len(receiver.got) == 40
    assert {headers["ce-specversion"] for headers, _ in receiver.got} == {"1.0"}


def test_a_receiver_that_hangs_holds_up_nobody(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payloads, "MOST_EVENTS", 50)
    monkeypatch.setattr(payloads, "TIMEOUT_SECONDS", 0.5)
    receiver.gate.clear()
    logger, metrics = Logger(url=receiver.url), Metrics([])
    made = PayloadLogger(spec(logger), logger, metrics)
    made.look()
    began = time.monotonic()
    for _ in range(500):
        made.take(taken())
    assert time.monotonic() - began < 0.5
    made.close()
    sent, lost = counted(metrics)
    assert sent + lost >= 998  # Two may be on their way, with threads that were not waited for.
    assert lost >= 900


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "ftp://nowhere", "nonsense"])
def test_nobody_there_is_counted_and_said_once(url: str, caplog: pytest.LogCaptureFixture) -> None:
    logger, metrics = Logger(url=url), Metrics([])
    made = PayloadLogger(spec(logger), logger, metrics)
    made.look()
    for _ in range(5):
        made.take(taken())
    made.close()
    assert counted(metrics) == (0, 10)
    # Threads of the tests before may still tell of theirs.
    assert caplog.text.count(f"cannot be sent to {url}") == 1


def test_a_receiver_that_refuses_is_counted_too(receiver: Receiver) -> None:
    receiver.status = 503
    logger, metrics = Logger(url=receiver.url), Metrics([])
    made = PayloadLogger(spec(logger), logger, metrics)
    made.look()
    made.take(taken())
    made.close()
    assert counted(metrics) == (0, 2)

"""A service that is a program (``cmd``, ``__command__``): a real http.server behind a real replica."""

import contextlib
import http.client
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

PROGRAM = """
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/stream":
            self.send_response(200)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for word in (b"one", b"two"):
                self.wfile.write(b"3\\r\\n" + word + b"\\r\\n")
                self.wfile.flush()
                if word == b"one":
                    while not os.path.exists("go"):
                        time.sleep(0.01)
            self.wfile.write(b"0\\r\\n\\r\\n")
            return
        self.reply({"path": self.path, "pid": os.getpid(), "env": os.environ.get("COLOUR")})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.reply({"bytes": len(body), "type": self.headers["content-type"]}, 201)

    def reply(self, value, status=200):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.send_header("set-cookie", "a=1")
        self.send_header("set-cookie", "b=2")
        self.end_headers()
        self.wfile.write(body)

print("the program says hello", flush=True)
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

SERVICE = """
import sys
import tiffin

@tiffin.service({options}, envs=[{{"name": "COLOUR", "value": "blue"}}])
class Proxy:
    {body}
"""


@pytest.fixture
def serve(serving):
    """``serve(directory)``, or not ready with ``ready=False``; it is ended after the test."""
    with contextlib.ExitStack() as stack:
        yield lambda directory, **more: stack.enter_context(serving("service:Proxy", directory=directory, **more))


def until(ask: Callable[[], Any], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not ask():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def project(directory: Path, options: str, body: str = "...") -> None:
    (directory / "program.py").write_text(PROGRAM)
    (directory / "service.py").write_text(SERVICE.format(options=options, body=body))


def ask(served: Any, path: str, body: bytes | None = None) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    try:
        headers = {"content-type": "application/x-mine"} if body is not None else {}
        connection.request("GET" if body is None else "POST", path, body, headers)
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read()
    finally:
        connection.close()


COMMAND = 'cmd=[sys.executable, "program.py", "$PORT"]'
HOOK = 'def __command__(self): return [sys.executable, "program.py", "${PORT}"]'


@pytest.mark.parametrize(("options", "body"), [(COMMAND, "..."), ("workers=2", HOOK)])
def test_a_program_answers_through_the_replica_and_ends_with_it(tmp_path, serve, options, body):
    project(tmp_path, options, body)
    served = serve(tmp_path)
    status, headers, answer = ask(served, "/deep/path?x=%C3%A4&y")
    found = json.loads(answer)
    assert (status, found["path"], found["env"]) == (200, "/deep/path?x=%C3%A4&y", "blue")
    assert headers.get_all("set-cookie") == ["a=1", "b=2"]
    assert json.loads(ask(served, "/")[2])["path"] == "/"
    status, _, answer = ask(served, "/upload", b"x" * 3_000_000)
    assert (status, json.loads(answer)) == (201, {"bytes": 3_000_000, "type": "application/x-mine"})
    assert "the program says hello" in served.text()
    pids = {json.loads(ask(served, "/")[2])["pid"] for _ in range(20)}
    assert len(pids) == 1
    served.stop()
    until(lambda: not psutil.pid_exists(found["pid"]))


def test_an_answer_streams_while_the_program_makes_it(tmp_path, serve):
    project(tmp_path, COMMAND)
    served = serve(tmp_path)
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    connection.request("GET", "/stream")
    reply = connection.getresponse()
    assert reply.read(3) == b"one"
    (tmp_path / "go").touch()
    assert reply.read() == b"two"
    connection.close()


def test_a_program_that_dies_is_started_again(tmp_path, serve):
    project(tmp_path, COMMAND)
    served = serve(tmp_path)
    pid = json.loads(ask(served, "/")[2])["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: ask(served, "/livez")[0] == 503)
    assert ask(served, "/")[0] == 503
    until(lambda: ask(served, "/readyz")[0] == 200)
    assert json.loads(ask(served, "/")[2])["pid"] != pid
    assert "was ended by SIGKILL" in served.text()


def test_the_program_of_a_replica_that_is_killed_ends(tmp_path, serve):
    project(tmp_path, COMMAND)
    served = serve(tmp_path)
    pid = json.loads(ask(served, "/")[2])["pid"]
    psutil.Process(pid).parent().kill()
    until(lambda: not psutil.pid_exists(pid))


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ('cmd=[sys.executable, "-c", "raise SystemExit(7)"]', "ended with exit code 7 before it listened"),
        ('cmd=["no-such-program"]', "cannot start the program 'no-such-program'"),
    ],
)
def test_a_program_that_cannot_start_is_told_of(tmp_path, serve, command, expected):
    project(tmp_path, command)
    served = serve(tmp_path, ready=False)
    until(lambda: expected in served.text())
    assert served.process.wait(20) != 0


def test_a_port_that_is_anothers_is_not_passed_on_to(tmp_path, serve):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        project(tmp_path, f'cmd=[sys.executable, "program.py", "{port}"], http={{"proxy_port": {port}}}')
        served = serve(tmp_path, ready=False)
        until(lambda: "is another process's already" in served.text())
        assert served.process.wait(20) != 0

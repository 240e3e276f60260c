"""WebSockets and TLS of a served service: real processes and sockets, through ``tiffin.serve``."""

import socket
import ssl
import subprocess
import urllib.request

import pytest

import tiffin

wsproto = pytest.importorskip("wsproto", reason="WebSockets need wsproto: pip install 'tiffin[websocket]'")
from wsproto import ConnectionType, WSConnection, events  # noqa: E402

SERVICE = """
import tiffin


async def app(scope, receive, send):
    assert scope["type"] in ("websocket", "http"), "no lifespan"
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["root_path"].encode()})
        return
    await receive()
    if scope["path"].endswith("/closed"):
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.accept", "subprotocol": (scope["subprotocols"] or [None])[0]})
    while (message := await receive())["type"] == "websocket.receive":
        if message["text"] == "raise":
            raise RuntimeError("secret")
        if message["text"] is not None:
            await send({"type": "websocket.send", "text": message["text"] * 2})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})


@tiffin.service(**OPTIONS)
@tiffin.asgi_app(app, path="/live")
class Live:
    @tiffin.api
    def one(self) -> int:
        return 1
"""


@pytest.fixture
def served(tmp_path):
    """Serves the service with options; what it started is stopped at the end."""
    servers = []

    def start(**options):
        (tmp_path / "live_service.py").write_text(SERVICE.replace("**OPTIONS", f"**{options!r}"))
        servers.append(tiffin.serve("live_service:Live", port=0, working_dir=tmp_path))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
        assert server.process.returncode == 0


class Caller:
    """A WebSocket's other end."""

    def __init__(self, url, path):
        host, _, port = url.rpartition("//")[2].partition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=20)
        self._frames = WSConnection(ConnectionType.CLIENT)
        self.say(events.Request(host=host, target=path, subprotocols=["chat"]))

    def say(self, event):
        self._socket.sendall(self._frames.send(event))

    def hear(self):
        while True:
            for event in self._frames.events():
                return event
            self._frames.receive_data(self._socket.recv(65_536) or None)

    def close(self):
        self._socket.close()


@pytest.fixture
def callers():
    made = []

    def call(*arguments):
        made.append(Caller(*arguments))
        return made[-1]

    yield call
    for caller in made:
        caller.close()


def test_messages_go_both_ways(served, callers):
    caller = callers(served().url, "/live/chat")
    assert caller.hear().subprotocol == "chat"
    caller.say(events.TextMessage(data="hé"))
    assert caller.hear().data == "héhé"
    large = b"x" * 300_000
    caller.say(events.BytesMessage(data=large))
    parts = []
    while not parts or not parts[-1].message_finished:
        parts.append(caller.hear())
    assert b"".join(bytes(part.data) for part in parts) == large
    caller.say(events.Ping(payload=b"p"))
    assert bytes(caller.hear().payload) == b"p"
    caller.say(events.CloseConnection(code=1000))
    assert isinstance(caller.hear(), events.CloseConnection)


def test_what_is_not_taken_is_refused_and_a_failure_closes(served, callers):
    url = served().url
    assert callers(url, "/live/closed").hear().status_code == 403
    caller = callers(url, "/live/chat")
    caller.hear()
    caller.say(events.TextMessage(data="raise"))
    assert caller.hear().code == 1011
    host, _, port = url.rpartition("//")[2].partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as plain:
        plain.sendall(b"GET /live/x HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        assert plain.recv(4096).startswith(b"HTTP/1.1 400 ")


def test_a_replica_that_drains_says_goodbye(served, callers):
    server = served()
    caller = callers(server.url, "/live/chat")
    caller.hear()
    server.process.terminate()
    assert caller.hear().code == 1001
    caller.say(events.CloseConnection(code=1001))
    assert server.wait() == 0


def test_tls_is_spoken_with_the_services_certificate(served, tmp_path):
    names = [str(tmp_path / name) for name in ("key.pem", "cert.pem")]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1"]
    try:
        subprocess.run([*made, "-keyout", names[0], "-out", names[1]], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("a certificate needs openssl: apt-get install openssl")
    server = served(ssl={"enabled": True, "keyfile": names[0], "certfile": names[1]})
    assert server.url.startswith("https://")
    context = ssl.create_default_context(cafile=names[1])
    context.check_hostname = False
    with urllib.request.urlopen(f"{server.url}/live", context=context, timeout=20) as answer:
        assert answer.read() == b"/live"

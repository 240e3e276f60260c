import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tiffin.codec import fetching
from tiffin.codec.fetching import Rules, fetch, is_public


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_only_addresses_of_the_internet_are_public(address, expected):
    assert is_public(address) is expected


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x",
        "http://localhost:1/x",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://[::1]/",
        "http://169.254.169.254/latest",
        "http://user@127.0.0.1/",
        "http:///x",
        "http://[::1",
        "http://host:99999/",
        "http://a\r\nb/",
    ],
)
def test_what_is_not_public_is_not_asked(url):
    with pytest.raises(ValueError, match=r"public internet|expected an address|cannot be read|no host"):
        fetch(url, Rules())


def test_one_private_address_among_public_ones_is_enough(monkeypatch):
    found = [(0, 0, 0, "", ("93.184.216.34", 80)), (0, 0, 0, "", ("10.0.0.1", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(ValueError, match="public internet"):
        fetch("http://rebinding.example/", Rules())


def test_the_address_that_was_checked_is_the_one_connected_to(monkeypatch):
    asked = []

    def connect(address, timeout):
        asked.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(0, 0, 0, "", ("93.184.216.34", 80))])
    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(ValueError, match="cannot be fetched"):
        fetch("http://name.example/a", Rules())
    assert asked == [("93.184.216.34", 80)]


class Handler(BaseHTTPRequestHandler):
    release = threading.Event()

    def do_GET(self):
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("content-type", "text/csv; charset=utf-8")
        if self.path != "/endless":
            self.send_header("content-length", "5")
        self.end_headers()
        if self.path == "/slow":
            self.release.wait(20)
        self.wfile.write(b"hello" * (100 if self.path == "/endless" else 1))

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        Handler.release.clear()
        yield f"http://127.0.0.1:{found.server_port}"
        Handler.release.set()
        found.shutdown()
        thread.join()


def test_a_file_is_fetched_with_its_name_and_type(server):
    found = fetch(f"{server}/dir/a%20b.csv?x=1", Rules("any"))
    assert (found.data, found.filename, found.content_type) == (b"hello", "a b.csv", "text/csv")


def test_redirects_are_followed_and_checked(server, monkeypatch):
    assert fetch(f"{server}/to//a.csv", Rules("any")).data == b"hello"
    monkeypatch.setattr(fetching, "is_public", lambda address: address == "127.0.0.1")
    with pytest.raises(ValueError, match="public internet"):
        fetch(f"{server}/to/http://127.0.0.2/", Rules())
    with pytest.raises(ValueError, match="expected an address"):
        fetch(f"{server}/to/file:///etc/passwd", Rules())
    with pytest.raises(ValueError, match="more than 5 times"):
        fetch(server + "/to/" * 7 + "/a", Rules())


@pytest.mark.parametrize(
    ("path", "rules", "message"),
    [
        ("/missing", Rules("any"), "answered 404"),
        ("/a", Rules("any", max_bytes=4), "more than 4 bytes"),
        ("/endless", Rules("any", max_bytes=40), "more than 40 bytes"),
        ("/slow", Rules("any", seconds=0.2), r"within 0\.2 seconds"),
        ("/a", Rules("off"), "fetches none"),
    ],
)
def test_what_cannot_be_fetched_says_why(server, path, rules, message):
    with pytest.raises(ValueError, match=message):
        fetch(server + path, rules)


def test_the_deployment_sets_the_rules():
    environment = {"TIFFIN_FETCH": "any", "TIFFIN_FETCH_BYTES": "7", "TIFFIN_FETCH_SECONDS": "1.5"}
    assert Rules.read(environment) == Rules("any", 7, 1.5)
    assert Rules.read({}) == Rules()
    with pytest.raises(ValueError, match="nothing is fetched"):
        Rules.read({"TIFFIN_FETCH": "all"})

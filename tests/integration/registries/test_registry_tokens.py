"""A registry that wants tokens, as the large ones do; one that is busy; and where passwords do not go."""

import base64
import http.server
import json
import threading
import urllib.parse

import pytest

from tiffin.errors import RegistryError
from tiffin.oci import records
from tiffin.oci.layout import Layout
from tiffin.oci.registry import Registry

pytest.importorskip("oras", reason="pip install 'tiffin[oci]'")

BLOB = b"weights"
CONFIG = b"{}"


class TokenRegistry:
    """Serves one artefact to who has a token for it; ``seen`` are the requests with their ``Authorization``."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str]] = []
        self.busy = 0
        self.realm = ""
        self.elsewhere = ""
        self.expired = False
        descriptors = [
            records.Descriptor(media_type="application/x", digest=records.digest_of(data), size=len(data))
            for data in (CONFIG, BLOB)
        ]
        self.manifest = records.encode(
            records.Manifest(
                schema_version=2, media_type=records.MANIFEST, config=descriptors[0], layers=descriptors[1:]
            )
        )
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments: object) -> None:
                pass

            def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content_Length": str(len(body))}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                who = self.headers.get("Authorization", "")
                registry.seen.append((self.headers["Host"], self.path, who))
                if self.path.startswith("/token"):
                    basic = f"Basic {base64.b64encode(b'ann:secret').decode()}"
                    if who != basic:
                        self.answer(401)
                        return
                    query = urllib.parse.parse_qs(self.path.partition("?")[2])
                    token = f"token-{len(registry.seen)} {query['scope'][0]} {query['service'][0]}".replace(
                        " ", "/"
                    )
                    self.answer(200, json.dumps({"token": token}).encode())
                elif registry.busy:
                    registry.busy -= 1
                    self.answer(429, Retry_After="0")
                elif self.path.startswith("/elsewhere/"):
                    self.answer(200, BLOB)
                elif not who.startswith("Bearer token-") or (registry.expired and "/blobs/" in self.path):
                    registry.expired = registry.expired and "/blobs/" not in self.path
                    challenge = f'Bearer realm="{registry.realm}",service="tests",scope="repository:iris:pull"'
                    self.answer(401, Www_Authenticate=challenge)
                elif "/manifests/" in self.path:
                    self.answer(200, registry.manifest, Content_Type=records.MANIFEST)
                elif registry.elsewhere and self.path.endswith(records.digest_of(BLOB)):
                    self.answer(307, Location=f"{registry.elsewhere}/elsewhere/blob")
                else:
                    self.answer(200, next(one for one in (CONFIG, BLOB) if records.digest_of(one) in self.path))

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        self.realm = f"http://{self.host}/token"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()


@pytest.fixture
def tokens():
    running = TokenRegistry()
    yield running
    running.server.shutdown()
    running.server.server_close()
    running.thread.join(10)


@pytest.fixture
def ann(tokens):
    return {
        "TIFFIN_REGISTRY": tokens.host,
        "TIFFIN_REGISTRY_USERNAME": "ann",
        "TIFFIN_REGISTRY_PASSWORD": "secret",
    }


def test_the_password_goes_to_the_token_service_and_the_token_to_the_registry(tokens, ann, tmp_path):
    layout = Layout(tmp_path)
    Registry(environment=ann).pull(f"{tokens.host}/iris:v1", layout)
    assert layout.path(records.digest_of(BLOB)).read_bytes() == BLOB
    asked = {(path.partition("?")[0], who.partition(" ")[0]) for _, path, who in tokens.seen}
    assert ("/token", "Basic") in asked
    assert {who for path, who in asked if path != "/token"} == {"", "Bearer"}
    token = next(who for _, path, who in tokens.seen if who.startswith("Bearer"))
    assert token.endswith("repository:iris:pull/tests")


def test_a_token_that_has_expired_is_fetched_again(tokens, ann, tmp_path):
    tokens.expired = True
    Registry(environment=ann).pull(f"{tokens.host}/iris:v1", Layout(tmp_path))
    assert len([path for _, path, _ in tokens.seen if path.startswith("/token")]) == 2


def test_a_registry_that_is_busy_is_asked_again(tokens, ann, tmp_path):
    tokens.busy = 3
    Registry(environment=ann).pull(f"{tokens.host}/iris:v1", Layout(tmp_path))
    tokens.busy = 1000
    with pytest.raises(RegistryError, match="is asked too often"):
        Registry(environment=ann).pull(f"{tokens.host}/iris:v1", Layout(tmp_path))


def test_where_a_blob_is_kept_elsewhere_nobody_is_told_who_asks(tokens, ann, tmp_path):
    tokens.elsewhere = f"http://localhost:{tokens.server.server_address[1]}"
    Registry(environment=ann).pull(f"{tokens.host}/iris:v1", Layout(tmp_path))
    (who,) = [who for _, path, who in tokens.seen if path.startswith("/elsewhere/")]
    assert who == ""


def test_without_credentials_it_is_said_how_to_log_in(tokens, tmp_path):
    with pytest.raises(RegistryError, match="nobody is logged in"):
        Registry(environment={}).pull(f"{tokens.host}/iris:v1", Layout(tmp_path))


@pytest.mark.parametrize("realm", ["ftp://127.0.0.1/token", "http://tokens.example.com/token", "/token", ""])
def test_a_password_goes_to_no_token_service_without_tls(tokens, ann, tmp_path, realm):
    tokens.realm = realm
    with pytest.raises(RegistryError, match="which is not https"):
        Registry(environment=ann).pull(f"{tokens.host}/iris:v1", Layout(tmp_path))


def test_nothing_secret_is_in_messages_or_logs(tokens, ann, tmp_path, caplog):
    caplog.set_level("DEBUG")
    Registry(environment=ann).pull(f"{tokens.host}/iris:v1", Layout(tmp_path))
    assert "secret" not in caplog.text
    assert "token-" not in caplog.text

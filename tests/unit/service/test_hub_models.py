"""``HuggingFaceModel`` against a hub of our own, and the commit that a build notes."""

import hashlib
import http.server
import json
import threading

import pytest

from tiffin.bundle import pinning
from tiffin.errors import ModelError, StorageError
from tiffin.kits.paths import DataDirectory
from tiffin.service import models
from tiffin.spec.description import ModelDescription

COMMIT = "c" * 40
FILES = {"config.json": b"{}", "weights.bin": b"weights", "notes.txt": b"notes"}


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub's HTTP API as a snapshot asks for."""

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.partition("?")[0]
        name = path.rpartition("/")[2]
        if path.startswith("/api/models/org/name/revision/"):
            listed = [{"rfilename": file} for file in FILES]
            body = json.dumps(
                {"id": "org/name", "modelId": "org/name", "sha": COMMIT, "siblings": listed}
            ).encode()
        elif path.startswith(f"/org/name/resolve/{COMMIT}/") and name in FILES:
            body = FILES[name]
        elif path.startswith(f"/api/models/org/name/tree/{COMMIT}"):
            body = json.dumps(
                [{"type": "file", "path": p, "size": len(b), "oid": hashlib.sha1(b).hexdigest()}
                 for p, b in FILES.items()]
            ).encode()  # fmt: skip
        else:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub(monkeypatch, tmp_path):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()
    models.pin(())


def test_a_build_notes_the_commit(hub, tmp_path):
    data = DataDirectory(tmp_path)
    wanted = ModelDescription(source="huggingface", name="org/name", revision="main")
    (found,) = pinning.pinned((), (wanted,), data)
    assert (found.tag, found.digest, found.source) == (f"org/name@{COMMIT}", COMMIT, "huggingface")
    absent = ModelDescription(source="huggingface", name="org/absent", revision="main")
    with pytest.raises(ModelError, match="the commit of org/absent at main cannot be had"):
        pinning.pinned((), (absent,), data)
    exact = ModelDescription(source="huggingface", name="org/absent", revision="a" * 40)
    assert pinning.pinned((), (exact,), data)[0].digest == "a" * 40


def test_a_model_of_the_hub_is_a_directory(hub, tmp_path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants", reason="pip install huggingface_hub")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    models.pin([models.Pin(tag=f"org/name@{COMMIT}", digest=COMMIT, source="huggingface")])
    reference = models.HuggingFaceModel("org/name", endpoint=hub, exclude=["notes.txt"])
    assert reference.commit_hash == COMMIT
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    found = reference.resolve()
    with open(f"{found}/weights.bin", "rb") as file:
        assert file.read() == b"weights"
    assert COMMIT in found
    with pytest.raises(StorageError, match="org/absent at main cannot be had from the hub"):
        models.HuggingFaceModel("org/absent", endpoint=hub).resolve()

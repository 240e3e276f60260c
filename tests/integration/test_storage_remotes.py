"""Artefacts over real HTTP and a real S3 API, both on loopback."""

import concurrent.futures
import functools
import http.server
import importlib.util
import io
import json
import os
import tarfile
import threading
import warnings

import pytest

from tiffin.errors import MissingExtra, StorageError
from tiffin.models import storage

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "S3_ENDPOINT", "S3_USE_HTTPS")


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        self.server.seen.append(f"{self.command} {self.path}")

    def do_GET(self):
        if self.path.startswith("/forbidden"):
            return self.send_error(403)
        if self.path.startswith("/broken"):
            return self.send_error(500)
        if self.path.startswith("/cut"):
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"too little")
            self.close_connection = True
            return None
        return super().do_GET()

    def do_HEAD(self):
        if self.path.startswith(("/forbidden", "/broken", "/cut")):
            return self.send_error(403 if self.path.startswith("/forbidden") else 500)
        return super().do_HEAD()


@pytest.fixture
def web(tmp_path):
    home = tmp_path / "www"
    home.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(home)))
    server.seen = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    server.home = home
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def s3():
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for key in KEYS:
            patch.delenv(key, raising=False)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("S3_ENDPOINT", f"{host}:{port}")
        patch.setenv("S3_USE_HTTPS", "0")
        import boto3

        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
        client.create_bucket(Bucket="models")
        yield client
        server.stop()


pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


def fetch(uri, tmp_path, **options):
    return storage.fetch(uri, base=tmp_path, cache=tmp_path / "cache", **options)


def leftovers(tmp_path):
    partial = tmp_path / "cache" / "partial"
    return list(partial.iterdir()) if partial.exists() else []


def downloads(web):
    return [line for line in web.seen if line.startswith("GET")]


def test_a_file_over_http_is_downloaded_once_and_again_when_it_changed(web, tmp_path):
    (web.home / "model.joblib").write_bytes(b"one")
    first = fetch(f"{web.url}/model.joblib", tmp_path)
    again = fetch(f"{web.url}/model.joblib", tmp_path)
    assert first == again
    assert first.name == "model.joblib"
    assert first.read_bytes() == b"one"
    assert len(downloads(web)) == 1
    (web.home / "model.joblib").write_bytes(b"two!")
    os.utime(web.home / "model.joblib", (1, 1))
    second = fetch(f"{web.url}/model.joblib", tmp_path)
    assert second.read_bytes() == b"two!"
    assert first.read_bytes() == b"one"
    assert leftovers(tmp_path) == []


def test_progress_ends_at_the_size_of_the_file(web, tmp_path):
    (web.home / "model.onnx").write_bytes(b"x" * 100_000)
    seen = []
    fetch(f"{web.url}/model.onnx?token=secret", tmp_path, progress=seen.append)
    assert (seen[0].done, seen[0].total) == (0, 100_000)
    assert (seen[-1].done, seen[-1].total) == (100_000, 100_000)
    assert "secret" not in seen[0].uri


def test_an_archive_over_http_is_unpacked(web, tmp_path):
    data = b"inside"
    with tarfile.open(web.home / "model.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("iris/model.joblib")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    path = fetch(f"{web.url}/model.tar.gz", tmp_path)
    assert (path / "iris" / "model.joblib").read_bytes() == b"inside"
    assert fetch(f"{web.url}/model.tar.gz", tmp_path) == path
    assert len(downloads(web)) == 1


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("nothing.joblib", "there is nothing at"),
        ("forbidden.joblib", "no permission to read"),
        ("broken.joblib", "answered 500"),
        ("cut.joblib", "cannot be read"),
    ],
)
def test_what_http_refuses_is_said_and_leaves_nothing(web, tmp_path, path, expected):
    with pytest.raises(StorageError, match=expected):
        fetch(f"{web.url}/{path}", tmp_path)
    assert leftovers(tmp_path) == []
    assert not (tmp_path / "cache" / "content").exists()


def test_a_host_that_does_not_answer_is_a_storage_error_with_a_hint(web, tmp_path):
    port = web.server_port
    web.socket.close()
    with pytest.raises(StorageError, match="cannot be reached") as caught:
        fetch(f"http://127.0.0.1:{port}/model.joblib", tmp_path)
    assert "network" in caught.value.hint


def test_many_fetchers_of_one_address_download_it_once(web, tmp_path):
    (web.home / "model.joblib").write_bytes(b"x" * 1000)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: fetch(f"{web.url}/model.joblib", tmp_path), range(8)))
    assert len(found) == 1
    assert len(downloads(web)) == 1


def test_a_prefix_in_s3_becomes_a_directory_and_is_kept_until_it_changes(s3, tmp_path):
    s3.put_object(Bucket="models", Key="iris/model.joblib", Body=b"weights")
    s3.put_object(Bucket="models", Key="iris/extra/names.txt", Body=b"a b")
    s3.put_object(Bucket="models", Key="iris-other/model.joblib", Body=b"another")
    first = fetch("s3://models/iris", tmp_path)
    assert sorted(str(p.relative_to(first)) for p in first.rglob("*") if p.is_file()) == [
        "extra/names.txt",
        "model.joblib",
    ]
    seen = []
    assert fetch("s3://models/iris", tmp_path, progress=seen.append) == first
    assert seen == []
    s3.put_object(Bucket="models", Key="iris/model.joblib", Body=b"changed")
    second = fetch("s3://models/iris", tmp_path, progress=seen.append)
    assert (second / "model.joblib").read_bytes() == b"changed"
    assert seen[-1].done == seen[-1].total == 10


def test_one_object_in_s3_becomes_a_file(s3, tmp_path):
    s3.put_object(Bucket="models", Key="single/model.onnx", Body=b"graph")
    assert fetch("s3://models/single/model.onnx", tmp_path).read_bytes() == b"graph"
    assert fetch("s3://models/single/", tmp_path).joinpath("model.onnx").read_bytes() == b"graph"


@pytest.mark.parametrize("uri", ["s3://models/nothing", "s3://no-such-bucket/iris"])
def test_what_s3_does_not_have_is_said(s3, tmp_path, uri):
    with pytest.raises(StorageError, match="there is nothing at"):
        fetch(uri, tmp_path)
    assert leftovers(tmp_path) == []


def test_s3_without_keys_says_which_variables_to_set(s3, tmp_path, monkeypatch):
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(key)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(StorageError) as caught:
        fetch("s3://models/iris", tmp_path)
    assert "AWS_ACCESS_KEY_ID" in caught.value.hint


def test_s3_that_does_not_answer_is_a_storage_error(s3, tmp_path, monkeypatch):
    monkeypatch.setenv("S3_ENDPOINT", "127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StorageError, match="cannot be reached"):
        fetch("s3://models/iris", tmp_path)


def test_a_scheme_whose_package_is_missing_names_the_extra(tmp_path):
    pytest.importorskip("fsspec")
    try:
        import gcsfs  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtra) as caught:
            fetch("gs://bucket/model", tmp_path)
        assert caught.value.hint == "pip install 'tiffin[gcs]'"
    else:
        pytest.skip("gcsfs is installed here")


class Refusing(http.server.BaseHTTPRequestHandler):
    """An S3 that wants nobody, and remembers who asked."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.seen.append(self.headers.get("Authorization", ""))
        body = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET


def test_credentials_of_one_artefact_are_its_own(s3, tmp_path):
    s3.put_object(Bucket="models", Key="private/model.joblib", Body=b"private")
    own = {"AWS_ACCESS_KEY_ID": "own", "AWS_SECRET_ACCESS_KEY": "very-secret"}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    server.seen = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        there = {**own, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}"}
        with pytest.raises(StorageError, match="no permission") as caught:
            storage.fetch("s3://models/private", base=tmp_path, cache=tmp_path / "cache", credentials=there)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert server.seen
    assert all("Credential=own/" in line for line in server.seen)
    assert "very-secret" not in f"{caught.value}{caught.value.hint}{caught.value.__cause__}"
    found = storage.fetch("s3://models/private", base=tmp_path, cache=tmp_path / "cache", credentials=own)
    assert (found / "model.joblib").read_bytes() == b"private"
    kept = [path.read_text(errors="replace") for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert not any("very-secret" in text for text in kept)


class Guarded(http.server.SimpleHTTPRequestHandler):
    """A web server and a hub that want a token."""

    def log_message(self, *args):
        pass

    def _is_allowed(self):
        if "token-1" in (self.headers.get("Authorization") or self.headers.get("X-Key") or ""):
            return True
        self.send_error(401)
        return False

    def do_HEAD(self):
        if self._is_allowed():
            super().do_HEAD()

    def do_GET(self):
        if not self._is_allowed():
            return
        if self.path.startswith("/api/models/org/iris/tree/"):
            first = "page=2" not in self.path
            items = [
                {"type": "directory", "path": "sub", "oid": "1", "size": 0},
                {"type": "file", "path": "sub/model.joblib", "oid": "2", "size": 7},
            ]
            body = json.dumps(
                items if first else [{"type": "file", "path": "a.txt", "oid": "3", "size": 1}]
            ).encode()
            self.send_response(200)
            if first:
                self.send_header("Link", f'<{self.path}&page=2>; rel="next"')
            self.end_headers()
            self.wfile.write(body)
        elif self.path.startswith("/org/iris/resolve/v2/"):
            body = b"content" if self.path.endswith("sub/model.joblib") else b"a"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        else:
            super().do_GET()


@pytest.fixture
def guarded(tmp_path):
    home = tmp_path / "guarded"
    home.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Guarded, directory=str(home)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    (home / "model.joblib").write_bytes(b"guarded")
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_headers_from_a_secret_go_to_their_host(guarded, tmp_path):
    uri = f"{guarded}/model.joblib"
    with pytest.raises(StorageError, match="no permission"):
        storage.fetch(uri, base=tmp_path, cache=tmp_path / "cache")
    secret = {"127.0.0.1-headers": '{"X-Key": "token-1"}'}
    assert (
        storage.fetch(uri, base=tmp_path, cache=tmp_path / "cache", credentials=secret).read_bytes() == b"guarded"
    )
    other = {"example.com-headers": '{"X-Key": "token-1"}'}
    with pytest.raises(StorageError, match="no permission"):
        storage.fetch(uri, base=tmp_path, cache=tmp_path / "again", credentials=other)


def test_a_model_of_the_hub_is_fetched_whole_with_its_token(guarded, tmp_path):
    environment = {"HF_ENDPOINT": guarded, "HF_TOKEN": "token-1"}
    found = storage.fetch("hf://org/iris:v2", base=tmp_path, cache=tmp_path / "cache", credentials=environment)
    assert (found / "sub/model.joblib").read_bytes() == b"content"
    assert (found / "a.txt").read_bytes() == b"a"
    with pytest.raises(StorageError, match="no permission to read hf://org/iris:v2") as caught:
        storage.fetch(
            "hf://org/iris:v2", base=tmp_path, cache=tmp_path / "cache", credentials={"HF_ENDPOINT": guarded}
        )
    assert "HF_TOKEN" in caught.value.hint


def test_azure_names_the_package_it_needs(tmp_path):
    pytest.importorskip("fsspec")
    if importlib.util.find_spec("adlfs") is not None:
        pytest.skip("adlfs is installed")
    with pytest.raises(MissingExtra) as caught:
        storage.fetch("https://m.blob.core.windows.net/iris/v1", base=tmp_path, cache=tmp_path / "cache")
    assert caught.value.hint == "pip install adlfs"

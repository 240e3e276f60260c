"""The clients of services against a service of ours."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Generator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import tiffin
from tiffin.exceptions import BentoMLException, InvalidArgument, NotFound, ServiceUnavailable
from tiffin.runtime import service_tasks
from tiffin.validators import DType


@tiffin.service
class Everything:
    """All kinds."""

    @tiffin.api
    def add(self, a: int, b: int = 2) -> int:
        """Add two."""
        return a + b

    @tiffin.api
    def shout(self, text: str, /) -> str:
        return text.upper()

    @tiffin.api
    def double(self, x: np.ndarray) -> Annotated[np.ndarray, DType("float32")]:
        return (x * 2).astype("float32")

    @tiffin.api
    def frame(self, df: pd.DataFrame) -> pd.DataFrame:
        return df * 2

    @tiffin.api
    def turn(self, picture: Image.Image) -> Image.Image:
        return picture.rotate(90, expand=True)

    @tiffin.api
    def back(self, file: Path, note: str = "") -> Path:
        return file

    @tiffin.api
    def count(self, files: list[Path]) -> int:
        return len(files)

    @tiffin.api
    def words(self, n: int) -> Generator[str, None, None]:
        for i in range(n):
            yield f"é{i}"

    @tiffin.api
    async def objects(self, n: int) -> AsyncGenerator[dict, None]:
        for i in range(n):
            yield {"i": i}

    @tiffin.api
    def raw(self) -> bytes:
        return b"\x00\xff"

    @tiffin.api
    def refuse(self) -> str:
        raise NotFound("not here")

    @tiffin.api
    def fail(self) -> str:
        raise RuntimeError("secret")

    @tiffin.api
    def call(self) -> str:
        return "a name that the client has, too"

    @tiffin.task
    def later(self, a: int) -> int:
        return a * 10


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> Iterator[str]:
    environment = pytest.MonkeyPatch()
    environment.setenv("TIFFIN_HOME", str(tmp_path_factory.mktemp("home")))
    with tiffin.testing.serve(Everything) as server:
        yield server.url
    environment.undo()


@pytest.fixture
def client(url) -> Iterator[tiffin.SyncHTTPClient]:
    with tiffin.SyncHTTPClient(url) as found:
        yield found


def test_values_go_and_come_back_as_what_they_are(client, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("hello")
    assert client.add(1) == 3
    assert client.call("add", a=1, b=5) == 6
    assert client.shout("hi") == "HI"
    doubled = client.double(np.ones((2, 2)))
    assert (doubled.dtype, doubled.tolist()) == (np.float32, [[2, 2], [2, 2]])
    assert client.frame(pd.DataFrame({"a": [1, 2]})).a.tolist() == [2, 4]
    assert client.turn(Image.new("RGB", (2, 3))).size == (3, 2)
    assert client.back(path).read_text() == "hello"
    with path.open("rb") as file:
        assert client.count([path, file, b"bytes"]) == 3
    assert client.raw() == b"\x00\xff"


def test_streams_are_iterators(client):
    assert "".join(client.words(3)) == "é0é1é2"
    assert list(client.objects(n=3)) == [{"i": 0}, {"i": 1}, {"i": 2}]


def test_methods_are_described(client):
    assert client.add.__doc__ is None or "Add two" in client.add.__doc__
    assert client.api_call() == "a name that the client has, too"


def test_errors_are_exceptions_by_status(client):
    with pytest.raises(InvalidArgument, match="validation error"):
        client.add(a="x")
    with pytest.raises(NotFound, match="not here"):
        client.refuse()
    with pytest.raises(BentoMLException) as caught:
        client.fail()
    assert caught.value.error_code == 500
    assert "secret" not in str(caught.value)
    with pytest.raises(TypeError, match="has no parameter c"):
        client.add(c=1)
    with pytest.raises(NotFound, match="Endpoint nothing"):
        client.call("nothing")


def test_tasks_are_objects(client):
    task = client.later.submit(a=2)
    assert task.wait(timeout=30) == 20
    assert task.get_status().value == "completed"
    assert task.retry().wait(timeout=30) == 20
    with pytest.raises(BentoMLException):
        task.cancel()


def test_requests_of_all_kinds_can_be_made(client):
    assert client.is_ready()
    assert client.request("GET", "/livez").status_code == 200


def test_the_async_client_does_the_same(url, tmp_path):
    async def ask():
        async with tiffin.AsyncHTTPClient(url) as client:
            task = await client.later.submit(a=3)
            path = tmp_path / "b.txt"
            path.write_text("hello")
            return (
                await client.add(1),
                (await client.double(x=np.ones(2))).tolist(),
                "".join([word async for word in client.words(n=2)]),
                [item async for item in client.objects(2)],
                (await client.back(path)).read_text(),
                await task.wait(timeout=30),
            )

    assert asyncio.run(ask()) == (3, [2, 2], "é0é1", [{"i": 0}, {"i": 1}], "hello", 30)


def test_a_server_that_is_not_there_is_said_to_be_unavailable():
    with pytest.raises(ServiceUnavailable, match=r"not ready after 0\.2 seconds"):
        tiffin.SyncHTTPClient("http://127.0.0.1:9", server_ready_timeout=0.2)


def test_a_server_that_is_no_service_is_said_to_be_none():
    class Nothing(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Nothing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with pytest.raises(BentoMLException, match="no schema of a service"):
            tiffin.SyncHTTPClient(f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_pickles_are_not_sent():
    with pytest.raises(ValueError, match="pickles are not sent"):
        tiffin.SyncHTTPClient("http://127.0.0.1:9", media_type="application/vnd.bentoml+pickle")


def test_a_written_client_calls_the_service_with_nothing_but_python(url, tmp_path):
    path = tmp_path / "written.py"
    done = subprocess.run(
        [sys.executable, "-m", "tiffin", "client", url, "-o", str(path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Add two." in path.read_text()
    (tmp_path / "a.txt").write_text("hello")
    program = """
import json, sys
from written import CallFailed, Everything

with Everything(sys.argv[1]) as client:
    try:
        client.refuse()
    except CallFailed as error:
        refused = [error.status, str(error)]
    try:
        client.add("x")
    except CallFailed as error:
        where = error.detail[0]["loc"]
    task = client.submit_later(2)
    back = client.back("a.txt")
    found = [
        client.add(1, b=4), client.shout("hi"), client.double([[1.0]]), client.frame([{"a": 1}]),
        [back.name[-5:], back.data.decode()], client.count([b"x", "a.txt"]), "".join(client.words(2)),
        list(client.objects(2)), list(client.raw()), task.wait(30),
        task.status(), refused, where, client.is_ready(),
    ]
    print(json.dumps(found))
"""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, '.')\n{program}", url],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        *(5, "HI", [[2.0]], [{"a": 2}]),
        *(["a.txt", "hello"], 2, "é0é1", [{"i": 0}, {"i": 1}], [0, 255], 20, "completed"),
        *([404, "404: not here"], ["a"], True),
    ]


def test_a_file_of_somebody_else_is_not_written_over(url, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("mine")
    command = [sys.executable, "-m", "tiffin", "client", url, "-o", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert "was not written by this command" in done.stderr
    assert path.read_text() == "mine"


@pytest.fixture
def left_in_the_process():
    """Applications without a lifespan have no end; what they put on the process's metrics page goes here."""
    yield
    for gauges in list(service_tasks._registered.values()):
        gauges.unregister()


@pytest.mark.usefixtures("left_in_the_process")
def test_an_application_can_be_called_in_this_process():
    with tiffin.SyncHTTPClient("http://service", app=Everything.to_asgi()) as client:
        assert client.add(1) == 3
        assert list(client.objects(2)) == [{"i": 0}, {"i": 1}]

    async def ask():
        async with tiffin.AsyncHTTPClient("http://service", app=Everything.to_asgi()) as client:
            return await client.add(1)

    assert asyncio.run(ask()) == 3


def test_services_that_import_bentoml_find_the_clients_there():
    program = "from tiffin.service import compat; compat.provide(); import bentoml; print(bentoml.SyncHTTPClient)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "tiffin.client.service_blocking.SyncHTTPClient" in done.stdout, done.stderr


def test_no_library_is_imported_that_is_not_used():
    program = (
        "import sys, tiffin; tiffin.SyncHTTPClient; tiffin.AsyncHTTPClient\n"
        "print([name for name in ('httpx', 'PIL', 'numpy', 'pandas', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr

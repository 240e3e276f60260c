"""``tiffin.testing.serve``, as the tests of a service use it."""

import asyncio
import socket
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.integration.conftest import until

import tiffin
from tiffin.errors import ServiceError
from tiffin.service import context

events: list[str] = []


@tiffin.service
class Counter:
    def __init__(self) -> None:
        self.count = 0

    @tiffin.on_startup
    def begin(self) -> None:
        events.append("begin")

    @tiffin.on_shutdown
    def end(self) -> None:
        events.append("end")

    @tiffin.api
    def add(self, n: int, ctx: tiffin.Context) -> int:
        self.count += n
        ctx.state["last"] = n
        return self.count


def test_a_service_is_served_and_gone_at_the_end() -> None:
    events.clear()
    facts = dict(vars(context.server_context))
    with tiffin.testing.serve(Counter) as server:
        assert server.post("/add", json={"n": 2}).json() == 2
        assert server.post("/add", json={"n": 3}).json() == 5
        wrong = server.post("/add", json={"n": "three"})
        assert wrong.status == 400
        assert wrong.headers["content-type"].startswith("application/json")
        assert server.get("/readyz").status == 200
        assert server.get("/nowhere").status == 404
        port = urlsplit(server.url).port
    assert events == ["begin", "end"]
    assert vars(context.server_context) == facts
    assert Counter.context.state == {}
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port or 0), timeout=5):
        pass
    assert not [thread for thread in threading.enumerate() if thread.name == "tiffin.testing"]


def test_each_block_has_an_instance_of_its_own() -> None:
    for _ in range(2):
        with tiffin.testing.serve(Counter) as server:
            assert server.post("/add", json={"n": 1}).json() == 1


def test_what_a_test_patches_is_patched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counter.inner, "__init__", lambda self: setattr(self, "count", 100))
    with tiffin.testing.serve(Counter) as server:
        assert server.post("/add", json={"n": 1}).json() == 101


def test_a_service_that_cannot_start_says_why() -> None:
    @tiffin.service
    class Broken:
        def __init__(self) -> None:
            raise ValueError("no weights")

        @tiffin.api
        def ask(self) -> int:
            return 1

    with pytest.raises(ServiceError, match=r"Broken.__init__ raised ValueError: no weights"):  # noqa: SIM117
        with tiffin.testing.serve(Broken):
            pass


def test_a_saved_model_and_a_project_are_served(iris_model: Path, tmp_path: Path) -> None:
    with tiffin.testing.serve(iris_model) as server:
        assert server.get("/v2/models/iris").json()["name"] == "iris"
    (tmp_path / "service_of_the_test.py").write_text(
        "import tiffin\n@tiffin.service\nclass Echo:\n    @tiffin.api\n    def say(self, text: str) -> str:\n"
        "        return text\n"
    )
    with tiffin.testing.serve("service_of_the_test:Echo", working_dir=tmp_path) as server:
        assert server.post("/say", json={"text": "hello"}).text == "hello"


@tiffin.service
class Patient:
    @tiffin.api
    async def wait(self) -> str:
        events.append("begun")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            events.append("cancelled")
            raise
        return "done"

    @tiffin.api
    def listen(self, ctx: tiffin.Context) -> str:
        events.append("begun")
        events.append("told" if ctx.wait_cancelled(60) else "not told")
        return ""


@pytest.mark.parametrize(("path", "end"), [("/wait", "cancelled"), ("/listen", "told")])
def test_work_ends_when_its_caller_closes_the_connection(path: str, end: str) -> None:
    events.clear()
    with tiffin.testing.serve(Patient) as server:
        place = urlsplit(server.url)
        with socket.create_connection((place.hostname or "", place.port or 0), timeout=5) as caller:
            caller.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode())
            until(lambda: events == ["begun"])
        until(lambda: events == ["begun", end])

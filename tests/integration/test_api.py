"""The API and its client over real sockets, with a platform in memory behind them."""

import asyncio
import contextlib
import http.client
import json
import socket
import stat
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiffin import dialects
from tiffin.client import Client, NoController, Place
from tiffin.errors import (
    Conflict,
    DiskFull,
    Expired,
    NoSuchDeployment,
    PlatformError,
    PortInUse,
    SpecError,
    TiffinError,
    Unauthorized,
)
from tiffin.kits import sockets, waiting
from tiffin.kits.paths import DataDirectory
from tiffin.local import api
from tiffin.local.api import streams
from tiffin.plan.objects import (
    Applied,
    Metadata,
    Object,
    ReplicaUse,
    ResourceListing,
    Runtime,
    Source,
    Watched,
)
from tiffin.plan.revision import Revision
from tiffin.plan.state import Event
from tiffin.spec import ModelSource

DOCUMENT = """
apiVersion: tiffin.dev/v1
kind: Deployment
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{model: model.joblib}}
"""


def document(name: str, namespace: str = "default") -> str:
    return DOCUMENT.format(name=name, namespace=namespace)


class Memory:
    """A platform that keeps what it is told, and starts nothing."""

    def __init__(self) -> None:
        self.version = 0
        self.known: dict[str, Object] = {}
        self.changes: list[Watched] = []
        self.first = 0
        self.changed = asyncio.Event()
        self.happened: list[Event] = []
        self.lines = [("iris-1", "loading"), ("iris-1", "ready")]
        self.raises: Exception | None = None
        self.scaled: list[Any] = []
        self.stopped = asyncio.Event()
        self.writing = asyncio.Event()
        self.slow: asyncio.Event | None = None

    async def apply(
        self,
        sources: Sequence[Source],
        *,
        dry_run: bool = False,
        managed_by: str = "",
        trust: bool = False,
        domain: str = "",
        resource_version: int | None = None,
    ) -> list[Applied]:
        if self.raises:
            raise self.raises
        if self.slow is not None:
            self.writing.set()
            await self.slow.wait()
        found = []
        for source in sources:
            if source.path:
                found += dialects.read(Path(source.path))
            else:
                found += dialects.parse(source.text, file=source.file, base=source.base)
        done = []
        for spec in found:
            old = self.known.get(spec.key)
            self._check(spec.key, resource_version)
            same = old is not None and msgspec.structs.replace(old.spec, file="") == msgspec.structs.replace(
                spec, file=""
            )
            action = "unchanged" if same else "configured" if old else "created"
            if not dry_run and not same:
                self.version += 1
                metadata = Metadata(
                    name=spec.name,
                    namespace=spec.namespace,
                    resource_version=self.version,
                    generation=(old.metadata.generation if old else 0) + 1,
                    created_at=1.0,
                    managed_by=managed_by,
                )
                self.known[spec.key] = Object(metadata=metadata, spec=spec)
                self._tell("MODIFIED" if old else "ADDED", self.known[spec.key])
            done.append(Applied(key=spec.key, action=action, resource_version=self.version))  # type: ignore[arg-type]
        return done

    async def delete(self, key: str, *, resource_version: int | None = None) -> None:
        old = self.get(key)
        self._check(key, resource_version)
        del self.known[key]
        self.version += 1
        metadata = msgspec.structs.replace(old.metadata, resource_version=self.version)
        self._tell("DELETED", msgspec.structs.replace(old, metadata=metadata))

    def objects(self, namespace: str | None = None) -> tuple[list[Object], int]:
        found = [o for o in self.known.values() if namespace in (None, o.metadata.namespace)]
        return found, self.version

    def get(self, key: str) -> Object:
        if self.raises:
            raise self.raises
        if key not in self.known:
            raise NoSuchDeployment(f"there is no deployment {key}")
        return self.known[key]

    async def watch(self, resource_version: int | None, namespace: str | None = None) -> AsyncIterator[Watched]:
        if resource_version is None:
            for found in self.objects(namespace)[0]:
                yield Watched(type="ADDED", object=found)
            resource_version = self.version
        if resource_version < self.first:
            raise Expired("the changes since then are forgotten")
        while True:
            for change in list(self.changes):
                if change.object.metadata.resource_version > resource_version:
                    resource_version = change.object.metadata.resource_version
                    if namespace in (None, change.object.metadata.namespace):
                        yield change
            self.changed.clear()
            await self.changed.wait()

    def events(self, key: str | None = None) -> list[Event]:
        return [event for event in self.happened if key in (None, event.deployment)]

    def revisions(self, key: str) -> list[Revision]:
        spec = self.get(key).spec
        return [
            Revision(
                namespace=spec.namespace,
                deployment=spec.name,
                number=number,
                variant="main",
                protocol=spec.protocol,
                components=spec.components,
                digest="",
            )
            for number in (1, 2)
        ]

    async def logs(
        self, key: str, *, replica: str | None = None, follow: bool = False, lines: int = 100
    ) -> AsyncIterator[tuple[str, str]]:
        for pair in self.lines[-lines:]:
            yield pair
        if follow:
            await asyncio.Event().wait()

    async def rollout(self, key: str, action: str, to: int | None) -> str:
        return f"{action} {key} {to}"

    async def scale(self, key: str, component: str, minimum: int | None, maximum: int | None) -> None:
        self.scaled.append((key, component, minimum, maximum))

    async def top(self) -> list[ReplicaUse]:
        return [ReplicaUse(deployment="a/b", replica="r", revision="b-1", component="p", cpu=0.5, memory_bytes=7)]

    def native(self, key: str) -> dict[str, Any]:
        return {"kind": "InferenceService", "metadata": {"name": self.get(key).metadata.name}}

    def report(self, key: str) -> dict[str, Any]:
        return {"verdict": "hold"}

    async def replay(
        self, key: str, against: str, limit: int | None, *, recorded_speed: bool = False
    ) -> dict[str, Any]:
        return {"against": against, "limit": limit, "slow": recorded_speed}

    def resources(self) -> ResourceListing:
        return ResourceListing(runtimes=(Runtime(name="kserve-sklearnserver"),), secrets=("s3",))

    async def shutdown(self) -> None:
        self.stopped.set()

    def _check(self, key: str, resource_version: int | None) -> None:
        old = self.known.get(key)
        if resource_version is not None and (old is None or old.metadata.resource_version != resource_version):
            raise Conflict(f"{key} was changed since version {resource_version}", hint="read it again")

    def _tell(self, type: Any, found: Object) -> None:
        self.changes.append(Watched(type=type, object=found))
        self.changed.set()


class Running:
    """The API of a Memory in a thread with a loop of its own."""

    def __init__(self, home: Path, tcp: str = "") -> None:
        self.home = home
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.data = DataDirectory(home)
        home.mkdir(mode=0o700, exist_ok=True)
        self.platform, self.serving = self.run(self._start(tcp))
        self.client = Client(Place(unix=home / "api.sock"))

    async def _start(self, tcp: str) -> Any:
        platform = Memory()
        return platform, await api.serve(platform, self.data, tcp=tcp)

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def soon(self, function: Any, *arguments: Any) -> None:
        async def call() -> None:
            function(*arguments)

        self.run(call())

    def raw(self, method: str, path: str, body: bytes | None = None, headers: Any = None) -> tuple[int, Any]:
        """Any request at all; status and JSON of the answer."""
        connection = http.client.HTTPConnection("localhost")
        connection.sock = sockets.connect(self.home / "api.sock", seconds=20)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"null")

    def stop(self) -> None:
        if self.thread.is_alive():
            self.run(self.serving.stop())
            self.run(self._settle())
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join()
            self.loop.close()

    async def _settle(self) -> None:
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    found = Running(tmp_path / "home")
    try:
        yield found
    finally:
        found.stop()


def test_what_is_applied_is_listed_shown_and_deleted(running: Running, tmp_path: Path) -> None:
    file = tmp_path / "iris.yaml"
    file.write_text(document("iris"))
    ask = running.client
    assert ask.is_running()
    assert [done.action for done in ask.apply([Source(path=str(file))], dry_run=True)] == ["created"]
    assert ask.list().items == ()
    assert [done.action for done in ask.apply([Source(path=str(file))])] == ["created"]
    assert [done.action for done in ask.apply([Source(path=str(file))])] == ["unchanged"]
    listing = ask.list()
    assert [found.metadata.name for found in listing.items] == ["iris"]
    assert listing.resource_version == 1
    assert ask.list("other").items == ()
    shown = ask.get("default/iris")
    assert isinstance(shown.spec.components[0].source, ModelSource)
    assert ask.native("default/iris")["kind"] == "InferenceService"
    ask.delete("default/iris")
    with pytest.raises(NoSuchDeployment, match="there is no deployment default/iris"):
        ask.get("default/iris")


def test_a_write_on_a_version_somebody_changed_is_a_conflict(running: Running) -> None:
    mine, theirs = running.client, Client(running.client.place)
    mine.apply([Source(text=document("iris"))])
    seen = mine.get("default/iris").metadata.resource_version
    changed = document("iris").replace("model.joblib}", "model.joblib, replicas: 2}")
    theirs.apply([Source(text=changed)], resource_version=seen)
    again = document("iris").replace("model.joblib}", "model.joblib, replicas: 3}")
    with pytest.raises(Conflict, match="was changed since version 1") as caught:
        mine.apply([Source(text=again)], resource_version=seen)
    assert caught.value.hint == "read it again"
    assert running.raw("DELETE", "/v1/namespaces/default/deployments/iris?resourceVersion=1")[0] == 409
    assert mine.apply([Source(text=again)], resource_version=seen, force=True)[0].action == "configured"


def test_of_two_clients_that_write_at_once_one_wins(running: Running) -> None:
    running.client.apply([Source(text=document("iris"))])
    outcomes: list[str] = []
    barrier = threading.Barrier(2)

    def write(replicas: int) -> None:
        text = document("iris").replace("model.joblib}", f"model.joblib, replicas: {replicas}}}")
        barrier.wait()
        try:
            outcomes.append(Client(running.client.place).apply([Source(text=text)], resource_version=1)[0].action)
        except Conflict:
            outcomes.append("conflict")

    threads = [threading.Thread(target=write, args=(number,)) for number in (2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["configured", "conflict"]


def test_put_takes_a_document_of_that_name_and_the_version_in_it_or_in_a_header(running: Running) -> None:
    path = "/v1/namespaces/default/deployments/iris"
    assert running.raw("PUT", path, document("iris").encode())[1]["action"] == "created"
    status, said = running.raw("PUT", path, document("other").encode())
    assert (status, said["code"], said["at"]) == (422, "spec", "metadata.name")
    stale = document("iris").replace("name: iris,", "name: iris, resourceVersion: '7',")
    assert running.raw("PUT", path, stale.encode())[0] == 409
    assert running.raw("PUT", path, document("iris").encode(), {"If-Match": '"7"'})[0] == 409
    assert running.raw("PUT", path, document("iris").encode(), {"If-Match": '"1"'})[0] == 200
    assert running.raw("PUT", path, b"")[0] == 400


def test_a_mistake_in_a_file_is_told_with_its_place_and_field(running: Running) -> None:
    text = document("iris").replace("model.joblib}", "model.joblib, replicaz: 2}")
    with pytest.raises(SpecError) as caught:
        running.client.apply([Source(text=text, file="/a/iris.yaml")])
    assert (caught.value.at, caught.value.place) == ("spec.replicaz", "/a/iris.yaml:5")


def full() -> OSError:
    return OSError(28, "No space left on device", "/data/x")


@pytest.mark.parametrize(
    ("raised", "status", "code"),
    [
        (NoSuchDeployment("x"), 404, "no-such-deployment"),
        (Conflict("x"), 409, "conflict"),
        (SpecError("x"), 422, "spec"),
        (PlatformError("x"), 503, "platform"),
        (PortInUse("x"), 503, "port-in-use"),
        (full(), 507, "disk-full"),
        (ValueError("secret"), 500, "error"),
    ],
)
def test_what_the_platform_raises_becomes_a_status_and_a_code(
    running: Running, raised: Exception, status: int, code: str
) -> None:
    running.platform.raises = raised
    found, said = running.raw("GET", "/v1/namespaces/a/deployments/b")
    assert (found, said["code"]) == (status, code)
    assert "secret" not in json.dumps(said)


def test_an_error_reaches_the_caller_as_the_class_it_was(running: Running) -> None:
    cause = PlatformError("cannot write")
    cause.__cause__ = full()
    running.platform.raises = cause
    with pytest.raises(DiskFull, match="no room to write /data/x") as caught:
        running.client.get("a/b")
    assert "TIFFIN_HOME" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nope", None, 404),
        ("GET", "/v1/namespaces/a/deployments/B%00", None, 404),
        ("GET", "/v1/namespaces/a/deployments/%ff%fe", None, 404),
        ("GET", "/v1/namespaces/../deployments/b", None, 404),
        ("PATCH", "/v1/deployments", b"{}", 405),
        ("GET", "/v1/deployments?watch=perhaps", None, 400),
        ("GET", "/v1/deployments?watch=1&resourceVersion=-1", None, 400),
        ("GET", "/v1/deployments?watch=1&resourceVersion=99999999999999999999", None, 400),
        ("POST", "/v1/apply", b"", 400),
        ("POST", "/v1/apply", b"{", 400),
        ("POST", "/v1/apply", b"\xff", 400),
        ("POST", "/v1/apply", b'{"sources":[]}', 400),
        ("POST", "/v1/apply", b'{"sources":[{"path":"a.yaml"}]}', 400),
        ("POST", "/v1/apply", b'{"sources":[{"path":"/a","text":"b"}]}', 400),
        ("POST", "/v1/apply", b'{"sources":[{"text":"a"}],"dryrun":true}', 400),
        ("POST", "/v1/apply", b'{"sources":[{"text":"\\ud800"}]}', 400),
        ("POST", "/v1/apply", b'{"sources":[{"text":"a"}],"domain":"a b"}', 400),
        ("POST", "/v1/apply", b'{"sources":[{"text":"a"}],"managedBy":"me"}', 400),
        ("POST", "/v1/apply", b'{"sources":[{"path":"/\\u0000"}]}', 422),
        ("POST", "/v1/apply", b'{"sources":[{"path":"/no/such.yaml"}]}', 422),
        ("POST", "/v1/apply", b'{"sources":' + b"[" * 5000, 400),
        ("PUT", "/v1/namespaces/a/deployments/b", b"\xff\xfe", 400),
        ("PUT", "/v1/namespaces/a/deployments/b", b"[" * 5000, 422),
        ("PUT", "/v1/namespaces/a/deployments/b", b"a: &a [*a]", 422),
        ("POST", "/v1/namespaces/a/deployments/b/scale", b"{}", 400),
        ("POST", "/v1/namespaces/a/deployments/b/scale", b'{"replicas":-1}', 400),
        ("POST", "/v1/namespaces/a/deployments/b/scale", b'{"min":3,"max":2}', 400),
        ("POST", "/v1/namespaces/a/deployments/b/scale", b'{"replicas":1,"max":2}', 400),
        ("POST", "/v1/namespaces/a/deployments/b/rollout", b'{"action":"explode"}', 400),
        ("POST", "/v1/namespaces/a/deployments/b/replay", b'{"against":"x","limit":0}', 400),
        ("GET", "/v1/namespaces/a/deployments/b/logs?tail=x", None, 404),
    ],
)
def test_a_bad_request_is_answered_with_what_is_wrong(
    running: Running, method: str, path: str, body: bytes | None, status: int
) -> None:
    found, said = running.raw(method, path, body)
    assert found == status, said
    assert said["error"]
    assert said["code"]


def test_anchors_that_grow_without_end_are_refused(running: Running) -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        bomb += f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
    with pytest.raises(SpecError, match="at most"):
        running.client.apply([Source(text=bomb)])


def test_ten_megabytes_are_too_large(running: Running) -> None:
    # The answer may come before all of the body is sent, and the rest is then refused.
    body = b'{"sources":[{"text":"' + b"x" * 10_000_000 + b'"}]}'
    with sockets.connect(running.home / "api.sock", seconds=20) as connection:
        head = f"POST /v1/apply HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
        with contextlib.suppress(OSError):
            connection.sendall(head.encode() + body)
        answer = connection.recv(65536)
    assert b"413" in answer.split(b"\r\n")[0]
    assert running.client.is_running()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.one_of(st.binary(max_size=200), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(
        st.sampled_from(["sources", "path", "text", "base", "action", "to", "min", "max", "replicas", "x"]),
        below, max_size=4,
    ),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode())), path=st.sampled_from(
    ["/v1/apply", *(f"/v1/namespaces/a/deployments/b/{part}" for part in ("scale", "rollout", "replay"))]
))  # fmt: skip
def test_no_body_at_all_is_answered_with_a_defect(running: Running, body: bytes, path: str) -> None:
    assert running.raw("POST", path, body)[0] < 500


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([1, 2, 0])), min_size=1, max_size=12),
    breaks=st.sets(st.integers(0, 11), max_size=3),
)
def test_a_watch_tells_every_change_once_and_in_order(
    running: Running, steps: list[tuple[str, int]], breaks: set[int]
) -> None:
    """Also when its connection breaks in between."""
    start = running.client.list().resource_version
    for name, replicas in steps:
        if replicas:
            text = document(name).replace("model.joblib}", f"model.joblib, replicas: {replicas}}}")
            running.client.apply([Source(text=text)])
        else:
            with contextlib.suppress(NoSuchDeployment):
                running.client.delete(f"default/{name}")
    expected = [
        (change.type, change.object.metadata.name, change.object.metadata.resource_version)
        for change in running.platform.changes
        if change.object.metadata.resource_version > start
    ]
    told = []
    version = start
    for index in range(len(expected)):
        if index == 0 or index in breaks:
            watch = running.client.watch(version)
        change = next(watch)
        version = change.object.metadata.resource_version
        told.append((change.type, change.object.metadata.name, version))
    assert told == expected


def test_a_watch_without_a_version_begins_with_all_there_is(running: Running) -> None:
    for name in ("a", "b"):
        running.client.apply([Source(text=document(name))])
    watch = running.client.watch()
    assert {next(watch).object.metadata.name for _ in range(2)} == {"a", "b"}
    running.client.delete("default/a")
    assert next(watch).type == "DELETED"


def test_a_version_too_old_to_watch_from_is_410(running: Running) -> None:
    running.client.apply([Source(text=document("a"))])
    running.platform.first = 5
    assert running.raw("GET", "/v1/deployments?watch=true&resourceVersion=1")[0] == 410


def test_a_client_that_missed_changes_finds_them_by_comparing(running: Running) -> None:
    for name in ("a", "b"):
        running.client.apply([Source(text=document(name))])
    watch = running.client.watch()
    assert [next(watch).object.metadata.name for _ in range(2)] == ["a", "b"]
    running.run(running.serving.stop())
    # While nobody listens, things change, and are forgotten.
    running.run(running.platform.delete("default/a"))
    running.run(running.platform.apply([Source(text=document("c"))]))
    running.platform.first = running.platform.version
    running.serving = running.run(api.serve(running.platform, running.data))
    assert [(c.type, c.object.metadata.name) for c in (next(watch), next(watch))] == [
        ("DELETED", "a"),
        ("ADDED", "c"),
    ]


def test_a_silent_watch_says_that_it_lives(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "KEEP_ALIVE_SECONDS", 0.05)
    with sockets.connect(running.home / "api.sock", seconds=10) as connection:
        connection.sendall(b"GET /v1/deployments?watch=true HTTP/1.1\r\nHost: a\r\n\r\n")
        said = b""
        while said.count(b": nothing new\n\n") < 2:
            said += connection.recv(4096)
    assert b"text/event-stream" in said


def test_a_client_that_leaves_ends_its_watch(running: Running) -> None:
    async def tasks() -> int:
        return sum("watch" in repr(task) or "chunks" in repr(task) for task in asyncio.all_tasks())

    with sockets.connect(running.home / "api.sock", seconds=10) as connection:
        connection.sendall(b"GET /v1/deployments?watch=true HTTP/1.1\r\nHost: a\r\n\r\n")
        connection.recv(4096)
        assert running.run(tasks()) == 1

    async def gone() -> bool | None:
        return True if await tasks() == 0 else None

    assert running.run(waiting.until(gone, seconds=10))


def test_a_change_is_carried_through_when_its_client_leaves(running: Running) -> None:
    running.platform.slow = asyncio.Event()
    body = json.dumps({"sources": [{"text": document("iris")}]}).encode()
    with sockets.connect(running.home / "api.sock", seconds=10) as connection:
        connection.sendall(
            f"POST /v1/apply HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        )
        running.run(running.platform.writing.wait())
    running.soon(running.platform.slow.set)
    watch = running.client.watch()
    assert next(watch).object.metadata.name == "iris"


def test_a_stop_ends_watches_and_the_client_says_so(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiffin.client.calls.RECONNECTS", 1)
    running.client.apply([Source(text=document("a"))])
    watch = running.client.watch()
    next(watch)
    running.stop()
    with pytest.raises(NoController) as caught:
        next(watch)
    assert caught.value.hint == "start one: tiffin up -d"


def test_events_are_listed_and_watched(running: Running) -> None:
    running.client.apply([Source(text=document("iris"))])
    one = Event(id=1, deployment="default/iris", reason="Created", message="it is there", time=1.0)
    running.platform.happened.append(one)
    running.platform.happened.append(msgspec.structs.replace(one, id=2, deployment="other/x", reason="Elsewhere"))
    assert [event.reason for event in running.client.events("default/iris")] == ["Created"]
    assert [event.reason for event in running.client.events(namespace="other")] == ["Elsewhere"]
    watch = running.client.watch_events("default/iris")
    assert next(watch) == one
    running.platform.happened[0] = msgspec.structs.replace(one, count=2)
    assert next(watch).count == 2


def test_logs_are_read_in_three_forms(running: Running) -> None:
    running.client.apply([Source(text=document("iris"))])
    assert [(said.replica, said.line) for said in running.client.logs("default/iris")] == [
        ("iris-1", "loading"),
        ("iris-1", "ready"),
    ]
    assert [said.line for said in running.client.logs("default/iris", tail=1)] == ["ready"]
    following = running.client.logs("default/iris", follow=True)
    assert next(following).line == "loading"
    with contextlib.closing(http.client.HTTPConnection("localhost")) as connection:
        connection.sock = sockets.connect(running.home / "api.sock", seconds=10)
        connection.request("GET", "/v1/namespaces/default/deployments/iris/logs")
        assert connection.getresponse().read() == b"iris-1  loading\niris-1  ready\n"


def test_the_other_operations_reach_the_platform(running: Running) -> None:
    ask = running.client
    ask.apply([Source(text=document("iris"))])
    assert ask.rollout("default/iris", "undo", to=3) == "undo default/iris 3"
    said = ask.scale("default/iris", minimum=1, maximum=4)
    assert said == "the predictor of default/iris has at least 1 and at most 4 replicas now"
    assert "has 2 replicas now" in ask.scale("default/iris", replicas=2)
    said = ask.scale("default/iris", replicas=0)
    assert said == "the predictor of default/iris has no replica while nobody calls"
    assert running.platform.scaled == [
        ("default/iris", "predictor", 1, 4),
        ("default/iris", "predictor", 2, 2),
        ("default/iris", "predictor", 0, None),
    ]
    assert [(one.name, one.serves) for one in ask.revisions("default/iris")] == [
        ("iris-00001", {"predictor": "model.joblib"}),
        ("iris-00002", {"predictor": "model.joblib"}),
    ]
    assert ask.top()[0].memory_bytes == 7
    assert ask.report("default/iris") == {"verdict": "hold"}
    told = {"against": "iris-00001", "limit": 5, "slow": False}
    assert ask.replay("default/iris", "iris-00001", limit=5) == told
    assert ask.replay("default/iris", "iris-00001", recorded_speed=True) == told | {"limit": None, "slow": True}
    assert ask.resources().secrets == ("s3",)
    ask.shutdown()
    running.run(asyncio.wait_for(_wait(running.platform.stopped), 5))


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


def test_credentials_are_never_shown(running: Running) -> None:
    running.client.apply([Source(text=document("iris"))])
    found = running.platform.known["default/iris"]
    source = msgspec.structs.replace(
        found.spec.components[0].source, credentials={"AWS_SECRET_ACCESS_KEY": "hush"}
    )
    component = msgspec.structs.replace(found.spec.components[0], source=source)
    spec = msgspec.structs.replace(found.spec, components=(component,))
    running.platform.known["default/iris"] = msgspec.structs.replace(found, spec=spec)
    running.platform.changes.append(Watched(type="MODIFIED", object=running.platform.known["default/iris"]))
    for path in ("/v1/deployments", "/v1/namespaces/default/deployments/iris"):
        said = json.dumps(running.raw("GET", path)[1])
        assert "hush" not in said
        assert "AWS_SECRET_ACCESS_KEY" in said
    assert "hush" not in repr(next(running.client.watch()))


def test_the_socket_is_for_its_owner_and_gone_after_the_stop(running: Running) -> None:
    socket_path = running.home / "api.sock"
    assert stat.S_IMODE(socket_path.stat().st_mode) == 0o600
    assert [path.name for path in running.home.iterdir()] == ["api.sock"]
    running.stop()
    assert not socket_path.exists()
    with pytest.raises(NoController, match="no controller runs") as caught:
        running.client.list()
    assert caught.value.hint == "start one: tiffin up -d"
    assert not running.client.is_running()


def test_a_home_with_a_long_path_works(tmp_path: Path) -> None:
    home = tmp_path / ("x" * 90) / ("y" * 90)
    home.parent.mkdir()
    running = Running(home)
    try:
        assert running.client.list().items == ()
    finally:
        running.stop()


def test_a_socket_that_a_killed_controller_left_is_replaced(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(home / "api.sock"))
    left.close()
    with pytest.raises(NoController):
        Client(Place(unix=home / "api.sock")).list()
    running = Running(home)
    try:
        assert running.client.list().items == ()
    finally:
        running.stop()


def test_over_tcp_the_token_is_asked_for(tmp_path: Path) -> None:
    running = Running(tmp_path / "home", tcp="127.0.0.1:0")
    try:
        token_file = running.home / "api-token"
        assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
        token = token_file.read_text().strip()
        host, _, port = running.serving.url.removeprefix("http://").rpartition(":")
        assert Client(Place(host=host, port=int(port), token=token)).list().items == ()
        for wrong in ("", "x", token[:-1], token + "x", "\xe9"):
            client = Client(Place(host=host, port=int(port), token=wrong))
            with pytest.raises(Unauthorized):
                client.list()
            assert client.is_running()
        other = DataDirectory(tmp_path / "other").make()
        with pytest.raises(PortInUse):
            running.run(api.serve(running.platform, other, tcp=f"{host}:{port}"))
        assert not other.api_socket.exists()
    finally:
        running.stop()


def test_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    from tiffin.local.api.server import token

    path = tmp_path / "api-token"
    made = token(path)
    assert token(path) == made
    path.chmod(0o644)
    with pytest.raises(PlatformError, match="can be read by others"):
        token(path)


def test_the_error_classes_of_the_client_are_those_of_the_server() -> None:
    from tiffin.client.transport import failure
    from tiffin.local.api.failures import answer

    for error in (SpecError("a", hint="b", at="c", place="d"), Conflict("x"), PortInUse("y", hint="z")):
        status, said = answer(error)
        back = failure(status, msgspec.json.encode(said))
        assert type(back) is type(error)
        assert (str(back), back.hint) == (str(error), error.hint)
    assert isinstance(failure(502, b"<html>"), TiffinError)

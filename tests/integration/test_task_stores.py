"""The stores of tasks keep one contract: SQLite, a real Postgres, a real Redis."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tiffin.errors import SpecError
from tiffin.kits import ports
from tiffin.runtime.tasks import transitions
from tiffin.runtime.tasks.record import Task
from tiffin.runtime.tasks.store import QueueFull, StoreUnreachable, open_store

LIMIT = 1000
_PROGRAMS = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), *map(Path, os.get_exec_path())]


def answering(url: str, server: subprocess.Popen) -> str:
    """The address, once there is an answer at it."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert server.poll() is None, "the server ended"
        with contextlib.suppress(StoreUnreachable):
            open_store(url).close()
            return url
        time.sleep(0.05)
    pytest.fail(f"nothing answers at {url}")


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis server of the session's own, on a Unix socket."""
    pytest.importorskip("redis", reason="pip install 'tiffin[redis]'")
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("there is no redis-server; apt-get install redis-server")
    place = tmp_path_factory.mktemp("redis")
    command = [program, "--port", "0", "--unixsocket", str(place / "s"), "--dir", str(place), "--save", ""]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield answering(f"unix://{place}/s", server)
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A Postgres server of the session's own, on a Unix socket."""
    pytest.importorskip("psycopg", reason="pip install 'tiffin[postgres]'")
    programs = next(
        (path for path in _PROGRAMS if (path / "initdb").exists() and (path / "postgres").exists()), None
    )
    if programs is None:
        pytest.skip("there is no Postgres server; apt-get install postgresql")
    # It refuses to run as root, and another user cannot enter pytest's directories.
    user = "nobody" if os.getuid() == 0 else None
    place = Path(tempfile.mkdtemp(prefix="tiffin-postgres-", dir=os.environ.get("TMPDIR", "/tmp")))
    if user is not None:
        shutil.chown(place, user)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "user": user, "cwd": place}
    options = ["-D", str(place / "data"), "-U", "tiffin", "--auth=trust", "--no-sync"]
    server = None
    try:
        subprocess.run([programs / "initdb", *options], check=True, **quiet)
        options = ["-D", str(place / "data"), "-k", str(place), "-c", "listen_addresses="]
        server = subprocess.Popen([programs / "postgres", *options], **quiet)
        yield answering(f"postgresql://tiffin@/postgres?host={place}", server)
    finally:
        if server is not None:
            server.terminate()
            server.wait(20)
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of each kind of store."""
    return (
        f"sqlite:///{tmp_path}/tasks.db"
        if request.param == "sqlite"
        else request.getfixturevalue(f"{request.param}_url")
    )


@pytest.fixture
def store(url: str):
    """One of each kind."""
    found = open_store(url)
    yield found
    found.close()


@pytest.fixture
def queue() -> str:
    """A queue no other test uses."""
    return f"default/x/{uuid.uuid4().hex}"


def new(queue: str, number: float = 0, **fields) -> Task:
    task = Task(id=uuid.uuid4().hex, queue=queue, method="m", created_at=1000.0 + number, **fields)
    return transitions.submitted(task)


def test_what_was_added_is_found_with_its_request(store, queue):
    task = new(queue)
    assert store.add(task, b"\x00\xffrequest", limit=LIMIT) == task
    assert store.get(task.id) == task
    assert store.request(task.id) == b"\x00\xffrequest"
    assert store.reply(task.id) is None


def test_there_is_nothing_under_an_unknown_id(store):
    assert (store.get("nobody"), store.request("nobody"), store.reply("nobody")) == (None, None, None)


def test_a_change_is_taken_once_and_by_version(store, queue):
    task = new(queue)
    store.add(task, b"", limit=LIMIT)
    first, second = (transitions.claimed(task, owner, 1001.0) for owner in ("a", "b"))
    assert store.swap(first)
    assert not store.swap(second)
    assert store.get(task.id).owner == "a"
    assert not store.swap(transitions.submitted(new(queue)))


def test_a_reply_is_kept_and_outlives_the_connection(store, url, queue):
    task = new(queue)
    store.add(task, b"", limit=LIMIT)
    begun = transitions.claimed(task, "a", 1001.0)
    assert store.swap(begun)
    assert store.swap(transitions.finished(begun, "a", 1002.0, "completed"), b"\x00answer")
    other = open_store(url)
    assert other.reply(task.id) == b"\x00answer"
    assert other.get(task.id).state == "completed"
    other.close()


def test_work_is_due_in_order_for_known_methods_and_not_before_its_time(store, queue):
    tasks = [new(queue, number) for number in (3, 1, 2)]
    other = msgspec.structs.replace(new(queue, 0), method="other")
    for task in (*tasks, other):
        store.add(task, b"", limit=LIMIT)
    wanted = [tasks[1].id, tasks[2].id]
    assert [task.id for task in store.due(queue, "run", ["m"], 1002.5, 10)] == wanted
    assert [task.id for task in store.due(queue, "run", ["m"], 1002.5, 1)] == wanted[:1]
    assert store.due(queue, "run", [], 9e9, 10) == []
    assert store.due(queue, "deliver", ["m"], 9e9, 10) == []
    assert store.due(queue + "x", "run", ["m"], 9e9, 10) == []


def test_many_tasks_of_methods_nobody_has_do_not_hide_the_others(store, queue):
    for number in range(150):
        store.add(msgspec.structs.replace(new(queue, number), method="gone"), b"", limit=LIMIT)
    last = new(queue, 999)
    store.add(last, b"", limit=LIMIT)
    assert [task.id for task in store.due(queue, "run", ["m"], 9e9, 5)] == [last.id]


def test_a_lease_moves_a_task_behind_and_its_end_brings_it_back(store, queue):
    task = new(queue)
    store.add(task, b"", limit=LIMIT)
    assert store.swap(transitions.claimed(task, "a", 1001.0))
    assert store.due(queue, "run", ["m"], 1001.0, 10) == []
    assert [t.id for t in store.due(queue, "run", ["m"], 1001.0 + transitions.LEASE_SECONDS, 10)] == [task.id]


def test_one_key_is_one_task_also_for_callers_that_race(store, url, queue):
    tasks = [new(queue, number, key="m:same") for number in range(6)]
    stores = [open_store(url) for _ in tasks]
    found: list[Task] = []
    threads = [
        threading.Thread(target=lambda s=s, t=t: found.append(s.add(t, b"", limit=LIMIT)))
        for s, t in zip(stores, tasks, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for other in stores:
        other.close()
    assert len({task.id for task in found}) == 1
    assert len(found) == 6
    assert len(store.newest(queue, (), 10)) == 1


def test_workers_that_race_for_tasks_take_each_once(store, url, queue):
    for number in range(40):
        store.add(new(queue, number), b"", limit=LIMIT)
    taken: list[str] = []

    def work(owner: str) -> None:
        mine = open_store(url)
        while due := mine.due(queue, "run", ["m"], 2000.0, 3):
            for task in due:
                claimed = transitions.claimed(task, owner, 2000.0)
                if claimed is not None and mine.swap(claimed):
                    taken.append(task.id)
        mine.close()

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 40


def test_a_full_queue_takes_no_more(store, queue):
    store.add(new(queue), b"", limit=1)
    with pytest.raises(QueueFull, match="fewer than 1 waiting"):
        store.add(new(queue), b"", limit=1)


def test_tasks_are_listed_newest_first_by_state_and_queue(store, queue):
    tasks = [new(queue, number) for number in range(4)]
    for task in tasks:
        store.add(task, b"", limit=LIMIT)
    assert store.swap(transitions.cancelled(tasks[1], 1005.0))
    ids = [task.id for task in tasks]
    assert [task.id for task in store.newest(queue, (), 10)] == ids[::-1]
    assert [task.id for task in store.newest(queue, ("canceled",), 10)] == [ids[1]]
    assert [task.id for task in store.newest(queue[:-1] + "*", ("queued", "canceled"), 3)] == ids[:0:-1]


def test_tasks_are_counted(store, queue):
    assert store.counts(queue).states == {}
    tasks = [new(queue, number) for number in range(3)]
    for task in tasks:
        store.add(task, b"", limit=LIMIT)
    store.swap(transitions.cancelled(tasks[0], 1005.0))
    counts = store.counts(queue)
    assert counts.states == {"queued": 2, "canceled": 1}
    assert counts.oldest_queued == pytest.approx(1001.0)


def test_what_has_expired_is_forgotten_with_its_key(store, queue):
    task = new(queue, key="m:k")
    store.add(task, b"", limit=LIMIT)
    ended = transitions.cancelled(task, 1005.0)
    store.swap(ended)
    store.purge(ended.expires_at - 1)
    assert store.get(task.id) == ended
    assert store.purge(ended.expires_at) >= 1
    assert (store.get(task.id), store.newest(queue, (), 5), store.counts(queue).states) == (None, [], {})
    fresh = new(queue, key="m:k")
    assert store.add(fresh, b"", limit=LIMIT).id == fresh.id


def test_the_clock_is_that_of_the_world(store):
    assert abs(store.clock() - time.time()) < 60


@pytest.mark.parametrize("scheme", ["postgresql", "redis"])
def test_a_store_that_is_not_there_is_named_without_its_password(scheme):
    pytest.importorskip({"postgresql": "psycopg", "redis": "redis"}[scheme])
    port = ports.free()
    with pytest.raises(StoreUnreachable, match="does not answer") as raised:
        open_store(f"{scheme}://me:hidden@127.0.0.1:{port}/0")
    assert "hidden" not in str(raised.value)
    assert f"me:...@127.0.0.1:{port}" in str(raised.value)


def test_an_address_of_something_else_is_refused():
    with pytest.raises(SpecError, match="mysql"):
        open_store("mysql://host/db")

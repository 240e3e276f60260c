"""Tasks of a served class: what callers get, and what becomes of tasks whose replica is killed."""

import hashlib
import hmac
import http.server
import json
import os
import threading
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

import psutil
import pytest

SERVICE = """
import asyncio, os, time
from pathlib import Path
import tiffin

def ran(what):
    with open("ran", "a") as file:
        file.write(f"{what} {os.getpid()}\\n")

@tiffin.service(traffic={"timeout": 5, "concurrency": 2})
class Jobs:
    @tiffin.task
    def add(self, a: int, b: int = 2) -> int:
        ran(f"add {a}")
        return a + b

    @tiffin.task
    def steps(self, count: int, ctx: tiffin.Context) -> str:
        ran("steps")
        for n in range(count):
            ctx.progress(n / count, f"step {n}")
            if ctx.wait_cancelled(0.05):
                ran("steps stopped")
                return "stopped"
        return f"all {ctx.task.attempt} {ctx.request.state.task_id}"

    @tiffin.task(timeout=0.3)
    async def later(self, seconds: float) -> str:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            ran("later cancelled")
            raise
        return "later"

    @tiffin.task(timeout=60)
    async def forever(self) -> str:
        ran("forever")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ran("forever cancelled")
            raise

    @tiffin.task(isolated=True)
    def deaf(self, seconds: float) -> int:
        tiffin.current_task().progress(0.5, f"in {os.getpid()}")
        time.sleep(seconds)
        return os.getpid()

    @tiffin.task(isolated=True, max_attempts=2)
    def dies(self) -> str:
        ran("dies")
        os._exit(9)

    @tiffin.task(retries=1)
    def flaky(self) -> str:
        ran("flaky")
        raise ValueError("secret")

    @tiffin.task
    def upper(self, path: Path) -> Path:
        answer = path.parent / "answer.txt"
        answer.write_text(path.read_text().upper())
        return answer
"""


class Tasks:
    """A client that knows the five paths."""

    def __init__(self, served: Any) -> None:
        self.served = served

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        status, said = self.served.ask(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        return status, json.loads(said)

    def submit(self, name: str, body: Any = None, **headers: str) -> str:
        status, said = self.ask("POST", f"/{name}/submit", body or {}, **headers)
        assert status == 200, said
        return said["task_id"]

    def status(self, name: str, task: str) -> dict[str, Any]:
        return self.ask("GET", f"/{name}/status?task_id={task}")[1]

    def get(self, name: str, task: str) -> tuple[int, bytes]:
        return self.served.ask("GET", f"/{name}/get?task_id={task}")

    def until(self, name: str, task: str, is_so: Any = None, *, seconds: float = 30) -> dict[str, Any]:
        """Its status once it has ended, or once ``is_so`` of it is true."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            said = self.status(name, task)
            if is_so(said) if is_so else said["status"] != "in_progress":
                return said
            time.sleep(0.03)
        pytest.fail(f"{said} after {seconds} seconds")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a service with tasks."""
    directory = tmp_path_factory.mktemp("jobs")
    (directory / "service.py").write_text(SERVICE)
    return directory


@pytest.fixture(scope="module")
def tasks(project, serving):
    """One replica that serves it."""
    with serving("service:Jobs", "--tasks", str(project / "tasks.db"), directory=project) as served:
        yield Tasks(served)


def ran(project: Path, what: str) -> int:
    path = project / "ran"
    lines = path.read_text().splitlines() if path.exists() else []
    return sum(line.rpartition(" ")[0] == what for line in lines)


def test_a_task_is_submitted_asked_about_and_fetched(tasks):
    task = tasks.submit("add", {"a": 5})
    assert len(task) == 32
    said = tasks.until("add", task)
    assert (said["task_id"], said["status"]) == (task, "completed")
    assert said["created_at"] <= said["executed_at"] <= said["completed_at"]
    assert tasks.get("add", task) == (200, b"7")
    assert tasks.served.ask("POST", "/add", {"a": 1}) == (200, b"3")


def test_input_that_does_not_fit_is_refused_at_once(tasks):
    status, said = tasks.ask("POST", "/add/submit", {"a": "x"})
    assert (status, said["detail"][0]["loc"]) == (400, ["a"])


@pytest.mark.parametrize("path", ["status", "get"])
def test_what_is_not_there_is_said(tasks, path):
    assert tasks.ask("GET", f"/add/{path}") == (400, {"error": "task_id is required"})
    assert tasks.ask("GET", f"/add/{path}?task_id=nobody") == (404, {"error": "task_id not found"})
    other = tasks.submit("later", {"seconds": 0})
    assert tasks.ask("GET", f"/add/{path}?task_id={other}") == (404, {"error": "task_id not found"})


def test_a_key_makes_one_task_of_one_request(tasks, project):
    first = tasks.submit("add", {"a": 77}, idempotency_key="k")
    assert tasks.submit("add", {"a": 77}, idempotency_key="k") == first
    tasks.until("add", first)
    assert ran(project, "add 77") == 1
    status, said = tasks.ask("POST", "/add/submit", {"a": 78}, idempotency_key="k")
    assert (status, "found another one" in said["error"]) == (422, True)
    assert tasks.ask("POST", "/add/submit", {"a": 1}, idempotency_key="k" * 256)[0] == 400


def test_a_method_says_how_far_it_is_and_stops_when_it_is_asked_to(tasks, project):
    task = tasks.submit("steps", {"count": 1000})
    said = tasks.until("steps", task, lambda said: said["progress"])
    assert said["message"].startswith("step ")
    status, early = tasks.get("steps", task)
    assert (status, json.loads(early)) == (400, {"error": f"task {task} is not completed yet"})
    status, said = tasks.ask("PUT", f"/steps/cancel?task_id={task}")
    assert (status, said["status"], said["cancel_requested"]) == (202, "in_progress", True)
    assert tasks.until("steps", task)["status"] == "canceled"
    assert ran(project, "steps stopped") == 1
    assert tasks.ask("GET", f"/steps/get?task_id={task}") == (400, {"error": f"task {task} was canceled"})
    assert tasks.ask("PUT", f"/steps/cancel?task_id={task}")[0] == 409


def test_a_task_that_waits_is_cancelled_at_once_and_never_runs(tasks, project):
    running = [tasks.submit("forever") for _ in range(2)]
    for task in running:
        tasks.until("forever", task, lambda said: said["state"] == "running")
    waiting = tasks.submit("add", {"a": 4711})
    assert tasks.status("add", waiting)["state"] == "queued"
    assert tasks.ask("PUT", f"/add/cancel?task_id={waiting}")[0] == 200
    for task in running:
        tasks.ask("PUT", f"/forever/cancel?task_id={task}")
        assert tasks.until("forever", task)["status"] == "canceled"
    assert ran(project, "forever cancelled") == 2
    tasks.until("add", tasks.submit("add", {"a": 1}))
    assert ran(project, "add 4711") == 0


def test_a_task_has_a_time_limit_of_its_own(tasks, project):
    task = tasks.submit("later", {"seconds": 60})
    said = tasks.until("later", task)
    assert (said["status"], said["error"]) == ("failed", "Not able to process the request in 0.3 seconds")
    assert tasks.get("later", task)[0] == 504
    assert ran(project, "later cancelled") == 1


def test_an_isolated_task_is_killed_and_the_next_one_runs(tasks):
    task = tasks.submit("deaf", {"seconds": 60})
    said = tasks.until("deaf", task, lambda said: said["message"])
    child = int(said["message"].split()[1])
    assert child != tasks.served.process.pid
    tasks.ask("PUT", f"/deaf/cancel?task_id={task}")
    assert tasks.until("deaf", task)["status"] == "canceled"
    following = tasks.submit("deaf", {"seconds": 0})
    assert tasks.until("deaf", following)["status"] == "completed"
    assert int(tasks.get("deaf", following)[1]) != child
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_task_that_kills_its_process_is_given_up_and_the_replica_lives(tasks, project):
    task = tasks.submit("dies")
    said = tasks.until("dies", task)
    assert (said["status"], said["error"]) == ("failed", "its process ended with 9 (2 times)")
    assert ran(project, "dies") == 2
    assert tasks.get("dies", task)[0] == 500


def test_a_failure_is_retried_then_kept_without_its_secrets(tasks, project):
    task = tasks.submit("flaky")
    said = tasks.until("flaky", task)
    assert (said["status"], said["attempts"]) == ("failed", 2)
    status, body = tasks.get("flaky", task)
    assert (status, b"secret" in body) == (500, False)
    again = tasks.ask("POST", f"/flaky/retry?task_id={task}")[1]["task_id"]
    assert tasks.until("flaky", again)["retry_of"] == task
    assert ran(project, "flaky") == 4


def test_files_go_in_and_come_out(tasks):
    parts = b'--x\r\ncontent-disposition: form-data; name="path"; filename="a.txt"\r\n\r\nhello\r\n--x--\r\n'
    headers = {"content-type": "multipart/form-data; boundary=x"}
    task = json.loads(tasks.served.ask("POST", "/upper/submit", parts, headers)[1])["task_id"]
    assert tasks.until("upper", task)["status"] == "completed"
    assert tasks.get("upper", task) == (200, b"HELLO")


def test_the_metrics_page_counts_them(tasks):
    tasks.until("add", tasks.submit("add", {"a": 1}))

    def ended() -> bool:
        return b'tiffin_tasks_ended_total{deployment="jobs",namespace="default",status="completed"}' in page()

    def page() -> bytes:
        return tasks.served.ask("GET", "/metrics")[1]

    deadline = time.monotonic() + 10
    while not ended():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert b'tiffin_tasks{deployment="jobs",namespace="default",state="queued"}' in page()
    assert b"tiffin_task_oldest_queued_seconds" in page()


@pytest.fixture
def receiver():
    """A server that keeps what it is told."""
    told: list[tuple[dict[str, str], bytes]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            told.append(({k.lower(): v for k, v in self.headers.items()}, body))
            self.send_response(503 if len(told) == 1 else 204)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            """Not here."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1], told
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_webhook_is_told_again_when_it_was_away_and_can_check_who_tells(
    project, serving, receiver, tmp_path, monkeypatch
):
    port, told = receiver
    monkeypatch.setenv("TIFFIN_WEBHOOK_HOSTS", f"127.0.0.1:{port}")
    monkeypatch.setenv("TIFFIN_WEBHOOK_SECRET", "hush")
    with serving("service:Jobs", "--tasks", str(tmp_path / "t.db"), directory=project) as served:
        tasks = Tasks(served)
        task = tasks.submit("add", {"a": 1}, webhook_url=f"http://127.0.0.1:{port}/hook?x=1")
        said = tasks.until("add", task, lambda said: said["webhook"]["state"] != "waiting")
        assert said["webhook"] == {"state": "delivered", "attempts": 2}
        headers, body = told[-1]
        signed = f"{task}.{headers['webhook-timestamp']}.".encode() + body
        expected = b64encode(hmac.new(b"hush", signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"
        assert (headers["webhook-id"], json.loads(body)["type"]) == (task, "task.completed")
        status, refused = tasks.ask("POST", "/add/submit", {"a": 1}, webhook_url="http://169.254.169.254/meta")
        assert (status, "on a host of the list" in refused["error"]) == (400, True)


def test_private_addresses_are_not_told(tasks):
    for url in ("http://127.0.0.1/x", "http://10.0.0.1/x", "http://[::1]/x", "ftp://a.example/", "nonsense"):
        status, said = tasks.ask("POST", "/add/submit", {"a": 1}, webhook_url=url)
        assert (status, "expected a webhook" in said["error"]) == (400, True), url


@pytest.mark.slow
def test_a_task_whose_replica_is_killed_is_taken_up_by_another(project, serving, tmp_path):
    (project / "ran").unlink(missing_ok=True)
    store = ("--tasks", str(tmp_path / "shared.db"))
    with serving("service:Jobs", *store, directory=project) as first:
        tasks = Tasks(first)
        task = tasks.submit("steps", {"count": 20})
        # It is "running" a moment before its own first line is.
        tasks.until("steps", task, lambda said: said["state"] == "running" and ran(project, "steps") == 1)
        first.process.kill()
        first.process.wait()
        with serving("service:Jobs", *store, directory=project) as second:
            tasks = Tasks(second)
            assert tasks.status("steps", task)["state"] == "running"
            said = tasks.until("steps", task, seconds=60)
            assert (said["status"], said["attempts"]) == ("completed", 2)
            assert tasks.get("steps", task) == (200, f"all 2 {task}".encode())
    assert ran(project, "steps") == 2


@pytest.mark.slow
def test_the_child_of_an_isolated_task_does_not_outlive_its_replica(project, serving, tmp_path):
    with serving("service:Jobs", "--tasks", str(tmp_path / "t.db"), directory=project) as served:
        tasks = Tasks(served)
        task = tasks.submit("deaf", {"seconds": 60})
        said = tasks.until("deaf", task, lambda said: said["message"])
        child = psutil.Process(int(said["message"].split()[1]))
        served.process.kill()
        served.process.wait()
        child.wait(10)


@pytest.mark.slow
def test_a_replica_that_stops_gives_its_tasks_to_the_next(project, serving, tmp_path):
    (project / "ran").unlink(missing_ok=True)
    store = ("--tasks", str(tmp_path / "shared.db"))
    with serving("service:Jobs", *store, directory=project) as first:
        task = Tasks(first).submit("steps", {"count": 200})
        Tasks(first).until("steps", task, lambda said: said["state"] == "running")
        assert first.stop() == 0
        with serving("service:Jobs", *store, directory=project) as second:
            said = Tasks(second).until("steps", task, lambda said: said["state"] == "running")
            assert said["attempts"] == 1  # what was given back counts as no attempt


@pytest.mark.slow
def test_replicas_that_share_a_store_run_each_task_once(project, serving, tmp_path):
    (project / "ran").unlink(missing_ok=True)
    store = ("--tasks", str(tmp_path / "shared.db"))
    with (
        serving("service:Jobs", *store, "--workers", "2", directory=project) as one,
        serving("service:Jobs", *store, directory=project) as two,
    ):
        ends = [Tasks(one), Tasks(two)]
        submitted = [ends[n % 2].submit("add", {"a": n}) for n in range(30)]
        for n, task in enumerate(submitted):
            assert ends[(n + 1) % 2].until("add", task)["status"] == "completed"
            assert ends[0].get("add", task) == (200, str(n + 2).encode())
        long = ends[0].submit("forever")
        ends[0].until("forever", long, lambda said: said["state"] == "running")
        ends[1].ask("PUT", f"/forever/cancel?task_id={long}")
        assert ends[1].until("forever", long)["status"] == "canceled"
    assert sorted(ran(project, f"add {n}") for n in range(30)) == [1] * 30

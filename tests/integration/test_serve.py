"""``tiffin serve`` as a process: its start, its end, its workers, and bodies that mean it harm."""

import contextlib
import json
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tiffin.kits import http as unix_http

pytestmark = pytest.mark.slow

INFER = "/v2/models/iris/infer"
ROW = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": [5.1, 3.5, 1.4, 0.2]}]}

# A service whose calls end, and whose module loads, when a file appears.
WAITING = """
import pathlib, threading
import tiffin

HERE = pathlib.Path(__file__).parent
tick = threading.Event()

def wait_for(name):
    (HERE / f"{name}.waiting").touch()
    while not (HERE / name).exists():
        tick.wait(0.01)

if (HERE / "slow-import").exists():
    wait_for("imported")

@tiffin.service
class Waiting:
    @tiffin.api
    def slow(self) -> str:
        wait_for("answered")
        return "in time"

    @tiffin.api
    def version(self) -> int:
        return 1
"""


@pytest.fixture
def waiting(tmp_path: Path) -> Path:
    (tmp_path / "service.py").write_text(WAITING)
    return tmp_path


def until(ask: Callable[[], Any], seconds: float = 15.0) -> Any:
    deadline = threading.Event()
    timer = threading.Timer(seconds, deadline.set)
    timer.daemon = True
    timer.start()
    pause = threading.Event()
    while not (answer := ask()):
        assert not deadline.is_set(), "not so within the time"
        pause.wait(0.02)
    timer.cancel()
    return answer


def metrics(served: Any) -> dict[str, float]:
    """Sums of all samples by name."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(served.ask("GET", "/metrics")[1].decode()):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0) + sample.value
    return found


# -- start and end -----------------------------------------------------------------------------------------


def test_sigterm_finishes_what_is_in_hand_and_exits_with_0(serving: Any, waiting: Path) -> None:
    with serving("service:Waiting", directory=waiting) as served, contextlib.ExitStack() as stack:
        probe = stack.enter_context(served.connect())
        probe.sendall(b"GET /readyz HTTP/1.1\r\nHost: a\r\n")
        answers: list[tuple[int, bytes]] = []
        caller = threading.Thread(target=lambda: answers.append(served.ask("POST", "/slow", {})))
        caller.start()
        until((waiting / "answered.waiting").exists)
        served.process.send_signal(signal.SIGTERM)
        until(lambda: "draining" in served.text())
        probe.sendall(b"\r\n")
        assert b" 503 " in probe.recv(1000)
        until(lambda: refused(served.port))
        assert served.process.poll() is None
        (waiting / "answered").touch()
        caller.join(10)
        assert answers[0][0] == 200
        assert b"in time" in answers[0][1]
        assert served.process.wait(10) == 0


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_sigterm_while_loading_ends_it_with_0(serving: Any, waiting: Path) -> None:
    (waiting / "slow-import").touch()
    with serving("service:Waiting", directory=waiting, ready=False) as served:
        until((waiting / "imported.waiting").exists)
        assert served.stop() == 0
        assert "Traceback" not in served.text()


def test_a_service_that_is_being_imported_is_alive_but_not_ready(serving: Any, waiting: Path) -> None:
    (waiting / "slow-import").touch()
    with tempfile.TemporaryDirectory() as short:
        path = str(Path(short) / "s")
        with serving("service:Waiting", "--unix", path, directory=waiting, ready=False) as served:
            until((waiting / "imported.waiting").exists)
            assert unix_http.get(path, "/healthz", seconds=5).status == 200
            assert unix_http.get(path, "/readyz", seconds=5).status == 503
            assert unix_http.get(path, "/version", seconds=5).status == 503
            (waiting / "imported").touch()
            served.wait_ready()
            assert unix_http.get(path, "/readyz", seconds=5).status == 200
            assert unix_http.get(path, "/version", seconds=5).status == 405


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_in_use_ends_it_with_3_and_says_so(serving: Any, iris_model: Path, workers: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with serving(str(iris_model), "--port", port, "--workers", workers, ready=False) as served:
            assert served.process.wait(20) == 3
            assert f"port {port}" in served.text()
            assert "Traceback" not in served.text()


@pytest.mark.parametrize("more", [[], ["--workers", "2"], ["--reload"]])
def test_a_unix_socket_is_served_and_removed(serving: Any, iris_model: Path, more: list[str]) -> None:
    with tempfile.TemporaryDirectory() as short:
        path = Path(short) / "s"
        left = socket.socket(socket.AF_UNIX)
        left.bind(str(path))  # What a killed replica leaves behind is no obstacle.
        left.close()
        with serving(str(iris_model), "--unix", str(path), *more) as served:
            answer = unix_http.get(str(path), "/readyz")
            assert answer is not None
            assert answer.status == 200
            assert path.stat().st_mode & 0o077 == 0
            assert served.stop() == 0
        assert not path.exists()


def test_a_second_signal_does_not_wait_for_the_calls(serving: Any, waiting: Path) -> None:
    with serving("service:Waiting", directory=waiting) as served:
        caller = served.connect()
        caller.sendall(b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
        until((waiting / "answered.waiting").exists)
        served.process.send_signal(signal.SIGTERM)
        until(lambda: "draining" in served.text())
        served.process.send_signal(signal.SIGTERM)
        (waiting / "answered").touch()  # Its thread can end; nobody waits for the answer.
        assert served.process.wait(10) == 0
        caller.close()


# -- workers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [["--workers", "2"], ["--reload"]])
def test_workers_end_when_what_looks_after_them_was_killed(
    serving: Any, iris_model: Path, more: list[str]
) -> None:
    with serving(str(iris_model), *more) as served:
        workers = psutil.Process(served.process.pid).children()
        assert workers
        served.stop(signal.SIGKILL)
        until(lambda: not any(worker.is_running() and worker.status() != "zombie" for worker in workers))


def test_nobody_is_refused_while_a_killed_worker_loads_again(serving: Any, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import time\nimport tiffin\n@tiffin.service(workers=2)\nclass Slow:\n"
        "    def __init__(self):\n        time.sleep(1.5)\n"
        "    @tiffin.api\n    def ask(self) -> int:\n        return 1\n"
    )
    with serving("slow:Slow", directory=tmp_path) as served:
        until(lambda: metrics(served)["tiffin_ready_workers"] == 2)
        workers = psutil.Process(served.process.pid).children()
        assert len(workers) == 2
        workers[0].kill()
        workers[0].wait(10)  # what it had accepted is lost; nobody who comes now may be

        def ask(_: int) -> int:
            return served.ask("POST", "/ask", {}, {"content-type": "application/json"})[0]

        with ThreadPoolExecutor(10) as pool:
            assert set(pool.map(ask, range(40))) == {200}
        assert served.text().count("ready after") == 3


def test_a_killed_worker_is_replaced_and_nothing_counted_is_lost(serving: Any, iris_model: Path) -> None:
    with serving(str(iris_model), "--workers", "2") as served:
        ids = set()
        for _ in range(40):
            status, body = served.ask("POST", INFER, ROW)
            assert status == 200
            ids.add(json.loads(body)["id"])
        assert len(ids) == 40  # Unique over workers that were forked from one process.
        workers = psutil.Process(served.process.pid).children()
        assert len(workers) == 2
        before = metrics(served)
        assert before["tiffin_ready_workers"] == 2
        workers[0].kill()

        def replaced() -> bool:
            children = psutil.Process(served.process.pid).children()
            return len(children) == 2 and workers[0] not in children and all(c.is_running() for c in children)

        until(replaced)

        def both_ready() -> bool:
            with contextlib.suppress(OSError):
                return metrics(served)["tiffin_ready_workers"] == 2
            return False

        until(both_ready)
        after = metrics(served)
        assert after["tiffin_requests_total"] >= before["tiffin_requests_total"] >= 40
        assert after["tiffin_batch_rows_sum"] == 40
        for _ in range(10):
            assert served.ask("POST", INFER, ROW)[0] == 200
        everyone = psutil.Process(served.process.pid).children()
        assert served.stop() == 0
        assert not any(process.is_running() for process in everyone)


def test_stopping_while_a_worker_is_being_replaced_leaves_none_behind(serving: Any, iris_model: Path) -> None:
    with serving(str(iris_model), "--workers", "2") as served:
        supervisor = psutil.Process(served.process.pid)
        for _ in range(2):  # The second death in a row makes the supervisor pause before it forks again.
            before = supervisor.children()
            before[-1].kill()
            until(lambda before=before: before[-1] not in supervisor.children())
        assert served.stop() == 0
        assert group_of(served.process.pid) == []


def group_of(leader: int) -> list[int]:
    """The processes that a ``tiffin serve`` started, itself included."""
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(pid) == leader:
                found.append(pid)
    return found


# -- reload ------------------------------------------------------------------------------------------------


def test_reload_follows_the_file_and_survives_a_syntax_error(serving: Any, waiting: Path) -> None:
    code = waiting / "service.py"

    def version() -> int:
        with contextlib.suppress(OSError, ValueError):
            return int(served.ask("POST", "/version", {})[1])
        return 0

    with serving("service:Waiting", "--reload", directory=waiting) as served:
        assert version() == 1
        code.write_text(WAITING.replace("return 1", "return 2"))
        until(lambda: version() == 2)
        code.write_text("def broken(:\n")
        until(lambda: "SyntaxError" in served.text())
        assert served.process.poll() is None
        code.write_text(WAITING.replace("return 1", "return 3"))
        until(lambda: version() == 3)
        assert served.stop() == 0
        assert refused(served.port)


# -- bodies that mean harm ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def iris(serving: Any, iris_model: Path) -> Any:
    with serving(str(iris_model), "--max-body", "1000000") as served:
        yield served


def row(**fields: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": [1, 2, 3, 4]} | fields]}


JSON_ANYWHERE: list[Any] = [
    b"",
    b"nonsense",
    b"\xff\xfe\x00",
    b"null",
    b"5",
    b"[]",
    b"{}",
    b'"text"',
    b"[" * 500_000,
    b'{"a":' * 150_000,
    b'{"inputs":' + b"[" * 300_000 + b"]" * 300_000 + b"}",
    b'{"inputs":[{"name":"\xff"}]}',
    b'{"instances":["\xff"]}',
    b'{"data":{"ndarray":["\xff"]}}',
    b'{"inputs":[' + b"1" + b"0" * 10_000 + b"]}",
    {"inputs": None, "instances": None, "data": None},
    {"inputs": [None], "instances": [None], "data": {"ndarray": [None]}},
]
V2 = [
    row(shape=[4294967296, 4294967296]),
    row(shape=[0, 2**62, 2**62], data=[]),
    row(shape=[0, 4], data=[]),
    row(shape=[-1, 4]),
    row(shape=[]),
    row(shape=[4]),
    row(shape=[1, 1, 1, 1, 4]),
    row(shape=[2, 4]),
    row(data=[[1, 2], [3]]),
    row(data=["1", "2", "3", "4"]),
    row(data=[1e300, 1e308, -1e308, 1]) | {"id": 5},
    row(datatype="FP32", data=[1e300, 0, 0, 0]),
    row(datatype="BYTES", data=["a", "b", "c", "d"]),
    row(datatype="FP128"),
    row(datatype="INT8", data=[1, 2, 3, 400]),
    row() | {"outputs": [{"name": "nothing"}]},
    {"inputs": row()["inputs"] * 2},
    {"inputs": row()["inputs"] * 4},
    {"inputs": [{"name": str(i), "shape": [1], "datatype": "FP64", "data": [1]} for i in range(5)]},
    {"inputs": [{"name": "a", "shape": [1], "datatype": "FP64", "data": [1]}]},
]
V1 = [
    {"instances": 5},
    {"instances": []},
    {"instances": [[]]},
    {"instances": [[1, 2, 3]]},
    {"instances": [[1, 2, 3, 4], [1]]},
    {"instances": [["a", "b", "c", "d"]]},
    {"instances": [[1, 2, 3, None]]},
    {"instances": [{"a": 1}]},
    {"instances": [{}]},
    {"instances": [[[[[1]]]]]},
    {"instances": ["x" * 500_000, *["a"] * 100_000]},
    {"instances": [[2**70, 1, 1, 1]] * 2 + [[2**200, 1, 1, 1]] + [[1e300, 1, 1, "1"]]},
]
SELDON = [
    {"data": {}},
    {"data": {"ndarray": []}},
    {"data": {"ndarray": [[1, 2, 3]]}},
    {"data": {"ndarray": [[1, 2, 3, "a"]]}},
    {"data": {"ndarray": [[1, 2], [3]]}},
    {"data": {"ndarray": [{"a": 1}]}},
    {"data": {"ndarray": ["x" * 500_000, *["a"] * 100_000]}},
    {"data": {"tensor": {"shape": [4294967296, 4294967296], "values": [1]}}},
    {"data": {"tensor": {"shape": [0, 2**62, 2**62], "values": []}}},
    {"data": {"tensor": {"shape": [1, 3], "values": [1]}}},
    {"data": {"tensor": {"shape": [1, 4], "values": [[1, 2], 3]}}},
    {"data": {"tensor": {"values": [1]}}},
    {"strData": "text"},
    {"binData": "***"},
    {"jsonData": {"a": 1}},
    {"data": {"ndarray": [[1, 2, 3, 4]]}, "meta": 5},
]


def test_malformed_bodies_are_the_callers_fault_and_never_reach_the_model(iris: Any) -> None:
    assert iris.ask("POST", INFER, ROW)[0] == 200
    predicted = metrics(iris)["tiffin_predict_seconds_count"]
    for path, bodies in (
        (INFER, [*JSON_ANYWHERE, *V2, *V1, *SELDON]),
        ("/v1/models/iris:predict", [*JSON_ANYWHERE, *V1, *SELDON]),
        ("/api/v1.0/predictions", [*JSON_ANYWHERE, *SELDON]),
    ):
        for body in bodies:
            status, text = iris.ask("POST", path, body)
            assert 400 <= status < 500, (path, str(body)[:100], status, text)
            json.loads(text)
    assert metrics(iris)["tiffin_predict_seconds_count"] == predicted
    assert "Traceback" not in iris.text()
    assert iris.ask("POST", INFER, ROW)[0] == 200


@pytest.mark.parametrize("length", ["0", "-1", "99999", "abc", "1" * 40, ""])
def test_a_wrong_json_length_of_a_binary_request_is_refused(iris: Any, length: str) -> None:
    headers = {"Inference-Header-Content-Length": length}
    assert iris.ask("POST", INFER, json.dumps(ROW).encode() + b"tail", headers)[0] == 400


def test_paths_make_no_series_of_their_own(iris: Any) -> None:
    for index in range(30):
        assert iris.ask("GET", f"/nothing/{index}")[0] == 404
    page = iris.ask("GET", "/metrics")[1]
    assert b"/nothing" not in page


def test_a_caller_that_leaves_during_its_predict_hurts_nobody(iris: Any) -> None:
    body = json.dumps(ROW).encode()
    for _ in range(20):
        caller = iris.connect()
        head = f"POST {INFER} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
        caller.sendall(head.encode() + body)
        caller.close()
    assert iris.ask("POST", INFER, ROW)[0] == 200
    until(lambda: metrics(iris)["tiffin_in_flight"] <= 1)


def test_the_example_it_shows_is_a_request_it_answers(iris: Any) -> None:
    example = json.loads(iris.ask("GET", "/tiffin/example")[1])
    status, body = iris.ask("POST", example["path"], example["body"], example["headers"])
    assert status == 200
    assert json.loads(body)["outputs"][0]["shape"] == [1]


def test_no_file_descriptor_is_lost(iris: Any) -> None:
    process = psutil.Process(iris.process.pid)
    iris.ask("POST", INFER, ROW)
    before = process.num_fds()
    for _ in range(50):
        iris.ask("POST", INFER, ROW)
    until(lambda: process.num_fds() <= before + 1)
    assert os.path.exists(f"/proc/{iris.process.pid}")

"""Tasks of a service that is served inside of a test, or by another ASGI server."""

import time
from pathlib import Path

import pytest

import tiffin
from tiffin import testing


@tiffin.service
class Jobs:
    @tiffin.task
    def double(self, a: int) -> int:
        return 2 * a


def test_a_users_test_has_tasks_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIFFIN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TIFFIN_TASKS", "redis://not.to.be.asked:1/0")
    with testing.serve(Jobs) as server:
        task = server.post("/double/submit", json={"a": 4}).json()["task_id"]
        deadline = time.monotonic() + 20
        while server.get(f"/double/status?task_id={task}").json()["status"] != "completed":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert server.get(f"/double/get?task_id={task}").json() == 8
    assert not (tmp_path / "home").exists()


def test_an_asgi_application_keeps_tasks_in_the_data_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starlette = pytest.importorskip("starlette.testclient")
    monkeypatch.setenv("TIFFIN_HOME", str(tmp_path / "home"))
    with starlette.TestClient(Jobs.to_asgi()) as client:
        task = client.post("/double/submit", json={"a": 4}).json()["task_id"]
        deadline = time.monotonic() + 20
        while client.get("/double/get", params={"task_id": task}).text != "8":
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert len(list((tmp_path / "home" / "tasks").glob("*.db"))) == 1

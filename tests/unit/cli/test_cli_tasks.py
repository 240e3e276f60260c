import json
from pathlib import Path

import pytest

from tiffin.cli import frame
from tiffin.protocol.head import Head
from tiffin.protocol.reply import Reply
from tiffin.runtime.tasks import transitions
from tiffin.runtime.tasks.record import Task, pack_reply, pack_request
from tiffin.runtime.tasks.store import open_store

HEAD = Head("POST", "/m/submit", b"", {}, 2, True)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The file of the deployment ``jobs`` in a data directory of its own."""
    monkeypatch.setenv("TIFFIN_HOME", str(tmp_path))
    for name in ("TIFFIN_TASKS", "BENTOML_RESULT_STORE"):
        monkeypatch.delenv(name, raising=False)
    found = open_store(f"sqlite:///{tmp_path}/tasks/default.jobs.db")
    yield found
    found.close()


def add(store, identifier: str, state: str = "queued") -> Task:
    task = transitions.submitted(
        Task(id=identifier, queue="default/jobs/Jobs", method="m", created_at=store.clock())
    )
    store.add(task, pack_request(HEAD, b"{}"), limit=10)
    if state != "queued":
        task = transitions.claimed(task, "w", task.created_at)
        store.swap(task)
    if state == "completed":
        task = transitions.finished(task, "w", task.created_at, "completed")
        store.swap(task, pack_reply(Reply(200, b"the answer")))
    return task


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert frame.run(["tasks", *arguments]) == 0
    return capsys.readouterr().out


def test_tasks_are_listed_by_deployment_and_state(store, capsys):
    add(store, "one")
    add(store, "two", "completed")
    assert {task["task_id"] for task in json.loads(said(capsys, "--json"))} == {"one", "two"}
    heading, row = said(capsys, "list", "jobs", "--state", "queued").splitlines()
    assert heading.split() == ["ID", "SERVICE", "METHOD", "STATE", "PROGRESS", "AGE", "ERROR"]
    assert row.split()[:4] == ["one", "default/jobs/Jobs", "m", "queued"]
    assert said(capsys, "list", "others") == ""


def test_a_result_is_printed_as_it_is(store, capfdbinary):
    add(store, "t", "completed")
    assert frame.run(["tasks", "get", "t"]) == 0
    assert capfdbinary.readouterr().out == b"the answer"


def test_what_has_no_result_yet_says_so(store, capsys):
    add(store, "t")
    assert frame.run(["tasks", "get", "t"]) == 1
    assert "task t is queued" in capsys.readouterr().err


def test_a_task_is_cancelled_or_asked_to_stop(store, capsys):
    add(store, "waits")
    add(store, "runs", "running")
    assert said(capsys, "cancel", "waits", "runs") == "cancelled waits\nasked to stop: runs\n"
    assert store.get("waits").state == "canceled"
    assert store.get("runs").is_cancel_wanted
    assert frame.run(["tasks", "cancel", "waits"]) == 1
    assert "found waits canceled" in capsys.readouterr().err


def test_a_task_is_run_again_under_a_new_id(store, capsys):
    add(store, "t", "completed")
    fresh = json.loads(said(capsys, "retry", "t", "--json"))["task_id"]
    assert store.get(fresh).retry_of == "t"
    assert store.request(fresh) == store.request("t")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("get", "nobody"), "there is no task nobody"),
        (("get",), "expected ids of tasks to get"),
        (("--state", "odd"), "expected --state to be one of queued"),
        (("list", "a", "b"), "expected one deployment"),
        (("--store", "/nowhere/tasks.db"), "expected a file with tasks, found none at /nowhere/tasks.db"),
        (("--store", "mysql://x/y"), "expected the address of a store for tasks"),
    ],
)
def test_what_is_wrong_is_said(store, capsys, arguments, message):
    assert frame.run(["tasks", *arguments]) == 1
    assert message in capsys.readouterr().err


def test_looking_makes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TIFFIN_HOME", str(tmp_path / "none"))
    assert frame.run(["tasks"]) == 0
    assert not (tmp_path / "none").exists()

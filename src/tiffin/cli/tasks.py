"""``tiffin tasks``: tasks where they are kept, whether or not a replica runs."""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tiffin.cli import output
from tiffin.cli.rendering import table

if TYPE_CHECKING:
    from tiffin.runtime.tasks.record import State, Task
    from tiffin.runtime.tasks.store import TaskStore


def tasks(
    action: Annotated[
        Literal["list", "get", "cancel", "retry"],
        typer.Argument(help="What to do; get prints a task's result."),
    ] = "list",
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME|ID...]", help="A deployment to list; ids of tasks.")
    ] = None,
    store: Annotated[
        str, typer.Option(help="Where they are kept; without it TIFFIN_TASKS, or the files in the data directory.")
    ] = "",
    state: Annotated[
        str, typer.Option(help="Only those that are queued, running, completed, failed or canceled.")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, help="How many to list, the newest first.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List, fetch, cancel and run again the tasks of services on this machine, or of a store.

    A task that runs is asked to stop; its replica hears of it within a second or two.
    """
    from tiffin.errors import SpecError
    from tiffin.runtime.tasks.record import STATES

    given = names or []
    if state and state not in STATES:
        raise SpecError(f"expected --state to be one of {', '.join(STATES)}, found {state!r}")
    if action == "list":
        if len(given) > 1:
            raise SpecError("expected one deployment to list")
        _list(store, given[0] if given else "", state, limit, as_json)
        return
    if not given:
        raise SpecError(f"expected ids of tasks to {action}", hint="`tiffin tasks` lists them")
    for identifier in given:
        with _holding(store, identifier) as (found, task):
            {"get": _get, "cancel": _cancel, "retry": _retry}[action](found, task, as_json)


def _urls(given: str) -> list[str]:
    from tiffin.kits import paths
    from tiffin.spec.tasks import BENTOML_VARIABLE, VARIABLE

    chosen = given or os.environ.get(VARIABLE) or os.environ.get(BENTOML_VARIABLE)
    if chosen:
        return [chosen]
    return [f"sqlite:///{file}" for file in sorted((paths.data_directory().root / "tasks").glob("*.db"))]


@contextmanager
def _opened(url: str) -> Iterator[TaskStore]:
    from pathlib import Path

    from tiffin.errors import SpecError
    from tiffin.runtime.tasks.store import open_store, path_of

    # A store that is looked at is not made by that.
    if (url.startswith("sqlite:") or "://" not in url) and not Path(path_of(url)).expanduser().exists():
        raise SpecError(f"expected a file with tasks, found none at {path_of(url)}", at="--store")
    store = open_store(url)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _holding(given: str, identifier: str) -> Iterator[tuple[TaskStore, Task]]:
    """The store that has a task, and the task."""
    from tiffin.runtime.tasks.store import NoSuchTask

    for url in _urls(given):
        with _opened(url) as store:
            if (task := store.get(identifier)) is not None:
                yield store, task
                return
    raise NoSuchTask(f"there is no task {identifier}, or it was forgotten")


def _list(given: str, name: str, state: str, limit: int, as_json: bool) -> None:
    from tiffin.runtime.tasks.record import describe

    states: tuple[State, ...] = (state,) if state else ()  # type: ignore[assignment]
    found: list[Task] = []
    for url in _urls(given):
        with _opened(url) as store:
            found += [t for t in store.newest("*", states, limit) if not name or t.queue.split("/")[1] == name]
    found = sorted(found, key=lambda task: task.created_at, reverse=True)[:limit]
    if as_json:
        output.data([{"queue": task.queue, **describe(task)} for task in found])
    elif not found:
        output.say("there are no tasks")
    else:
        now = time.time()
        rows = [
            (t.id, t.queue, t.method, t.state, _part(t), _age(now - t.created_at), t.error[:60]) for t in found
        ]
        for line in table(("ID", "SERVICE", "METHOD", "STATE", "PROGRESS", "AGE", "ERROR"), rows):
            print(line)


def _part(task: Task) -> str:
    return "" if task.progress is None else f"{task.progress:.0%} {task.note}".strip()[:40]


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f}{unit}"
    return f"{max(0, seconds):.0f}s"


def _get(store: TaskStore, task: Task, as_json: bool) -> None:
    from tiffin.errors import CallError
    from tiffin.runtime.tasks.record import describe, unpack_reply

    if as_json:
        output.data({"queue": task.queue, **describe(task)})
        return
    blob = store.reply(task.id)
    if task.state != "completed" or blob is None:
        raise CallError(
            f"task {task.id} is {task.state}{f': {task.error}' if task.error else ''}",
            hint="`tiffin tasks get ID --json` shows all about it",
        )
    sys.stdout.buffer.write(unpack_reply(blob).body)
    sys.stdout.buffer.flush()


def _cancel(store: TaskStore, task: Task, as_json: bool) -> None:
    from tiffin.runtime.tasks import transitions

    found: Task | None = task
    while found is not None:
        changed = transitions.cancelled(found, store.clock())
        if changed is found or store.swap(changed):
            text = "cancelled" if changed.is_ended else "asked to stop:"
            _say({"task_id": task.id, "state": changed.state}, f"{text} {task.id}", as_json)
            return
        found = store.get(task.id)


def _retry(store: TaskStore, task: Task, as_json: bool) -> None:
    from tiffin.runtime.tasks import transitions
    from tiffin.runtime.tasks.store import NoSuchTask

    fresh = transitions.again(task, uuid.uuid4().hex, store.clock())
    request = store.request(task.id)
    if request is None:
        raise NoSuchTask(f"there is no task {task.id}, or it was forgotten")
    store.add(fresh, request, limit=sys.maxsize)
    _say({"task_id": fresh.id, "retry_of": task.id}, f"{fresh.id} runs what {task.id} ran", as_json)


def _say(value: dict[str, Any], text: str, as_json: bool) -> None:
    if as_json:
        output.data(value)
    else:
        print(text)

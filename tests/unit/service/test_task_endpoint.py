import threading

import pytest

import tiffin
from tiffin.errors import ServiceError
from tiffin.service.lifetime import Lifetime
from tiffin.service.task_run import CurrentTask


@tiffin.service
class Jobs:
    @tiffin.task
    def bare(self, a: int) -> int:
        return a

    @tiffin.task(route="/slow", timeout=2, retries=1, keep="90m", isolated=True, webhook="https://a.example/hook")
    async def slow(self, a: int, ctx: tiffin.Context) -> int:
        return a


def test_a_task_says_so_and_has_sane_defaults():
    task = Jobs.apis["bare"]
    assert (task.is_task, task.route, task.timeout_seconds, task.retries) == (True, "/bare", None, 0)
    assert (task.max_attempts, task.keep_seconds, task.isolated) == (3, 86400.0, False)
    assert task.schema()["is_task"] is True


def test_options_are_read():
    task = Jobs.apis["slow"]
    assert (task.route, task.timeout_seconds, task.retries, task.keep_seconds) == ("/slow", 2.0, 1, 5400.0)
    assert (task.isolated, task.webhook, task.context_name) == (True, "https://a.example/hook", "ctx")


def test_a_task_is_called_as_a_method_too():
    assert Jobs().bare(3) == 3


def plain(self):
    return 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout": 0}, "timeout as seconds above 0, found 0"),
        ({"timeout": "5"}, "timeout as seconds above 0, found '5'"),
        ({"retries": -1}, "retries as a whole number from 0"),
        ({"max_attempts": 0}, "max_attempts as a whole number from 1"),
        ({"keep": "a day"}, "expected keep such as 3600, '90m', '24h' or '7d', found 'a day'"),
        ({"keep": True}, "keep as seconds above 0"),
        ({"isolated": True, "batchable": True}, "isolated or batchable, found both"),
    ],
)
def test_wrong_options_are_refused_where_they_are_written(options, message):
    with pytest.raises(ServiceError, match=message) as raised:
        tiffin.task(**options)(plain)
    assert raised.value.at == "plain"


def test_generators_are_no_tasks():
    def items(self):
        yield 1

    async def later(self):
        yield 1

    for method in (items, later):
        with pytest.raises(ServiceError, match="expected a method that returns its result, found a generator"):
            tiffin.task(method)


def test_progress_is_kept_between_0_and_1():
    seen = []
    task = CurrentTask("t", report=lambda part, note: seen.append((part, note)))
    task.progress(2)
    task.progress(-1, "x" * 600)
    task.progress(0.5, "half")
    assert [part for part, _ in seen] == [1.0, 0.0, 0.5]
    assert (len(seen[1][1]), seen[2][1]) == (500, "half")
    with pytest.raises(ServiceError, match="found 'half'"):
        task.progress("half")


def test_outside_of_a_task_there_is_one_that_nobody_cancels():
    task = tiffin.current_task()
    task.progress(0.5)
    assert (task.id, task.cancelled, task.deadline) == ("", False, None)
    context = tiffin.Context({})
    context.progress(0.5)
    assert (context.cancelled, context.is_cancelled(), context.deadline, context.task) == (
        False,
        False,
        None,
        None,
    )
    assert context.wait_cancelled(0.0) is False


def test_a_thread_that_waits_learns_that_it_is_cancelled():
    life, heard = Lifetime(), []
    thread = threading.Thread(target=lambda: heard.append(life.wait(30.0)))
    thread.start()
    life.cancel()
    thread.join(10)
    assert heard == [True]
    assert life.wait(0.0) is True


def test_what_is_left_of_a_deadline_is_never_negative():
    assert Lifetime(0.0).left() == 0.0
    assert Lifetime().left() is None


def test_a_concurrency_of_tasks_without_tasks_is_a_warning():
    @tiffin.service(traffic={"concurrency": 3})
    class Plain:
        @tiffin.api
        def ping(self) -> str:
            return "pong"

    assert Plain.warnings == ("traffic.concurrency: is how many tasks run at once, and there are none",)

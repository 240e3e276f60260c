"""The life of tasks: workers that race, die and come back, on a store that swaps versions."""

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from tiffin.errors import CallError
from tiffin.runtime.tasks import transitions
from tiffin.runtime.tasks.record import Policy, Task, Webhook, describe, from_text, to_text
from tiffin.runtime.tasks.transitions import LEASE_SECONDS, AlreadyEnded, NotYours

POLICY = Policy(retries=2, max_attempts=3, back_off_seconds=4.0)
WORKERS = ("a", "b", "c")
STEPS = ("renew", "done", "fail", "crash", "give")


def new(**fields):
    return transitions.submitted(Task(id="t", queue="q", method="m", created_at=100.0, **fields))


def running(**fields):
    task = transitions.claimed(new(**fields), "a", 100.0)
    assert task is not None
    return task


class Life(RuleBasedStateMachine):
    """Three workers, each with the copies it has read; only a copy that is not stale may be swapped in."""

    copies = Bundle("copies")

    def __init__(self):
        super().__init__()
        self.now = 100.0
        self.task = new(policy=POLICY, webhook=Webhook(url="http://hook"))
        self.holders = {}
        self.accepted_cancel = False
        self.ended_as = None
        self.begun = 0
        self.given_back = 0

    def swap(self, changed):
        if changed.version != self.task.version + 1:
            return False
        self.task = changed
        return True

    @rule(target=copies)
    def read(self):
        return self.task

    @rule(seconds=st.sampled_from([0.5, 4.0, LEASE_SECONDS, 3 * LEASE_SECONDS]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule(copy=consumes(copies), worker=st.sampled_from(WORKERS))
    def claim(self, copy, worker):
        changed = transitions.claimed(copy, worker, self.now)
        if changed is not None and self.swap(changed) and changed.state == "running":
            live = {w for w, end in self.holders.items() if end > self.now}
            assert not live, f"{worker} began what {live} still run"
            self.holders = {worker: changed.due_at}
            self.begun += 1

    @rule(
        copy=copies,
        worker=st.sampled_from(WORKERS),
        step=st.sampled_from(STEPS),
    )
    def act(self, copy, worker, step):
        steps = {
            "renew": lambda: transitions.renewed(copy, worker, self.now, progress=0.5),
            "done": lambda: transitions.finished(copy, worker, self.now, "completed"),
            "fail": lambda: transitions.finished(copy, worker, self.now, "failed", error="x", is_retriable=True),
            "crash": lambda: transitions.crashed(copy, worker, self.now, "killed"),
            "give": lambda: transitions.released(copy, worker, self.now),
        }
        try:
            changed = steps[step]()
        except NotYours:
            assert copy.state != "running" or copy.owner != worker
            return
        if self.swap(changed):
            self.holders = {worker: changed.due_at} if step == "renew" else {}
            self.given_back += step == "give" and changed.state == "queued"  # not when it was cancelled

    @rule(copy=consumes(copies))
    def cancel(self, copy):
        try:
            changed = transitions.cancelled(copy, self.now)
        except AlreadyEnded:
            assert copy.is_ended
            return
        if self.swap(changed):
            self.accepted_cancel = True

    @rule(copy=consumes(copies), error=st.sampled_from(["", "refused"]))
    def deliver(self, copy, error):
        taken = transitions.delivering(copy, self.now)
        if taken is not None and self.swap(taken):
            assert self.swap(transitions.delivered(taken, self.now, error))

    @invariant()
    def what_has_ended_stays_as_it_is(self):
        if self.ended_as is not None:
            assert self.task.state == self.ended_as
        elif self.task.is_ended:
            self.ended_as = self.task.state

    @invariant()
    def a_cancel_that_was_taken_is_kept(self):
        if self.accepted_cancel and self.task.is_ended:
            assert self.task.state == "canceled"

    @invariant()
    def it_begins_no_more_often_than_its_policy_says(self):
        assert self.begun - self.given_back <= POLICY.max_attempts + POLICY.retries
        assert self.task.runs == self.begun - self.given_back

    @invariant()
    def nothing_waits_for_ever(self):
        hook = self.task.webhook
        assert (self.task.due is None) == (self.task.is_ended and hook.state != "waiting")

    @invariant()
    def it_survives_being_written_down(self):
        assert from_text(to_text(self.task)) == self.task


Life.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestLife = Life.TestCase


def test_a_task_is_not_taken_before_its_time_nor_while_another_holds_it():
    later = msgspec.structs.replace(new(), due_at=200.0)
    assert transitions.claimed(later, "a", 199.0) is None
    assert transitions.claimed(running(), "b", 100.0 + LEASE_SECONDS - 0.1) is None


def test_a_task_whose_replica_was_lost_is_taken_up_again():
    again = transitions.claimed(running(), "b", 100.0 + LEASE_SECONDS)
    assert (again.owner, again.runs, again.lost, again.state) == ("b", 2, 1, "running")
    with pytest.raises(NotYours):
        transitions.finished(again, "a", 120.0, "completed")


def test_a_task_that_loses_every_replica_is_given_up():
    task, now = running(policy=Policy(max_attempts=2)), 100.0
    for _ in range(2):
        now += LEASE_SECONDS
        task = transitions.claimed(task, "b", now)
    assert (task.state, task.error) == ("failed", "the replica that ran it was lost 2 times")


def test_failures_are_retried_with_growing_pauses_and_then_stay():
    task, now, pauses = running(policy=POLICY), 100.0, []
    while not task.is_ended:
        task = transitions.finished(task, "a", now, "failed", error="boom", is_retriable=True)
        if not task.is_ended:
            pauses.append(task.due_at - now)
            now = task.due_at
            task = transitions.claimed(task, "a", now)
    assert (pauses, task.state, task.runs, task.errors, task.error) == ([4.0, 8.0], "failed", 3, 3, "boom")


def test_a_callers_mistake_is_not_retried():
    assert transitions.finished(running(policy=POLICY), "a", 101.0, "failed").state == "failed"


def test_cancelling_what_waits_ends_it_and_what_runs_asks_for_it():
    assert transitions.cancelled(new(), 101.0).state == "canceled"
    asked = transitions.cancelled(running(), 101.0)
    assert (asked.state, asked.is_cancel_wanted) == ("running", True)
    assert transitions.cancelled(asked, 102.0) is asked
    assert transitions.finished(asked, "a", 103.0, "completed").state == "canceled"
    with pytest.raises(AlreadyEnded, match="found t canceled"):
        transitions.cancelled(transitions.finished(asked, "a", 103.0, "completed"), 104.0)


def test_only_what_has_ended_is_run_again_under_another_id():
    with pytest.raises(CallError, match="task t is not completed yet"):
        transitions.again(new(), "u", 101.0)
    ended = transitions.finished(running(key="m:k"), "a", 101.0, "completed")
    fresh = transitions.again(ended, "u", 102.0)
    assert (fresh.id, fresh.retry_of, fresh.state, fresh.due_at, fresh.key) == ("u", "t", "queued", 102.0, "")


def test_a_webhook_is_tried_with_pauses_and_given_up():
    task = transitions.finished(running(webhook=Webhook(url="http://h")), "a", 101.0, "completed")
    now, attempts = 101.0, 0
    while task.due is not None:
        now = task.due_at
        task = transitions.delivered(transitions.delivering(task, now), now, "503")
        attempts += 1
    assert (attempts, task.webhook.state, task.webhook.error) == (6, "given up", "503")


def test_callers_see_the_words_of_bentoml():
    assert {k: describe(new())[k] for k in ("task_id", "status", "executed_at")} == {
        "task_id": "t",
        "status": "in_progress",
        "executed_at": None,
    }
    ended = describe(transitions.finished(running(), "a", 101.0, "completed"))
    assert (ended["status"], ended["executed_at"]) == ("completed", "1970-01-01T00:01:40+00:00")

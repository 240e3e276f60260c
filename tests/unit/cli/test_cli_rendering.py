"""Tables, descriptions and progress: values in, lines out."""

import re
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.cli import describing, judging, plan, plots, progress, rendering, rollout, watching
from tiffin.plan.objects import Applied, Change, Metadata, Object, ReplicaUse, RevisionSummary, Runtime
from tiffin.plan.state import Condition, DeploymentStatus, Event, Problem, ReplicaStatus, RevisionStatus
from tiffin.spec import Artefact, Component, Deployment, ModelSource, Scaling, SpecWarning

NOW = 10_000.0
BROKEN = Problem(
    reason="CrashLoopBackOff", message="it ended with code 1", hint="read its log", log=("a", "b: boom")
)


def revision(number: int, **fields: object) -> RevisionStatus:
    values = {
        "phase": "Ready",
        "created": NOW - 60,
        "wanted": {"predictor": 2},
        "ready": {"predictor": 2},
    } | fields
    return RevisionStatus(name=f"iris-{number:05d}", variant="main", number=number, **values)  # type: ignore[arg-type]


def item(name: str = "iris", *, generation: int = 1, **status: object) -> Object:
    source = ModelSource(artefact=Artefact(uri="model.joblib"), format="sklearn")
    spec = Deployment(
        name=name,
        components=(Component(source=source),),
        file="/a/iris.yaml",
        dialect="kserve",
        warnings=(SpecWarning("spec.x", "has no effect"),),
    )
    fields = {"observed_generation": 1, "url": f"http://{name}.test"} | status
    metadata = Metadata(
        name=name, namespace="default", resource_version=3, generation=generation, created_at=NOW - 7200
    )
    return Object(metadata=metadata, spec=spec, status=DeploymentStatus(**fields))  # type: ignore[arg-type]


READY = Condition(type="Ready", status="True", since=NOW - 5)
NOT_READY = Condition(
    type="Ready", status="False", reason="ReplicaFailed", message="no replica is ready", hint="look at the log"
)


def test_deployments_have_a_row_each_with_the_columns_people_look_for() -> None:
    canary = item(
        conditions=(READY,),
        latest={"main": "iris-00002"},
        revisions=(revision(1, weight=90.0), revision(2, weight=10.0), revision(3, mirror_percent=25.0, ready={})),
    )
    head, row = rendering.deployments([canary], NOW)
    assert re.split(" {3,}", head) == ["NAME", "READY", "URL", "REVISION", "TRAFFIC", "REPLICAS", "AGE"]
    shares = "iris-00001=90%,iris-00002=10%,iris-00003=+25%"
    assert re.split(" {3,}", row) == ["iris", "True", "http://iris.test", "iris-00002", shares, "4/6", "2h"]


def test_what_is_not_known_is_a_dash_and_wide_says_why() -> None:
    head, row = rendering.deployments([item(url="", conditions=(NOT_READY,))], NOW, namespaces=True, wide=True)
    assert head.endswith("AGE   REASON          DIALECT   MANAGED BY   FILE")
    assert head.startswith("NAMESPACE   NAME")
    found = " ".join(row.split())
    assert found == "default iris False - - - 0/0 2h ReplicaFailed kserve - /a/iris.yaml"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (0, "0s"), (119.9, "119s"), (120, "2m"), (3600, "1h"), (11_520, "3h12m"), (86_400 * 4, "4d")],
)
def test_ages_are_said_as_kubectl_says_them(seconds: float, text: str) -> None:
    assert rendering.age(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(None, ""), (999, "999 B"), (1000, "1 kB"), (212_000_000, "212 MB"), (2.5e9, "2.5 GB")]
)
def test_sizes_are_said_in_powers_of_ten(count: int | None, text: str) -> None:
    assert rendering.size(count) == text


@given(st.lists(st.lists(st.text("ab -", max_size=5), min_size=3, max_size=3), max_size=5))
def test_a_table_has_a_line_for_each_row_and_no_trailing_blanks(rows: list[list[str]]) -> None:
    lines = rendering.table(("A", "B", "C"), rows)
    assert len(lines) == len(rows) + 1
    assert all(line == line.rstrip() for line in lines)


def test_events_show_how_often_and_on_one_line() -> None:
    event = Event(
        deployment="default/iris", reason="Killed", message="a\nb", time=NOW - 3, count=4, type="Warning"
    )
    row = rendering.events([event], NOW)[1]
    assert row.split() == ["3s", "Warning", "Killed", "default/iris", "a", "b", "(x4)"]


def test_uses_are_summed() -> None:
    use = ReplicaUse(
        deployment="default/iris", replica="r", revision="v", component="c", cpu=0.5, memory_bytes=10**8
    )
    assert rendering.uses([use, use])[-1].split() == ["(all)", "-", "1.00", "200", "MB", "-", "-"]
    assert len(rendering.uses([use])) == 2


def test_runtimes_say_what_they_read() -> None:
    row = rendering.runtimes([Runtime(name="r", formats=("sklearn",), built_in=True, disabled=True)])[1]
    assert row.split() == ["r", "(disabled)", "all", "sklearn", "-", "built", "in"]


def failing() -> Object:
    replica = ReplicaStatus(
        name="iris-00001-r1",
        revision="iris-00001",
        component="predictor",
        phase="CrashLoopBackOff",
        restarts=3,
        problem=BROKEN,
        start_seconds={"import": 0.6, "load": 0.25},
        log_file="/logs/x.log",
    )
    return item(conditions=(NOT_READY,), revisions=(revision(1, ready={}),), replicas=(replica,))


def test_a_description_shows_what_fails_with_its_last_lines_and_what_to_do() -> None:
    event = Event(deployment="default/iris", reason="Killed", message="it died", time=NOW)
    text = describing.text(failing(), [event], NOW)
    for part in (
        "Ready:       False (ReplicaFailed)",
        "hint: look at the log",
        "predictor: sklearn model model.joblib, 1 replica\n",
        "iris-00001  Ready, 0% of the calls, 0/2 replicas, made 60s ago",
        "CrashLoopBackOff, 3 restarts",
        "start: 0.85 s (import 0.60, load 0.25)",
        "it ended with code 1",
        "      b: boom",
        "spec.x: has no effect",
        "Killed   it died",
    ):
        assert part in text


def test_a_description_of_what_has_only_been_applied_says_so() -> None:
    text = describing.text(item(url=""), [], NOW)
    assert text.count("none yet") == 3
    assert "Events:\n  none" in text


def test_an_idle_deployment_says_that_a_call_starts_a_replica() -> None:
    text = describing.text(item(revisions=(revision(1, phase="Idle", wanted={}, ready={}),)), [], NOW)
    assert "none, since nobody calls; the next call starts one" in text


def test_replicas_that_change_by_themselves_are_a_range() -> None:
    found = item()
    for scaling, words in ((Scaling(min_replicas=0, max_replicas=3), "0 to 3"), (Scaling(max_replicas=0), "any")):
        component = msgspec.structs.replace(found.spec.components[0], scaling=scaling)
        spec = msgspec.structs.replace(found.spec, components=(component,))
        assert words in describing.text(msgspec.structs.replace(found, spec=spec), [], NOW)


def test_why_something_is_not_ready_has_the_message_the_hint_and_the_last_lines() -> None:
    text, hint = describing.why_not_ready(failing())
    assert text.splitlines() == [
        "ReplicaFailed: no replica is ready",
        "iris-00001-r1: CrashLoopBackOff: it ended with code 1",
        "the last lines of iris-00001-r1:",
        "    a",
        "    b: boom",
    ]
    assert hint == "look at the log"


def test_a_version_not_yet_acted_on_is_not_ready() -> None:
    found = item(generation=2, conditions=(READY,))
    assert not watching.is_ready(found)
    assert "not yet acted" in describing.why_not_ready(found)[0]
    assert watching.is_ready(item(conditions=(READY,)))
    assert not watching.is_ready(None)


def test_only_the_newest_revision_can_have_failed_for_good() -> None:
    failed = revision(1, phase="Failed")
    assert watching.has_failed(item(revisions=(failed,), latest={"main": "iris-00001"}))
    assert not watching.has_failed(item(revisions=(failed,), latest={"main": "iris-00002"}))
    assert not watching.has_failed(item(generation=2, revisions=(failed,), latest={"main": "iris-00001"}))


def replica(phase: str, **fields: object) -> ReplicaStatus:
    return ReplicaStatus(name="r1", revision="iris-00001", component="predictor", phase=phase, **fields)  # type: ignore[arg-type]


def test_progress_tells_each_step_once() -> None:
    fetching = item(revisions=(revision(1, phase="Fetching"),))
    starting = item(revisions=(revision(1, phase="Starting"),), replicas=(replica("Starting", pid=7),))
    ready = item(
        revisions=(revision(1),), replicas=(replica("Ready", start_seconds={"load": 0.5}),), conditions=(READY,)
    )
    told = progress.said(None, fetching) + progress.said(fetching, starting) + progress.said(starting, ready)
    assert told == [
        "default/iris: iris-00001 fetches model.joblib",
        "default/iris: iris-00001 starts its replicas",
        "default/iris: r1 starts (pid 7)",
        "default/iris: iris-00001 is ready",
        "default/iris: r1 is ready after 0.50 s (load 0.50)",
    ]
    assert progress.said(ready, ready) == []


def test_progress_of_what_was_ready_before_is_silent() -> None:
    ready = item(revisions=(revision(1),), replicas=(replica("Ready"),), conditions=(READY,))
    assert progress.said(None, ready) == []


def test_progress_tells_problems() -> None:
    before = item(replicas=(replica("Starting"),))
    after = item(replicas=(replica("CrashLoopBackOff", restarts=2, problem=BROKEN),), conditions=(NOT_READY,))
    assert progress.said(before, after) == [
        "default/iris: r1 ended, and is started again soon (2 restarts so far)",
        "default/iris: r1: it ended with code 1",
        "default/iris: no replica is ready",
    ]


def test_a_plan_reads_as_what_changes_and_what_that_does() -> None:
    change = Change(path="components[0].scaling.min_replicas", before=1, after=2)
    gone = Change(path="labels.a", before="x")
    done = [
        Applied(key="default/a", action="created", effects=("makes revision a-00001",)),
        Applied(key="default/b", action="configured", changes=(change, gone)),
        Applied(key="default/c", action="unchanged"),
    ]
    assert plan.text(done) == [
        "+ default/a: created",
        "    -> makes revision a-00001",
        "~ default/b: configured",
        "    components[0].scaling.min_replicas: 1 -> 2",
        '    labels.a: "x" (removed)',
        "= default/c: no change",
        "to change: 1 created, 1 configured",
    ]
    assert plan.text(done[2:])[-1] == "nothing to change"


def test_a_rollout_says_who_has_which_share() -> None:
    found = item(
        conditions=(READY,),
        revisions=(revision(1, weight=75.0), revision(2, weight=25.0)),
        latest={"main": "iris-00002"},
        rolled_out={"main": "iris-00001"},
    )
    report = {
        "rollout": {
            "candidate": "iris-00002",
            "stable": "iris-00001",
            "phase": "progressing",
            "decision": "hold",
            "weight": 25.0,
            "mirrorPercent": 10.0,
            "step": 2,
            "steps": [{}, {}, {}],
            "reason": "too few calls",
            "pausedBy": "user",
            "falseAlarm": 0.05,
            "gates": [{"kind": "latency", "outcome": "fail", "sentence": "p95 is twice that"}],
        },
        "problem": "the disk is full",
    }
    assert rollout.status_text(found, report) == [
        "iris-00002 has 25% of the calls; iris-00001 has 75%",
        "iris-00002 against iris-00001: progressing, step 2 of 3, 25 % of the calls, copies of 10 %",
        "  hold: too few calls",
        "  paused by somebody; `tiffin rollout resume` goes on",
        "  FAIL  p95 is twice that",
        "  an equal revision is rolled back with a chance of at most 0.05",
        "",
        "problem: the disk is full",
    ]
    assert rollout.status_text(found, {}) == ["iris-00002 has 25% of the calls; iris-00001 has 75%"]


def test_a_revision_that_shares_calls_again_is_not_called_rolled_out() -> None:
    shares = (revision(1, weight=80.0), revision(2, weight=20.0))
    found = item(
        conditions=(READY,), revisions=shares, latest={"main": "iris-00002"}, rolled_out={"main": "iris-00002"}
    )
    assert rollout.status_text(found, {}) == ["iris-00002 has 20% of the calls; iris-00001 has 80%"]
    assert not rollout._is_over(found)
    alone = item(
        conditions=(READY,),
        revisions=(revision(1, weight=0.0), revision(2, weight=100.0)),
        latest={"main": "iris-00002"},
        rolled_out={"main": "iris-00002"},
    )
    assert rollout.status_text(alone, {}) == ["iris-00002 is rolled out"]
    assert rollout._is_over(alone)


def test_a_history_has_revisions_that_serve_no_more_too() -> None:
    known = [
        RevisionSummary(
            name=f"iris-{n:05d}", number=n, variant="main", created=NOW - 60, serves={"predictor": f"m{n}"}
        )
        for n in (1, 2)
    ]
    found = item(revisions=(revision(2, weight=100.0, tags=("latest",)),))
    assert [line.split() for line in rollout.history(found, known, NOW)] == [
        ["NUMBER", "REVISION", "VARIANT", "PHASE", "TRAFFIC", "TAGS", "AGE", "SERVES"],
        ["2", "iris-00002", "main", "Ready", "100%", "latest", "60s", "m2"],
        ["1", "iris-00001", "main", "-", "-", "-", "60s", "m1"],
    ]


def test_tables_can_fit_below_each_other() -> None:
    widths: list[int] = []
    rendering.table(("A", "B"), [("long", "x")], widths=widths)
    assert rendering.table(("A", "B"), [("y", "longer")], widths=widths)[1] == "y      longer"
    assert widths == [4, 6]


TALLY = {
    "compared": 200,
    "equal": 190,
    "differencesByPath": {"outputs[*].data": 9, "": 1},
    "statuses": {"200 200": 199, "200 500": 1},
    "latency": {
        "reference": {"calls": 200, "p50": 1.234, "p99": 10.0, "buckets": [[1.0, 100], [2.0, 100]]},
        "shadow": {"calls": 200, "p50": 2.5, "p99": None, "buckets": [[3.0, 200]]},
    },
    "examples": [
        {"id": "7", "path": "/v2", "request": "<script>alert(1)</script>", "reference": "[1]", "shadow": "[2]"}
    ],
    "minutes": [[10, 100, 100], [11, 100, 90]],
}


def test_a_comparison_says_how_much_where_and_shows_an_example() -> None:
    assert judging.text({"shadows": [{"revision": "iris-00002", **TALLY}]}) == [
        "iris-00002 compared with the stable one:",
        "  190 of 200 answers equal (95.00%)",
        "  they differ at:",
        "    outputs[*].data: 9",
        "    the whole answer: 1",
        "  status 200 became 500: 1",
        "  LATENCY   STABLE    COMPARED",
        "  p50       1.23 ms   2.5 ms",
        "  p99       10 ms     - ms",
        "  for example /v2 (call 7):",
        "    asked:    <script>alert(1)</script>",
        "    stable:   [1]",
        "    compared: [2]",
    ]
    assert judging.text({"deployment": "default/iris", "time": 1.0, "shadows": []}) == []


def test_in_short_a_comparison_is_how_much_and_where_to_look() -> None:
    assert judging.text({"shadows": [{"revision": "iris-00002", **TALLY}]}, name="iris") == [
        "iris-00002 compared with the stable one:",
        "  190 of 200 answers equal (95.00%)",
        "  `tiffin shadow report iris` shows where, and examples",
    ]


def test_a_replay_says_what_was_sent_and_what_was_not() -> None:
    report = {"deployment": "a/b", "against": "b-00002", "sent": 5, "seconds": 0.25, "leftOut": {"too large": 2}}
    assert judging.replay(report) == [
        "sent 5 recorded calls of a/b to b-00002 in 0.25 s",
        "  2 left out: too large",
        "  no answers were compared yet",
    ]


@pytest.mark.parametrize("report", [{"shadows": [{"revision": "r", **TALLY}]}, {"against": "r", **TALLY}])
def test_a_page_plots_it_and_runs_nothing_of_it(report: dict[str, object]) -> None:
    page = plots.page("iris & co", report)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "iris &amp; co" in page
    # Two lines of latency, one of agreement.
    assert page.count("<polyline") == 3
    ElementTree.fromstring(page.partition("\n")[2].replace('<meta charset="utf-8">', ""))


def test_a_page_of_nothing_says_so() -> None:
    assert "Nothing was compared yet" in plots.page("x", {"deployment": "a/b"})

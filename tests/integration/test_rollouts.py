"""Rollouts and shadows with everything real: controller, Envoy, replicas, callers."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.slow

CLASS = """
import os
import random


class Labels:
    def __init__(self):
        self.errors = float(os.environ.get("ERRORS", "0"))
        self.label = os.environ.get("LABEL", "cat")

    def predict(self, X, names=None, meta=None):
        if random.random() < self.errors:
            raise RuntimeError("bad luck")
        return [self.label for _ in X]
"""
FILE = """
apiVersion: tiffin.dev/v1
kind: Deployment
metadata: {{name: labels}}
spec:
  class: {{target: "model:Labels", directory: .}}
  env: {{ERRORS: "{errors}", LABEL: "{label}"}}
{more}
"""
STEPS = """
  rollout:
    steps: [{weight: 20%, for: 2s}, {weight: 50%, for: 2s}]
"""
PATIENT = """
  rollout:
    steps: [{weight: 20%, for: 3s}, {weight: 50%, pause: true}, {weight: 80%, for: 60s}]
    gates: {}
"""
LONG = """
  rollout:
    steps: [{weight: 20%, for: 600s}, {weight: 50%, for: 600s}, {weight: 80%, for: 600s}]
    gates: {errorRate: 50%}
"""
FRONT = """
import json
import os
import urllib.request


class Front:
    def predict(self, X, names=None, meta=None):
        url = f"http://{os.environ['PREDICTOR_HOST']}/api/v1.0/predictions"
        body = json.dumps({"data": {"ndarray": [[1]]}}).encode()
        asked = urllib.request.Request(url, body, {"content-type": "application/json"})
        with urllib.request.urlopen(asked, timeout=10) as answer:
            label = json.load(answer)["data"]["ndarray"][0]
        return [os.environ["FRONT"] + " asked " + label for _ in X]
"""
CHAINED = """
apiVersion: tiffin.dev/v1
kind: Deployment
metadata: {name: chained}
spec:
  class: {target: "model:Labels", directory: .}
  env: {LABEL: a}
  transformer: {class: {target: "front:Front", directory: .}, env: {FRONT: a}}
  variants:
    other:
      class: {target: "model:Labels", directory: .}
      weight: 50%
      env: {LABEL: b}
      transformer: {class: {target: "front:Front", directory: .}, env: {FRONT: b}}
"""
AGREEMENT = """
  rollout:
    steps: [{weight: 0%, for: 2s}, {weight: 50%, for: 2s}]
    mirror: 100%
    gates: {agreement: 99%, errorRate: 1%}
"""
SHADOW = """
  record: true
  variants:
    next:
      class: {target: "model:Labels", directory: .}
      env: {LABEL: "dog"}
      mirror: 100%
"""


class Callers:
    """Some callers, until told to stop; they count answers by status and label."""

    def __init__(self, base: str) -> None:
        self.counts: Counter[tuple[int, str]] = Counter()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(base,)) for _ in range(3)]
        for thread in self._threads:
            thread.start()

    def _call(self, base: str) -> None:
        with httpx.Client(base_url=base, timeout=20) as client:
            while not self._stop.wait(0.01):
                answer = client.post("/default/labels/api/v1.0/predictions", json={"data": {"ndarray": [[1]]}})
                label = answer.json()["data"]["ndarray"][0] if answer.status_code == 200 else ""
                self.counts[answer.status_code, label] += 1

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)


class Platform:
    """One controller in a home of its own, and the command line."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = os.environ | {"TIFFIN_HOME": str(home / "data"), "COLUMNS": "200"}
        (home / "model.py").write_text(CLASS)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.base = f"http://127.0.0.1:{self.port}"

    def tiffin(self, *arguments: str, expect: int | None = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "tiffin", *arguments],
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert expect is None or done.returncode == expect, done.stdout + done.stderr + self.log()
        return done.stdout

    def log(self) -> str:
        path = self.home / "data" / "logs" / "up.log"
        return path.read_text() if path.exists() else ""

    def apply(self, more: str = "", *, errors: float = 0.0, label: str = "cat") -> None:
        path = self.home / "labels.yaml"
        path.write_text(FILE.format(errors=errors, label=label, more=more))
        self.tiffin("apply", "-f", str(path))

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.tiffin("shadow", "report", "labels", "--json"))
        return found

    def until(self, ask: Callable[[dict[str, Any]], Any], seconds: float = 60) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while True:
            report = self.report()
            with contextlib.suppress(KeyError, IndexError):
                if ask(report):
                    return report
            assert time.monotonic() < deadline, json.dumps(report)[:3000] + self.log()[-2000:]
            time.sleep(0.2)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    pytest.importorskip("aiohttp")
    made = Platform(tmp_path_factory.mktemp("rollouts"))
    try:
        made.tiffin("up", "-d", "--port", str(made.port))
        made.apply()
        made.tiffin("wait", "labels", "--for=condition=Ready")
        yield made
    finally:
        made.tiffin("down", expect=None)


@pytest.fixture
def callers(platform: Platform) -> Iterator[Callers]:
    made = Callers(platform.base)
    try:
        yield made
    finally:
        made.stop()


def test_a_bad_canary_is_rolled_back_by_itself_and_the_stable_one_goes_on(
    platform: Platform, callers: Callers
) -> None:
    platform.apply(STEPS, errors=0.2, label="bad")
    report = platform.until(lambda told: told["rollout"]["phase"] == "rolled-back")
    told = report["rollout"]
    assert (told["decision"], told["weight"]) == ("roll back", 0)
    failing = next(gate for gate in told["gates"] if gate["outcome"] == "fail")
    assert failing["evidence"] >= 1 / failing["bound"]
    assert failing["canary"]["low"] > failing["stable"]["high"] or failing["canary"]["hits"] > 5
    events = platform.tiffin("events", "labels")
    assert "RolledBack" in events
    assert "canary failed" in events
    before = callers.counts.copy()
    deadline = time.monotonic() + 20
    while callers.counts[200, "cat"] < before[200, "cat"] + 200:
        assert time.monotonic() < deadline, callers.counts
        time.sleep(0.05)
    # What was on its way is answered; then nobody meets the bad one any more.
    settled = callers.counts.copy()
    assert settled[200, "bad"] - before[200, "bad"] + settled[500, ""] - before[500, ""] <= 10
    assert {status for status, _ in settled} <= {200, 500}


def test_a_good_canary_is_promoted_step_by_step_and_nobody_notices(platform: Platform, callers: Callers) -> None:
    platform.apply(STEPS, label="better")
    platform.until(lambda told: told["rollout"]["phase"] == "promoted")
    deadline = time.monotonic() + 20
    start = callers.counts[200, "better"]
    while callers.counts[200, "better"] < start + 100:
        assert time.monotonic() < deadline, callers.counts
        time.sleep(0.05)
    assert {status for status, _ in callers.counts} == {200}
    assert "step 2 of 2: 50 % of the calls" in platform.tiffin("events", "labels")


def test_people_pause_resume_undo_and_promote_under_load_and_the_report_says_so(
    platform: Platform, callers: Callers
) -> None:
    def is_at(step: int, phase: str) -> Callable[[dict[str, Any]], bool]:
        return lambda told: (told["rollout"]["step"], told["rollout"]["phase"]) == (step, phase)

    platform.apply(PATIENT, label="slow")
    platform.until(is_at(1, "progressing"))
    assert "waits until it is resumed" in platform.tiffin("rollout", "pause", "labels")
    paused = platform.until(is_at(1, "paused"))["rollout"]
    assert (paused["pausedBy"], paused["weight"]) == ("user", 20)
    first = callers.counts[200, "slow"]
    deadline = time.monotonic() + 4  # Longer than the step.
    while time.monotonic() < deadline:
        assert is_at(1, "paused")(platform.report())
    assert callers.counts[200, "slow"] > first  # It keeps its share.
    assert "goes on" in platform.tiffin("rollout", "resume", "labels")
    platform.until(is_at(2, "paused"))  # The step's own pause.
    platform.tiffin("rollout", "undo", "labels")
    told = platform.report()["rollout"]  # At once.
    assert (told["phase"], told["reason"]) == ("rolled-back", "somebody rolled it back")
    refused = platform.tiffin("rollout", "resume", "labels", expect=None)
    assert "goes on" not in refused
    settled = callers.counts[200, "slow"]
    start = callers.counts.total()
    deadline = time.monotonic() + 20
    while callers.counts.total() < start + 200:
        assert time.monotonic() < deadline, callers.counts
        time.sleep(0.05)
    assert callers.counts[200, "slow"] - settled <= 10
    platform.apply(PATIENT, label="chosen")
    platform.until(
        lambda told: told["rollout"]["candidate"] != paused["candidate"] and is_at(1, "progressing")(told)
    )
    assert "gets all calls" in platform.tiffin("rollout", "promote", "labels")
    told = platform.report()["rollout"]
    assert (told["phase"], told["weight"], told["reason"]) == ("promoted", 100, "somebody promoted it")
    start = callers.counts[200, "chosen"]
    while callers.counts[200, "chosen"] < start + 100:
        assert time.monotonic() < deadline + 30, callers.counts
        time.sleep(0.05)
    assert {status for status, _ in callers.counts} == {200}


def test_mirrored_answers_that_differ_roll_back_before_any_caller_sees_them(
    platform: Platform, callers: Callers
) -> None:
    platform.apply(AGREEMENT, label="other")
    report = platform.until(lambda told: told["rollout"]["phase"] == "rolled-back")
    assert "mirrored answers are equal" in report["rollout"]["reason"]
    assert callers.counts[200, "other"] == 0
    candidate = report["rollout"]["candidate"]
    (told,) = [shadow for shadow in report["shadows"] if shadow["revision"] == candidate]
    assert told["compared"] >= 50
    assert told["equal"] == 0
    assert told["examples"][0]["differences"][0]["shadow"] == '"other"'


def test_a_shadow_with_other_labels_is_reported_with_examples_and_replayed(
    platform: Platform, callers: Callers
) -> None:
    platform.apply(SHADOW)
    platform.tiffin("wait", "labels", "--for=condition=Ready")

    def of_next(told: dict[str, Any]) -> dict[str, Any]:
        return next((shadow for shadow in told["shadows"] if shadow["variant"] == "next"), {})

    report = platform.until(lambda told: of_next(told).get("compared", 0) >= 50)
    shadow = of_next(report)
    assert shadow["differencesByPath"] == {"data.ndarray[*]": shadow["compared"]}
    # The first ones may be compared with the revision that served until this one was ready.
    found = [difference for example in shadow["examples"] for difference in example["differences"]]
    assert {"path": "data.ndarray[0]", "reference": '"cat"', "shadow": '"dog"'} in found
    assert callers.counts[200, "dog"] == 0
    page = platform.home / "report.html"
    platform.tiffin("shadow", "report", "labels", "--html", str(page))
    assert "<svg" in page.read_text()
    assert "<script" not in page.read_text()
    callers.stop()
    pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'tiffin[record]'")
    replayed = json.loads(
        platform.tiffin("replay", "labels", "--against", shadow["revision"], "--limit", "40", "--json")
    )
    assert (replayed["sent"], replayed["failed"]) == (40, {})
    assert replayed["equal"] < replayed["compared"] == 40
    assert platform.report()["recording"]["files"]


def calls(told: dict[str, Any]) -> int:
    """The canary's, of this step."""
    return int(told["rollout"]["gates"][0]["canary"]["calls"])


def latest(platform: Platform) -> list[tuple[str, float]]:
    """The revisions there are, and their shares."""
    told = json.loads(platform.tiffin("get", "labels", "-o", "json"))
    return [(one["name"], one["weight"]) for one in told["status"]["revisions"]]


def numbers(platform: Platform) -> list[str]:
    """Of all revisions that are known."""
    return [line.split()[0] for line in platform.tiffin("rollout", "history", "labels").splitlines()]


def kill(platform: Platform) -> None:
    """End the controller as a crash would, and start another one."""
    state = json.loads((platform.home / "data" / "run" / "state.json").read_text())
    os.kill(state["owner"]["pid"], signal.SIGKILL)
    platform.tiffin("up", "-d", "--port", str(platform.port))


def restart(platform: Platform) -> None:
    platform.tiffin("down")
    platform.tiffin("up", "-d", "--port", str(platform.port))


def test_a_rollout_goes_on_with_its_step_and_its_evidence_when_the_controller_is_killed(
    platform: Platform, callers: Callers
) -> None:
    platform.apply(LONG, label="long")
    before = platform.until(lambda told: told["rollout"]["weight"] == 20 and calls(told) >= 20)["rollout"]
    kill(platform)
    after = platform.until(calls)["rollout"]
    assert (after["step"], after["weight"], after["phase"]) == (before["step"], 20, "progressing")
    assert after["started"] == before["started"]
    assert after["gates"][0]["canary"]["calls"] >= before["gates"][0]["canary"]["calls"]
    names = [name for name, weight in latest(platform) if weight]
    assert len(names) == 2
    # What it sees of calls after the restart counts on.
    platform.until(lambda told: calls(told) >= after["gates"][0]["canary"]["calls"] + 20)
    assert {status for status, _ in callers.counts} == {200}
    platform.tiffin("rollout", "undo", "labels")


@pytest.mark.parametrize("again", [kill, restart])
def test_a_revision_that_was_rolled_back_stays_so_under_the_next_controller(
    platform: Platform, again: Callable[[Platform], None]
) -> None:
    calling = Callers(platform.base)
    try:
        earlier = (platform.report().get("rollout") or {}).get("candidate")
        platform.apply(STEPS, errors=1.0, label=f"bad-{again.__name__}")
        platform.until(
            lambda told: (
                (told["rollout"]["phase"], told["rollout"]["candidate"] == earlier) == ("rolled-back", False)
            )
        )
    finally:
        calling.stop()
    known = numbers(platform)
    again(platform)
    platform.tiffin("wait", "labels", "--for=condition=Routed", "--timeout", "60s")
    platform.apply(STEPS, errors=1.0, label=f"bad-{again.__name__}")
    with httpx.Client(base_url=platform.base, timeout=20) as client:
        body = {"data": {"ndarray": [[1]]}}
        answers = [client.post("/default/labels/api/v1.0/predictions", json=body) for _ in range(60)]
    assert {answer.status_code for answer in answers} == {200}
    told = json.loads(platform.tiffin("get", "labels", "-o", "json"))["status"]
    ready = next(one for one in told["conditions"] if one["type"] == "Ready")
    assert ready["reason"] == "RolledBack"
    assert numbers(platform) == known


def test_the_transformer_of_a_variant_asks_its_own_predictor(platform: Platform) -> None:
    (platform.home / "front.py").write_text(FRONT)
    (platform.home / "chained.yaml").write_text(CHAINED)
    platform.tiffin("apply", "-f", "chained.yaml", "--wait", "--timeout", "60s")
    seen: Counter[str] = Counter()
    with httpx.Client(base_url=platform.base, timeout=20) as client:
        for _ in range(60):
            answer = client.post("/default/chained/api/v1.0/predictions", json={"data": {"ndarray": [[1]]}})
            assert answer.status_code == 200, answer.text
            seen[answer.json()["data"]["ndarray"][0]] += 1
    platform.tiffin("delete", "chained")
    assert seen.keys() == {"a asked a", "b asked b"}

"""The commands that ask a controller, as processes, against a real one with real replicas."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from tiffin.client import Client, Place
from tiffin.plan.objects import Source

pytestmark = pytest.mark.slow

ISVC = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {{name: {name}}}
spec:
  predictor:
    minReplicas: {replicas}
    maxReplicas: 3
    model:
      modelFormat: {{name: sklearn}}
      protocolVersion: v2
      runtime: kserve-sklearnserver
      storageUri: {model}
"""
BROKEN = """
apiVersion: tiffin.dev/v1
kind: Deployment
metadata: {{name: boom}}
spec:
  class: {{target: "boom:Boom", directory: {directory}}}
"""


class Home:
    """A data directory of its own, and the commands that use it."""

    def __init__(self, root: Path, model: Path) -> None:
        self.root = root
        self.model = model
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TIFFIN_")},
            "TIFFIN_HOME": str(root / "home"),
        }

    def run(
        self, *arguments: object, code: int = 0, text: str = "", **more: str
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tiffin", *map(str, arguments)]
        environment = self.environment | more
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=120, env=environment, cwd=self.root
        )
        assert done.returncode == code, f"{' '.join(command[2:])}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def file(self, name: str = "iris", replicas: int = 1) -> Path:
        path = self.root / f"{name}-{replicas}.yaml"
        path.write_text(ISVC.format(name=name, replicas=replicas, model=self.model))
        return path

    def columns(self, *arguments: object) -> dict[str, str]:
        head, row = self.run(*arguments).stdout.splitlines()
        return dict(zip(re.split(r" {2,}", head), re.split(r" {2,}", row), strict=True))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory, iris_model: Path) -> Iterator[Home]:
    """With a controller that runs nothing yet."""
    home = Home(tmp_path_factory.mktemp("cli"), iris_model)
    home.run("up", "-d", "--port", 0, "--api", "127.0.0.1:0")
    try:
        yield home
    finally:
        home.run("down")
        assert not [process for process in psutil.process_iter(["cmdline"]) if _is_of(process, home)]


def _is_of(process: psutil.Process, home: Home) -> bool:
    return any(str(home.root / "home") in part for part in process.info["cmdline"] or ())


@pytest.fixture(scope="module")
def home(empty: Home) -> Home:
    """With a controller that runs ``iris``."""
    done = empty.run("apply", "-f", empty.file(), "--wait")
    assert "default/iris created\n" in done.stdout
    assert "default/iris is ready at http://127.0.0.1:" in done.stdout
    assert re.search(r"default/iris: iris-00001-predictor-\S+ is ready after .*load", done.stderr)
    return empty


def test_what_runs_is_a_row_with_its_address(home: Home) -> None:
    row = home.columns("get", "iris")
    url = row.pop("URL")
    assert row.pop("AGE")
    assert row == {
        "NAME": "iris",
        "READY": "True",
        "REVISION": "iris-00001",
        "TRAFFIC": "iris-00001=100%",
        "REPLICAS": "1/1",
    }
    assert home.run("get", "iris", "-o", "jsonpath={.status.url}").stdout == f"{url}\n"
    for words in (["isvc", "iris"], ["deployments/iris"], ["isvc"], ["default/iris"], ["iris", "-n", "default"]):
        assert home.columns("get", *words)["NAME"] == "iris"
    assert home.run("get", "-o", "name").stdout == "deployments/iris\n"


def test_the_object_is_in_the_words_of_its_own_system(home: Home) -> None:
    found = yaml.safe_load(home.run("get", "isvc", "iris", "-o", "yaml").stdout)
    assert found["kind"] == "InferenceService"
    conditions = {one["type"]: one["status"] for one in found["status"]["conditions"]}
    assert (conditions["Ready"], conditions["PredictorReady"]) == ("True", "True")
    listed = json.loads(home.run("get", "--json").stdout)
    assert [item["metadata"]["name"] for item in listed["items"]] == ["iris"]
    neutral = json.loads(home.run("describe", "iris", "--json").stdout)
    assert neutral["status"]["conditions"][0]["type"] == "Ready"
    assert neutral["events"]


def test_what_it_prints_can_be_applied_again_unless_somebody_was_faster(home: Home) -> None:
    seen = home.run("get", "isvc", "iris", "-o", "yaml").stdout
    assert home.run("apply", "-f", "-", text=seen).stdout == "default/iris unchanged\n"
    home.run("scale", "iris", "--max", "2")
    changed = seen.replace("maxReplicas: 3", "maxReplicas: 4")
    lost = home.run("apply", "-f", "-", text=changed, code=1)
    assert "was changed by somebody else" in lost.stderr
    assert lost.stdout == ""
    home.run("apply", "-f", "-", "--force", text=changed)
    home.run("apply", "-f", home.file())


def test_a_plan_and_a_diff_say_what_would_change_by_their_exit_codes_too(home: Home) -> None:
    assert home.run("plan", "-f", home.file()).stdout.endswith("nothing to change\n")
    assert home.run("diff", "-f", home.file()).stdout == ""
    planned = home.run("plan", "-f", home.file(replicas=2), code=2).stdout
    assert "~ default/iris: configured" in planned
    assert "min_replicas: 1 -> 2" in planned
    different = home.run("diff", "-f", home.file(replicas=2), code=1).stdout
    assert "-    minReplicas: 1\n+    minReplicas: 2\n" in different
    assert home.run("plan", "-f", home.file("other"), code=2).stdout.startswith("+ default/other: created")
    assert "+kind: InferenceService" in home.run("diff", "-f", home.file("other"), code=1).stdout
    home.run("plan", "-f", "missing.yaml", code=1)
    home.run("diff", "-f", "missing.yaml", code=2)
    # Nothing of this was done.
    assert home.columns("get")["REPLICAS"] == "1/1"


def test_a_description_has_conditions_revisions_replicas_and_events(home: Home) -> None:
    text = home.run("describe", "iris").stdout
    for part in (
        "Ready:       True",
        "iris-00001  Ready, 100% of the calls",
        "start: ",
        "ReplicaReady",
        "curl http",
    ):
        assert part in text


def test_replicas_revisions_events_runtimes_and_use_are_tables(home: Home) -> None:
    assert home.columns("get", "replicas", "iris")["PHASE"] == "Ready"
    assert home.columns("get", "revisions", "iris")["REVISION"] == "iris-00001"
    assert "kserve-sklearnserver" in home.run("get", "runtimes").stdout
    assert "TrafficChanged" in home.run("events", "iris").stdout
    assert home.columns("top", "iris")["DEPLOYMENT"] == "default/iris"
    assert "ready" in home.run("logs", "iris").stdout
    assert home.columns("rollout", "history", "iris")["NUMBER"] == "1"
    assert home.run("rollout", "status", "iris").stdout.startswith("iris-00001 is rolled out\n")


def test_the_number_of_replicas_changes_and_can_be_waited_for(home: Home) -> None:
    assert (
        home.run("scale", "iris", "--replicas", "2").stdout == "the predictor of default/iris has 2 replicas now\n"
    )
    copies = "jsonpath={.status.modelStatus.copies.totalCopies}=2"
    assert "default/iris has" in home.run("wait", "iris", f"--for={copies}", "--timeout", "60s").stdout
    home.run("apply", "-f", home.file())


def test_what_is_not_there_is_told_with_what_could_be_meant(home: Home) -> None:
    for command in ("get", "describe", "logs", "wait", "delete"):
        done = home.run(command, "irsi", code=1)
        assert done.stderr == (
            "error: there is no deployment irsi in namespace default\n\nhint: did you mean default/iris?\n"
        )
    assert "add -A or -n" in home.run("get", "-n", "elsewhere").stderr
    assert "is no seldon deployment" in home.run("get", "sdep", "iris", code=1).stderr


def test_a_class_that_raises_is_told_by_apply_wait_and_describe(home: Home) -> None:
    raising = "def __init__(self): raise RuntimeError('no luck today')"
    (home.root / "boom.py").write_text(f"class Boom:\n    {raising}\n    def predict(self, X): return X\n")
    file = home.root / "boom.yaml"
    file.write_text(BROKEN.format(directory=home.root))
    applied = home.run("apply", "-f", file, "--wait", "--timeout", "60s", code=1)
    assert "default/boom created" in applied.stdout
    waited = home.run("wait", "boom", "--timeout", "1s", code=1)
    for said in (applied.stderr, waited.stderr, home.run("describe", "boom").stdout):
        assert "no luck today" in said
        assert "the last lines of" in said or "last lines:" in said
    assert home.columns("get", "boom")["READY"] == "False"
    # The other one is as it was.
    assert home.columns("get", "iris")["READY"] == "True"
    assert home.run("delete", "boom").stdout == "default/boom deleted\n"
    home.run("wait", "boom", "--for=delete", "--timeout", "20s")


def test_of_two_that_apply_the_same_file_at_once_none_is_lost(home: Home) -> None:
    command = [sys.executable, "-m", "tiffin", "apply", "-f", str(home.file("twice"))]
    both = [
        subprocess.Popen(command, env=home.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = sorted(process.communicate(timeout=60)[0] for process in both)
    assert said == ["default/twice created\n", "default/twice unchanged\n"]
    home.run("delete", "twice")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &a [*a]", "an anchor contains itself"),
        (
            "apiVersion: tiffin.dev/v1\nkind: Deployment\nmetadata: {name: a}\nspec:\n\tmodel: x\n",
            "standard input:5",
        ),
        ("x" * 2_000_000, "at most 1048576 bytes"),
        ("apiVersion: v9\nkind: Nope\n", "the kinds are"),
        ("", "expected a document"),
    ],
    ids=["anchors", "tab", "too long", "unknown kind", "nothing"],
)
def test_a_bad_file_is_refused_with_its_place_and_nothing_is_applied(home: Home, text: str, said: str) -> None:
    done = home.run("apply", "-f", "-", text=text, code=1)
    assert said in done.stderr
    assert "unexpected" not in done.stderr
    assert done.stdout == ""


def test_over_tcp_the_token_opens_it(home: Home) -> None:
    log = (home.root / "home" / "logs" / "up.log").read_text()
    address = re.search(r"the API is at (http://\S+),", log)
    assert address
    refused = home.run("get", code=1, TIFFIN_API=address[1])
    assert "expected the token" in refused.stderr
    token = (home.root / "home" / "api-token").read_text()
    assert "iris" in home.run("get", TIFFIN_API=address[1], TIFFIN_TOKEN=token).stdout


def test_a_second_controller_is_refused_in_the_background_too(home: Home) -> None:
    assert "already runs" in home.run("up", "-d", "--port", 0, code=3).stderr


def test_a_killed_controller_is_missed_by_no_replica_and_the_next_goes_on(home: Home) -> None:
    before = home.columns("get", "replicas", "iris", "-o", "wide")["PID"]
    state = json.loads((home.root / "home" / "run" / "state.json").read_text())
    controller = psutil.Process(state["owner"]["pid"])
    controller.send_signal(signal.SIGKILL)
    psutil.wait_procs([controller], timeout=10)
    lost = home.run("get", code=1)
    assert "one was killed there" in lost.stderr
    assert "`tiffin up -d` takes that over" in lost.stderr
    assert "adopted" in home.run("up", "-d", "--port", 0, "--api", "127.0.0.1:0").stderr
    assert home.columns("get", "replicas", "iris", "-o", "wide")["PID"] == before


def test_a_start_that_fails_is_told_in_the_foreground(tmp_path: Path) -> None:
    home = Home(tmp_path, tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = home.run("up", "-d", "--port", port, code=3)
    assert f"port {port} on 127.0.0.1 is in use" in done.stderr
    assert "hint:" in done.stderr
    assert done.stdout == ""


def test_without_a_controller_commands_say_how_to_start_one(tmp_path: Path) -> None:
    home = Home(tmp_path, tmp_path)
    for arguments in (["get"], ["describe", "iris"], ["top"], ["events"], ["apply", "-f", str(tmp_path)]):
        done = home.run(*arguments, code=1)
        assert done.stderr.endswith("hint: start one: tiffin up -d\n")
    assert home.run("doctor").stdout.count("\n") >= 8


def test_the_doctor_looks_at_everything(home: Home) -> None:
    found = {one["check"]: one["level"] for one in json.loads(home.run("doctor", "--json").stdout)}
    assert set(found) >= {"python", "envoy", "aiohttp", "formats", "home", "disk", "controller", "port", "memory"}
    assert (found["envoy"], found["controller"]) == ("ok", "ok")


def test_a_watch_of_a_real_controller_goes_up_one_by_one_and_ends_as_the_list_says(home: Home) -> None:
    client = Client(Place(unix=home.root / "home" / "api.sock"))
    since = client.list().resource_version
    watch = client.watch(since)
    source = Source(path=str(home.file("seen")))
    client.apply([source])
    versions = [since]
    last = None
    for change in watch:
        if change.object.metadata.name != "seen":
            continue
        if change.type == "DELETED":
            break
        versions.append(change.object.metadata.resource_version)
        last = change.object
        if last.status.is_ready:
            client.delete("default/seen")
    assert versions == sorted(set(versions))
    assert last is not None
    assert last.spec.name == "seen"
    assert "default/seen" not in [item.spec.key for item in client.list().items]

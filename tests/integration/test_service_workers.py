"""A service in several workers: its hooks, its options and its metrics, through real processes."""

import json
import re
import urllib.request

import tiffin

SERVICE = """
import os
from pathlib import Path

import tiffin
from tiffin import metrics

HERE = Path(__file__).parent
given = tiffin.use_arguments()
calls = metrics.Counter("my_calls", "Calls of mine.", ["kind"])


TOLD = {"name": "TOLD", "value": "yes"}


@tiffin.service(workers=2, path_prefix="/v1", envs=[TOLD], metrics={"namespace": "mine"})
class Busy:
    @tiffin.on_deployment
    def deploy():
        with open(HERE / "deployed", "a") as file:
            file.write("once;")

    def __init__(self):
        assert (HERE / "deployed").read_text() == "once;", "an instance was made before the deployment's hook ran"

    @tiffin.api
    def who(self) -> dict:
        calls.labels("who").inc()
        with tiffin.monitor("who") as noted:
            noted.log(1, name="n", role="feature", data_type="numerical")
        return {"pid": os.getpid(), "told": os.environ["TOLD"], "given": given.name}
"""


def ask(url, body=None):
    with urllib.request.urlopen(url, data=body, timeout=20) as answer:
        return answer.read().decode()


def test_workers_share_hooks_options_and_metrics(tmp_path, monkeypatch):
    (tmp_path / "busy_service.py").write_text(SERVICE)
    monkeypatch.chdir(tmp_path)
    with tiffin.serve("busy_service:Busy", port=0, args={"name": "n"}, working_dir=tmp_path) as server:
        answers = []
        while len({answer["pid"] for answer in answers}) < 2:
            answers.append(json.loads(ask(f"{server.url}/v1/who", b"{}")))
            assert len(answers) < 500, "expected two workers to answer"
        assert {(answer["told"], answer["given"]) for answer in answers} == {("yes", "n")}
        assert (tmp_path / "deployed").read_text() == "once;"
        assert ask(f"{server.url}/v1/readyz") == ask(f"{server.url}/v1/livez") == "\n"
        page = ask(f"{server.url}/metrics")
        assert f'my_calls_total{{kind="who"}} {len(answers)}.0' in page
        [count] = re.findall(r'^mine_request_total\{.*endpoint="/v1/who",.*\} (\S+)$', page, re.MULTILINE)
        assert float(count) == len(answers)
        assert re.search(r'mine_request_duration_seconds_bucket\{.*runner_name="Busy"', page)
    noted = [
        line for file in (tmp_path / "monitoring/who/data").iterdir() for line in file.read_text().splitlines()
    ]
    assert len(noted) == len(answers)

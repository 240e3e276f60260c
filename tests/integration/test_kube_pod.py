"""The containers of a pod as a kubelet starts them, as processes: fetched, served, probed and drained."""

import contextlib
import functools
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import joblib
import pytest
import yaml
from sklearn.tree import DecisionTreeClassifier

from tiffin.dialects import live
from tiffin.kits import ports
from tiffin.kube.capabilities import Capabilities
from tiffin.kube.placement import fresh
from tiffin.kube.render import replica, workloads
from tiffin.kube.settings import Settings

ISVC = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: trees}
spec:
  predictor:
    model:
      modelFormat: {name: sklearn}
      storageUri: URI
      env: [{name: PRICE, value: "$(HOME)/5"}]
"""
CLASSES = """
apiVersion: tiffin.dev/v1
kind: Deployment
metadata: {name: doubled}
spec:
  class: {bundle: "registry.example.com/team/doubled:1", parameters: {more: 1.0}}
"""
SELDONS = """
apiVersion: machinelearning.seldon.io/v1
kind: SeldonDeployment
metadata: {name: numbers}
spec:
  predictors:
  - name: main
    componentSpecs: [{spec: {containers: [{name: doubler, image: "registry.example.com/team/doubled:1"}]}}]
    graph: {name: doubler, type: MODEL, parameters: [{name: more, value: "0.5", type: FLOAT}]}
"""
TENSORS = b'{"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [2.0]}]}'
CLASS = """
class Doubled:
    def __init__(self, more=0.0):
        self.more = more

    def predict(self, X, names=None, meta=None):
        return [[2 * X[0][0] + self.more]]
"""


@pytest.fixture
def web(tmp_path):
    """A web server with a model."""
    directory = tmp_path / "web"
    directory.mkdir()
    joblib.dump(DecisionTreeClassifier().fit([[0.0], [1.0]], [3, 7]), directory / "model.joblib")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=directory))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class Pod:
    """What a kubelet does with a PodSpec, for the parts that these tests need. One volume is one directory."""

    def __init__(self, spec, root: Path, port: int) -> None:
        self.spec, self.root, self.port = spec, root, port
        self.main = spec["containers"][0]

    def command(self, container, places):
        environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        for one in container.get("env", ()):
            environment[one["name"]] = self.expanded(one["value"], environment)
        words = [*container["command"], *container.get("args", ())]
        found = [self.expanded(word, environment) for word in words]
        for name, value in {**places, '"port":8080': f'"port":{self.port}'}.items():
            found = [word.replace(name, str(value)) for word in found]
        for name in ("HOME", "TIFFIN_HOME"):
            if name in environment:
                environment[name] = environment[name].replace("/tmp", str(self.root), 1)
        return found, environment

    def expanded(self, text, environment):
        def one(match):
            whole = match[0]
            return "$" if whole == "$$" else environment.get(match[1], whole)

        return re.sub(r"\$\$|\$\(([^)]*)\)", one, text)

    def volume(self, mount):
        place = self.root / "volumes" / mount["name"] / mount.get("subPath", "")
        place.mkdir(parents=True, exist_ok=True)
        return place

    def models(self, container):
        (mount,) = [one for one in container["volumeMounts"] if one["mountPath"] == "/mnt/models"]
        return {"/mnt/models": self.volume(mount)}

    def fetch(self):
        (init,) = self.spec["initContainers"]
        words, environment = self.command(init, self.models(init))
        return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120)

    @contextlib.contextmanager
    def serving(self, places, directory=None):
        """Its server, ready; it ends well when it is told to."""
        words, environment = self.command(self.main, places)
        process = subprocess.Popen(words, env=environment, cwd=directory, stderr=subprocess.PIPE, text=True)
        try:
            deadline = time.monotonic() + 60
            while self.probe("readinessProbe") != 200:
                assert process.poll() is None, process.stderr.read()
                assert time.monotonic() < deadline, "it was not ready in time"
                time.sleep(0.05)
            assert self.probe("livenessProbe") == self.probe("startupProbe") == 200
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
        assert process.returncode == 0
        assert self.probe("livenessProbe") is None

    def ask(self, path, body):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=body)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read()

    def probe(self, name):
        probe = self.main[name]["httpGet"]
        assert probe["port"] == 8080
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{probe['path']}", timeout=5) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None


def pod_of(text, tmp_path):
    deployment = live.read_object(yaml.safe_load(text))
    (workload,) = workloads.render(
        deployment, fresh(deployment.components), Settings(), Capabilities(sleep_hooks=True)
    )
    return Pod(workload["spec"]["template"]["spec"], tmp_path / "pod", ports.free())


def test_a_pod_fetches_its_model_serves_it_and_ends_when_it_is_told_to(web, tmp_path):
    pod = pod_of(ISVC.replace("URI", f"{web}/model.joblib"), tmp_path)
    fetched = pod.fetch()
    assert fetched.returncode == 0, fetched.stdout + fetched.stderr
    assert [file.name for file in (pod.root / "volumes" / "kserve-provision-location").rglob("*.joblib")] == [
        "model.joblib"
    ]
    shutil.rmtree(tmp_path / "web")  # What was fetched is all it has.
    with pod.serving(pod.models(pod.main)):
        answer = pod.ask("/v1/models/trees:predict", b'{"instances": [[1.0], [0.0]]}')
        assert answer == b'{"predictions":[7,3]}'


def test_a_pod_of_an_image_serves_what_its_bundle_says(tmp_path):
    (tmp_path / "Doubled.py").write_text(CLASS)
    environment = {**os.environ, "TIFFIN_HOME": str(tmp_path / "home")}
    build = [sys.executable, "-m", "tiffin", "build", "-t", "doubled:1", str(tmp_path)]
    subprocess.run(build, check=True, capture_output=True, env=environment)
    (bundle,) = (tmp_path / "home").rglob("bundle.json")
    pod = pod_of(CLASSES, tmp_path)
    with pod.serving({replica.BUNDLE: bundle.parent / "src"}, directory=bundle.parent / "src"):
        answer = pod.ask("/api/v1.0/predictions", b'{"data": {"ndarray": [[2.0]]}}')
        assert json.loads(answer)["data"]["ndarray"] == [[5.0]]


def test_a_class_in_an_image_is_told_what_seldon_tells_it(tmp_path):
    (tmp_path / "Doubled.py").write_text(CLASS)
    pod = pod_of(SELDONS, tmp_path)
    # What the entry point of an image starts; a container of Seldon's has no command of its own.
    assert "command" not in pod.main
    pod.main["command"] = ["python", "-m", "tiffin", "serve", "Doubled:Doubled", "--port", str(pod.port)]
    pod.main["readinessProbe"] = pod.main["livenessProbe"] = {"httpGet": {"path": "/readyz", "port": 8080}}
    pod.main["startupProbe"] = pod.main["livenessProbe"]
    with pod.serving({}, directory=tmp_path):
        answer = pod.ask("/api/v1.0/predictions", b'{"data": {"ndarray": [[2.0]]}}')
        found = json.loads(answer)
        assert found["data"]["ndarray"] == [[4.5]]
        assert found["meta"]["requestPath"] == {"doubler": "registry.example.com/team/doubled:1"}
        assert pod.ask("/v2/models/doubler/infer", TENSORS)


def test_a_pod_whose_model_is_missing_says_so_last(web, tmp_path):
    done = pod_of(ISVC.replace("URI", f"{web}/other.joblib"), tmp_path).fetch()
    assert done.returncode == 1
    assert "other.joblib" in done.stdout.strip().splitlines()[-1] + done.stdout.strip().splitlines()[-2]

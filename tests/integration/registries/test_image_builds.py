"""Images made without an engine: read by skopeo, pushed to a real registry, pulled and run by a real dockerd."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tiffin

pytestmark = pytest.mark.slow

SERVICE = """
import numpy as np
import tiffin

@tiffin.service(name="summing")
class Summing:
    def __init__(self) -> None:
        self.weights = np.arange(4.0)

    @tiffin.api
    def add(self, values: np.ndarray) -> np.ndarray:
        return values @ self.weights
"""
TIMEOUT = 300


class Home:
    """A data directory with the bundle ``summing:1``, and a copy of Tiffin that nobody edits meanwhile."""

    def __init__(self, root: Path, code: Path) -> None:
        self.root = root
        self.project = root / "project"
        self.project.mkdir(parents=True)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DOCKER")},
            "TIFFIN_HOME": str(root / "home"),
            "PYTHONPATH": str(code),
            # No engine answers: what is made here is made without one.
            "DOCKER_HOST": "unix:///nowhere/docker.sock",
        }
        self.write(SERVICE)
        (self.project / "requirements.txt").write_text("numpy>=2\n")
        self.tiffin("build", "-t", "summing:1", str(self.project))

    def write(self, service: str) -> None:
        (self.project / "service.py").write_text(service)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tiffin", *words],
            capture_output=True,
            text=True,
            check=False,
            env=self.environment,
            timeout=TIMEOUT,
        )

    def tiffin(self, *words: str) -> str:
        done = self.run(*words)
        if "the package index does not answer" in done.stderr:
            pytest.skip("no package index answers here, and images need wheels")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def image(self, *words: str, bundle: str = "summing:1") -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            self.tiffin("image", bundle, "--base", "scratch-from-host", "--json", *words)
        )
        return found


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("code")
    own = Path(tiffin.__file__).parent
    shutil.copytree(own, place / "tiffin", ignore=shutil.ignore_patterns("__pycache__"))
    return place


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, code: Path) -> Home:
    if sys.platform != "linux":
        pytest.skip("scratch-from-host is for Linux")
    found = Home(tmp_path_factory.mktemp("images"), code)
    found.image("-t", "test/summing:1")
    return found


def skopeo(*words: str) -> Any:
    program = shutil.which("skopeo")
    if program is None:
        pytest.skip("there is no skopeo here: apt-get install skopeo")
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False, timeout=TIMEOUT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if words[0] == "inspect" else done.stdout


# -- made here


def test_skopeo_reads_what_was_written(home: Home, tmp_path: Path) -> None:
    made = home.image("-t", "test/summing:1", "-o", str(tmp_path / "layout"))
    place = f"oci:{tmp_path / 'layout'}:test/summing:1"
    assert skopeo("inspect", place)["Digest"] == made["digest"]
    config = skopeo("inspect", "--config", place)
    about = config["config"]
    assert about["User"] == "1034"
    assert about["Entrypoint"] == ["/opt/tiffin/bin/python", "-m", "tiffin.image.entry"]
    assert about["ExposedPorts"] == {"3000/tcp": {}}
    assert about["StopSignal"] == "SIGTERM"
    assert about["Labels"]["dev.tiffin.target"] == "service:Summing"
    assert len(config["rootfs"]["diff_ids"]) == len(made["images"][0]["layers"]) + 1
    # A copy reads every blob and compares it with its digest, and each layer with its diff_id.
    skopeo("copy", place, f"oci:{tmp_path / 'copy'}:x")
    for form in ("oci", "docker"):
        home.image("-t", "test/summing:1", "-o", str(tmp_path / f"{form}.tar"), "--format", form)
        assert skopeo("inspect", "--config", f"{form}-archive:{tmp_path / form}.tar") == config


def test_the_same_bundle_makes_the_same_image_elsewhere(home: Home, code: Path, tmp_path: Path) -> None:
    other = Home(tmp_path / "other", code)
    bundles = [json.loads(one.tiffin("get", "summing:1", "--json"))["digest"] for one in (home, other)]
    assert bundles[0] == bundles[1]
    assert other.image()["digest"] == home.image()["digest"]


def test_a_changed_line_makes_one_layer(home: Home) -> None:
    before = home.image()["images"][0]["layers"]
    home.write(SERVICE + "\n# changed\n")
    home.tiffin("build", "-t", "summing:2", str(home.project))
    after = home.image(bundle="summing:2")["images"][0]["layers"]
    changed = [one["title"] for one, other in zip(before, after, strict=True) if one["digest"] != other["digest"]]
    assert changed == ["source"]
    assert after[-1]["size"] < 10_000


# -- what goes wrong


def test_a_hash_that_differs_is_refused_by_name(home: Home, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "service.py").write_text(SERVICE)
    (project / "requirements.txt").write_text(f"iniconfig==2.0.0 --hash=sha256:{'0' * 64}\n")
    home.tiffin("build", "-t", "changed:1", str(project))
    done = home.run("image", "changed:1", "--base", "scratch-from-host", "-o", str(tmp_path / "x.tar"))
    assert done.returncode == 1, done.stderr
    assert "iniconfig==2.0.0 is not what was locked: its sha256 differs" in done.stderr
    assert not list(tmp_path.glob("*.tar*"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nowhere:1",), "there is no bundle nowhere:1"),
        (("summing:1", "-t", "UPPER:1"), "expected host/repository:tag"),
        (("summing:1", "--base", "scratch-from-host", "--python", "3.10"), "expected Python 3.10 in the base"),
        (("summing:1", "-o", "/nowhere/x.tar"), "expected the directory /nowhere to write to"),
        (("summing:1", "--platform", "windows/amd64"), "expected a platform, found 'windows/amd64'"),
        (("summing:1", "--base", "127.0.0.1:9/no/base:1"), "127.0.0.1:9"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_message(home: Home, words: tuple[str, ...], says: str) -> None:
    done = home.run("image", *words)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert "defect" not in done.stderr


def test_a_corrupted_layer_is_named_and_not_written(home: Home, tmp_path: Path) -> None:
    made = home.image()
    layer = made["images"][0]["layers"][-1]["digest"]
    blob = home.root / "home" / "images" / "blobs" / "sha256" / layer.removeprefix("sha256:")
    content = blob.read_bytes()
    blob.unlink()
    blob.write_bytes(content[:-1] + b"x")
    try:
        done = home.run("image", "summing:1", "--base", "scratch-from-host", "-o", str(tmp_path / "x.tar"))
    finally:
        blob.write_bytes(content)
    assert done.returncode == 1
    assert layer in done.stderr
    assert not (tmp_path / "x.tar").exists()


# -- a registry and an engine


def test_a_second_push_sends_what_changed(home: Home, registry: Any) -> None:
    name = f"{registry.host}/team/summing"
    first = home.image("-t", f"{name}:1", "--push")
    assert first["pushed"]["moved"] > 1_000_000
    home.write(SERVICE + "\n# changed again\n")
    home.tiffin("build", "-t", "summing:3", str(home.project))
    second = home.image("-t", f"{name}:3", "--push", bundle="summing:3")
    assert second["pushed"]["moved"] < 20_000
    assert skopeo("inspect", "--tls-verify=false", f"docker://{name}:3")["Digest"] == second["digest"]


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """The ``docker`` command against a dockerd of our own."""
    if shutil.which("dockerd") is None or os.getuid() != 0:
        pytest.skip("as root, `apt-get install docker.io` lets this test start a dockerd")
    data = tmp_path_factory.mktemp("engine")
    place = Path("/tmp", f"tiffin-test-image-{os.getpid()}")
    place.mkdir()
    with (data / "log").open("wb") as log:
        daemon = subprocess.Popen(
            [
                *("dockerd", "--host", f"unix://{place}/docker.sock", "--data-root", str(data / "data")),
                *("--exec-root", str(place / "exec"), "--pidfile", str(place / "pid")),
            ],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def run(*words: str) -> str:
        done = subprocess.run(
            ["docker", "-H", f"unix://{place}/docker.sock", *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    try:
        deadline = time.monotonic() + 30
        while not (place / "docker.sock").exists() and daemon.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        if daemon.poll() is not None:
            pytest.skip(f"dockerd does not start here: {(data / 'log').read_text(errors='replace')[-300:]}")
        run("version")
        yield run
    finally:
        daemon.terminate()
        daemon.wait(30)
        shutil.rmtree(place, ignore_errors=True)


def ask(url: str, body: Any, docker: Callable[..., str], container: str) -> Any:
    """Ask until somebody listens."""
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.loads(answer.read() or b"null")
        except OSError as error:
            # 503: it listens, and is loading.
            if isinstance(error, urllib.error.HTTPError) and error.code != 503:
                pytest.fail(f"{error.code}: {error.read().decode()}")
            if time.monotonic() > deadline or docker("inspect", "-f", "{{.State.Running}}", container) != "true":
                pytest.fail(docker("logs", container))
            time.sleep(0.1)


TENSORS = {"inputs": [{"name": "values", "shape": [1, 4], "datatype": "FP64", "data": [1.0, 2.0, 3.0, 4.0]}]}


@pytest.mark.parametrize("how", ["load", "pull"])
def test_the_image_runs_as_anybody_with_a_root_that_cannot_be_written(
    home: Home, tmp_path: Path, registry: Any, docker: Callable[..., str], how: str
) -> None:
    if how == "pull":
        name = f"{registry.host}/team/summing:1"
        home.image("-t", name, "--push")
        docker("pull", "--quiet", name)
    else:
        name = "test/summing:1"
        home.image("-t", name, "-o", str(tmp_path / "x.tar"))
        docker("load", "--quiet", "--input", str(tmp_path / "x.tar"))
    words = ("--read-only", "--user", "23456", "-e", "PORT=8080") if how == "pull" else ()
    port = "8080" if how == "pull" else "3000"
    container = docker("run", "--detach", *words, "--publish", f"127.0.0.1::{port}", name)
    try:
        host = docker("port", container, port).splitlines()[0]
        assert ask(f"http://{host}/add", {"values": [1.0, 2.0, 3.0, 4.0]}, docker, container) == 20.0
        assert ask(f"http://{host}/v2/models/summing/infer", TENSORS, docker, container)["outputs"][0]["data"] == [
            20.0
        ]
        who = docker("exec", container, "/opt/tiffin/bin/python", "-c", "import os; print(os.getuid())")
        assert who == ("23456" if how == "pull" else "1034")
        healthy = docker("inspect", "-f", "{{json .Config.Healthcheck.Test}}", container)
        docker("exec", container, *json.loads(healthy)[1:])
        with pytest.raises(AssertionError, match='"sh": executable file not found'):
            docker("exec", container, "sh", "-c", "true")
        docker("stop", "--time", "20", container)
        assert docker("inspect", "-f", "{{.State.ExitCode}}", container) == "0"
    finally:
        docker("rm", "--force", container)
    version = docker("run", "--rm", name, "tiffin", "--version")
    assert version.startswith("tiffin ")

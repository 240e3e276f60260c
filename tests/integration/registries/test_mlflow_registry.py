"""Models from a real MLflow server and back to it."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tiffin.errors import AuthorError, StorageError
from tiffin.kits.paths import DataDirectory
from tiffin.models import exchange
from tiffin.store.models import ModelStore

WHERE = (
    os.environ.get("TIFFIN_TEST_MLFLOW") or shutil.which("mlflow") or str(Path(sys.executable).with_name("mlflow"))
)


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """``mlflow server`` with a database and artefacts of its own; gone at the end."""
    if not Path(WHERE).exists():
        pytest.skip("MLflow is not installed: pip install mlflow, or name its command in TIFFIN_TEST_MLFLOW")
    directory = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(WHERE, "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{directory / 'db.sqlite'}"),
        *("--artifacts-destination", str(directory / "artifacts")),
    ]
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=directory, start_new_session=True)
    address = f"127.0.0.1:{port}"
    try:
        _wait(process, address, log)
        yield address
    finally:
        os.killpg(process.pid, 15)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait(15)


def _wait(process: subprocess.Popen, address: str, log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"http://{address}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"MLflow did not start: {log.read_text()}")


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    return DataDirectory(tmp_path / "home").make()


def save(data: DataDirectory, tag: str, content: str):
    with ModelStore(data.models).create(tag, labels={"team": "garden"}) as draft:
        (draft.path / "MLmodel").write_text("flavors: {}\n")
        (draft.path / "data dir").mkdir()
        (draft.path / "data dir/model.skops").write_text(content)
    return draft.stored


def test_a_model_goes_to_mlflow_and_comes_back(server, data, tmp_path):
    model = save(data, "iris:v1", "weights")
    first = exchange.export_model("iris:v1", f"mlflow://{server}/Iris Flowers", data, {})
    assert first == f"mlflow://{server}/Iris Flowers/1"
    other = DataDirectory(tmp_path / "other").make()
    back = exchange.import_model(first, "", other, {})
    assert back.tag == "iris-flowers:1"
    assert [(f.path, f.sha256) for f in back.files] == [(f.path, f.sha256) for f in model.files]
    assert back.labels == {"team": "garden", "tiffin.tag": "iris:v1"}
    assert back.lineage.source == first
    assert back.lineage.run.startswith("mlflow:/runs/")

    save(data, "iris:v2", "newer weights")
    second = exchange.export_model("iris:v2", f"mlflow://{server}/Iris Flowers", data, {})
    assert second.endswith("/2")
    environment = {"MLFLOW_TRACKING_URI": f"http://{server}"}
    for address in ("models:/Iris Flowers/latest", "models:/Iris Flowers"):
        newest = exchange.import_model(address, "newest:v1", other, environment)
        assert (newest.path / "data dir/model.skops").read_text() == "newer weights"
    _alias(server, "Iris Flowers", "champion", "1")
    champion = exchange.import_model("models:/Iris Flowers@champion", "champion:v1", other, environment)
    assert (champion.path / "data dir/model.skops").read_text() == "weights"


def test_what_mlflow_does_not_have_is_named(server, data):
    with pytest.raises(StorageError, match=r"RESOURCE_DOES_NOT_EXIST|has no version of the model nothing"):
        exchange.import_model(f"mlflow://{server}/nothing/1", "", data, {})
    with pytest.raises(StorageError, match="has no version of the model nothing"):
        exchange.import_model(f"mlflow://{server}/nothing", "", data, {})
    assert ModelStore(data.models).list() == []


def test_a_version_cannot_be_chosen_for_an_export(server, data):
    save(data, "iris:v1", "weights")
    with pytest.raises(AuthorError, match="found a version of it"):
        exchange.export_model("iris:v1", f"mlflow://{server}/iris/3", data, {})


def test_a_server_that_is_not_there_is_named(data):
    with pytest.raises(StorageError, match=r"http://127\.0\.0\.1:1 cannot be reached"):
        exchange.import_model("mlflow://127.0.0.1:1/iris/1", "", data, {})


def _alias(server: str, name: str, alias: str, version: str) -> None:
    body = json.dumps({"name": name, "alias": alias, "version": version}).encode()
    request = urllib.request.Request(
        f"http://{server}/api/2.0/mlflow/registered-models/alias",
        data=body,
        headers={"Content-Type": "application/json"},
        method="POST",
    )
    urllib.request.urlopen(request, timeout=30).close()

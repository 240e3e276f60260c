import json
from pathlib import Path

import pytest

from tiffin.cli import frame

ISVC = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: iris, namespace: default}
spec:
  predictor:
    minReplicas: 2
    tolerations: []
    nodeSelector: {a: b}
    model:
      modelFormat: {name: sklearn}
      protocolVersion: v2
      runtime: kserve-sklearnserver
      storageUri: ./model
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "iris.yaml"
    path.write_text(ISVC)
    return path


def test_a_file_is_told_with_its_addresses_and_warnings(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.run(["check", str(file)]) == 0
    captured = capsys.readouterr()
    assert "default/iris" in captured.out
    assert "sklearn model from ./model, 2 replicas" in captured.out
    assert "iris.default.example.com/" in captured.out
    assert "nodeSelector" in captured.err


def test_json_has_the_deployments_and_the_warnings_by_path(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.run(["check", "--json", "--domain", "models.test", str(file)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["deployments"][0]["name"] == "iris"
    hosts = {host for route in found["deployments"][0]["routes"] for host in route["hosts"]}
    assert "iris.default.models.test" in hosts
    assert any("nodeSelector" in warning["path"] for warning in found["warnings"])


def test_a_file_that_is_not_there_is_an_error_with_its_path(capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.run(["check", "/no/such/file.yaml"]) == 1
    assert "/no/such/file.yaml" in capsys.readouterr().err


def test_services_that_run_apart_are_named_before_anybody_imported_them(tmp_path: Path, capsys) -> None:
    text = """
apiVersion: tiffin.dev/v1
kind: Deployment
metadata: {name: duo}
spec:
  service: {target: "duo:Outer", dependencies: %s}
"""
    file = tmp_path / "duo.yaml"
    file.write_text(text % "separate")
    assert frame.run(["check", str(file)]) == 0
    assert "each service that it depends on: a component of its own" in capsys.readouterr().out
    file.write_text(text % "{Inner: {replicas: 2}}")
    assert frame.run(["check", str(file)]) == 0
    assert "inner: a service that others depend on, code from ., 2 replicas" in capsys.readouterr().out

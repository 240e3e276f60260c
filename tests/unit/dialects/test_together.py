"""Files that refer to each other, and objects that take the place of others."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tiffin.dialects import check_update, parse, read_all
from tiffin.errors import SpecError
from tiffin.plan.objects import Source

SERVICE = {
    "apiVersion": "serving.kserve.io/v1beta1",
    "kind": "InferenceService",
    "metadata": {"name": "iris"},
    "spec": {"predictor": {"model": {"modelFormat": {"name": "own"}, "storageUri": "s3://models/iris"}}},
}


def runtime(name: str, *, namespace: str = "", **spec: Any) -> dict[str, Any]:
    entry = {"name": "own", "version": "1", "autoSelect": True, "priority": 1}
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime" if namespace else "ClusterServingRuntime",
        "metadata": {"name": name, **({"namespace": namespace} if namespace else {})},
        "spec": {
            "protocolVersions": ["v1"],
            "containers": [{"name": "kserve-container", "image": f"{name}:1"}],
            "supportedModelFormats": [entry],
        }
        | spec,
    }


def service(predictor: dict[str, Any] | None = None, **annotations: str) -> dict[str, Any]:
    own = SERVICE["spec"]["predictor"] | (predictor or {})  # type: ignore[index]
    noted = {f"serving.kserve.io/{name}": text for name, text in annotations.items()}
    return SERVICE | {"metadata": {"name": "iris", "annotations": noted}, "spec": {"predictor": own}}


@pytest.mark.parametrize("order", [("a.yaml", "b.yaml"), ("b.yaml", "a.yaml")])
def test_a_runtime_of_another_file_is_found_whatever_the_order(tmp_path: Path, order: tuple[str, str]) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(SERVICE))
    (tmp_path / "b.yaml").write_text(yaml.safe_dump(runtime("mine")))
    written, resources = read_all([Source(path=str(tmp_path / name)) for name in order])
    ((deployment, document),) = written
    assert deployment.components[0].source.image == "mine:1"  # type: ignore[union-attr]
    assert document == SERVICE
    assert [one.name for one in resources.runtimes] == ["mine"]
    with pytest.raises(SpecError, match="No runtime found"):
        read_all([Source(path=str(tmp_path / "a.yaml"))])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (runtime("b"), "in the clusterservingruntimes a and b"),
        (runtime("b", disabled=True), ""),
        (runtime("b", protocolVersions=["v2"]), ""),
        (runtime("b", multiModel=True), ""),
        (runtime("b", namespace="ml"), ""),
        (runtime("a"), ""),
        (runtime("b", supportedModelFormats=[{"name": "own", "version": "1", "autoSelect": True}]), ""),
        (runtime("b", supportedModelFormats=[{"name": "own", "version": "1", "priority": 1}]), ""),
        (
            runtime(
                "b", supportedModelFormats=[{"name": "own", "version": "2", "autoSelect": True, "priority": 1}]
            ),
            "",
        ),
        (
            runtime(
                "b", supportedModelFormats=[{"name": "OWN", "version": "1", "autoSelect": True, "priority": 1}]
            ),
            "same priority assigned for the model format OWN",
        ),
    ],
)
def test_two_runtimes_that_tie_are_refused(tmp_path: Path, other: dict[str, Any], message: str) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(runtime("a")))
    (tmp_path / "b.yaml").write_text(yaml.safe_dump(other))
    given = [Source(path=str(tmp_path / name)) for name in ("a.yaml", "b.yaml")]
    if not message:
        read_all(given)
        return
    with pytest.raises(SpecError) as error:
        # What is in a store already counts too.
        read_all(given[1:], known=read_all(given[:1])[1])
    assert error.value.at == "spec.supportedModelFormats"
    assert message in str(error.value)
    with pytest.raises(SpecError, match="same priority"):
        read_all(given)


def test_runtimes_of_one_namespace_tie_with_each_other_and_not_with_another_namespaces() -> None:
    texts = [
        yaml.safe_dump(runtime(name, namespace=place)) for name, place in (("a", "x"), ("b", "y"), ("c", "x"))
    ]
    read_all([Source(text=text, file="f") for text in texts[:2]])
    with pytest.raises(SpecError, match="in the servingruntimes c and a in namespace x"):
        read_all([Source(text=text, file="f") for text in texts])


@pytest.mark.parametrize(
    ("before", "after", "at"),
    [
        (service(), service(), ""),
        (service(), service({"canaryTrafficPercent": 10}), ""),
        (service(), service(deploymentMode="Knative"), ""),
        (service(deploymentMode="RawDeployment"), service(), ""),
        (service(deploymentMode="RawDeployment"), service(deploymentMode="Standard"), ""),
        (
            service(),
            service(deploymentMode="Standard"),
            'metadata.annotations["serving.kserve.io/deploymentMode"]',
        ),
        (
            service(deploymentMode="Standard"),
            service(deploymentMode="Serverless"),
            'metadata.annotations["serving.kserve.io/deploymentMode"]',
        ),
        (service({"name": "one"}), service({"name": "two"}), "spec.predictor.name"),
        (service(), service({"name": "two"}), "spec.predictor.name"),
        (
            service({"name": "one"}),
            service(
                {"name": "two", "model": {"modelFormat": {"name": "sklearn"}, "storageUri": "s3://models/new"}}
            ),
            "",
        ),
    ],
)
def test_what_may_not_change_of_an_inference_service_is_refused_by_its_path(
    before: dict[str, Any], after: dict[str, Any], at: str
) -> None:
    def read(document: dict[str, Any]) -> Any:
        text = yaml.safe_dump(document).replace("name: own", "name: sklearn")
        (found,) = parse(text, file="iris.yaml")
        return found

    if not at:
        check_update(read(before), read(after))
        return
    with pytest.raises(SpecError) as error:
        check_update(read(before), read(after))
    assert error.value.at == at
    assert str(error.value).startswith("iris.yaml: ")

"""The bill of materials, held against the schema of CycloneDX."""

import json

import pytest

from tiffin.bundle import sbom
from tiffin.bundle.manifest import PinnedModel
from tiffin.bundle.requirements import Pinned

HASH = "0" * 64
PARTS = {
    "name": "service:Iris",
    "builder": "tiffin/0.1.0",
    "python": "3.11",
    "packages": [
        Pinned("Scikit_Learn", "1.9.1", (f"sha256:{HASH}",)),
        Pinned("numpy", "2.4.6+local", (f"sha256:{HASH}", f"sha256:{'1' * 64}")),
        Pinned("plain", "1.0"),
    ],
    "models": [
        PinnedModel(tag="clf:v1", digest=HASH, source="bentoml"),
        PinnedModel(tag="org/name@" + "a" * 40, digest="a" * 40, source="huggingface"),
    ],
}


def test_every_package_and_model_is_in_it():
    found = json.loads(sbom.document(**PARTS))
    by_name = {component["name"]: component for component in found["components"]}
    assert by_name["scikit-learn"]["purl"] == "pkg:pypi/scikit-learn@1.9.1"
    assert by_name["scikit-learn"]["hashes"] == [{"alg": "SHA-256", "content": HASH}]
    assert by_name["numpy"]["purl"] == "pkg:pypi/numpy@2.4.6%2Blocal"
    assert len(by_name["numpy"]["properties"]) == 2
    assert by_name["clf"]["type"] == "machine-learning-model"
    assert by_name["org/name"]["version"] == "a" * 40
    assert found["dependencies"][0]["dependsOn"] == [component["bom-ref"] for component in found["components"]]


def test_it_says_nothing_that_changes_between_builds():
    backwards = {**PARTS, "packages": PARTS["packages"][::-1], "models": PARTS["models"][::-1]}
    assert sbom.document(**PARTS) == sbom.document(**backwards)
    found = json.loads(sbom.document(**PARTS))
    assert "serialNumber" not in found
    assert "timestamp" not in found["metadata"]


@pytest.mark.parametrize("parts", [PARTS, {**PARTS, "packages": [], "models": []}], ids=["full", "empty"])
def test_it_is_what_cyclonedx_says_it_must_be(parts):
    pytest.importorskip("jsonschema", reason="pip install 'cyclonedx-python-lib[json-validation]'")
    validation = pytest.importorskip(
        "cyclonedx.validation.json", reason="pip install 'cyclonedx-python-lib[json-validation]'"
    )
    schema = pytest.importorskip("cyclonedx.schema")
    problem = validation.JsonStrictValidator(schema.SchemaVersion.V1_6).validate_str(
        sbom.document(**parts).decode()
    )
    assert problem is None, problem

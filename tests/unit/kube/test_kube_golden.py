"""What a cluster is given for a table of files, in ``golden/``, for people to review.

``TIFFIN_GOLDEN=write python -m pytest tests/unit/kube/test_kube_golden.py`` writes them anew; the change is then
part of what is reviewed. ``tests/kube`` sends each of them to a real API server.
"""

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from tiffin.dialects import live
from tiffin.dialects.resources import Resources
from tiffin.kube.capabilities import Capabilities
from tiffin.kube.placement import Placement, Slot, fresh
from tiffin.kube.render import guards, services, workloads
from tiffin.kube.settings import Settings
from tiffin.spec import Artefact, Component, Deployment, ModelSource

HERE = Path(__file__).parent
HOW = "is not what is rendered; look at the difference, then TIFFIN_GOLDEN=write writes it anew"
MODERN = Capabilities(image_volumes=True, sleep_hooks=True)
OWNERS = {
    "kserve": ("serving.kserve.io/v1beta1", "InferenceService"),
    "seldon": ("machinelearning.seldon.io/v1", "SeldonDeployment"),
    "tiffin": ("tiffin.dev/v1", "Deployment"),
}


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A file of ``inputs/``, and where its deployment stands."""

    input: str
    settings: Settings = Settings()
    capabilities: Capabilities = MODERN
    how: str = ""


CASES = {
    "kserve-sklearn": Case(input="kserve-sklearn"),
    "kserve-transformer": Case(input="kserve-transformer"),
    "kserve-custom": Case(input="kserve-custom"),
    "kserve-runtime": Case(input="kserve-runtime"),
    "kserve-canary": Case(input="kserve-canary", how="candidate"),
    "kserve-canaries": Case(input="kserve-canaries"),
    "kserve-pvc": Case(input="kserve-pvc"),
    "kserve-oci-volume": Case(input="kserve-oci"),
    "kserve-oci-modelcar": Case(input="kserve-oci", capabilities=Capabilities()),
    "kserve-secrets": Case(
        input="kserve-secrets", settings=Settings(model_cache="/var/cache/tiffin", model_cache_size="50Gi")
    ),
    "kserve-zero": Case(input="kserve-zero", how="held"),
    "seldon-class": Case(input="seldon-class"),
    "seldon-arms": Case(input="seldon-arms"),
    "tiffin-model": Case(input="tiffin-model", settings=Settings(network_policies=True), how="grpc"),
    "tiffin-service": Case(input="tiffin-service", settings=Settings(network_policies=True), how="dependency"),
    "tiffin-container": Case(input="tiffin-container"),
}


class Plain(yaml.SafeDumper):
    """Without anchors, which people do not like to read."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def deployment_of(name: str) -> Deployment:
    *others, last = yaml.safe_load_all((HERE / "inputs" / f"{name}.yaml").read_text())
    resources = Resources(on_cluster=True)
    for one in others:
        resources |= live.read_resource(one)
    return live.read_object(last, resources=resources)


def placed(case: Case) -> tuple[Deployment, Placement]:
    """The deployment, and where it stands in the way that the case says."""
    deployment = deployment_of(case.input)
    slots = [
        Slot(variant=variant.name, component=component, revision=f"{deployment.name}-00001")
        for variant in deployment.all_variants
        for component in variant.components
    ]
    first = slots[0]
    if case.how == "candidate":
        source = ModelSource(artefact=Artefact(uri="s3://models/iris-1"), format="sklearn")
        before = msgspec.structs.replace(first.component, source=source)
        slots = [
            msgspec.structs.replace(first, component=before, replicas=3),
            msgspec.structs.replace(first, role="candidate", revision=f"{deployment.name}-00002", replicas=1),
        ]
    elif case.how == "held":
        slots = [msgspec.structs.replace(first, replicas=0, held=True, activator_port=20004)]
    elif case.how == "grpc":
        slots = [msgspec.structs.replace(first, component=msgspec.structs.replace(first.component, grpc=True))]
    elif case.how == "dependency":
        entry: Component = first.component
        source_of = msgspec.structs.replace(entry.source, target="service:Words")
        apart = msgspec.structs.replace(entry, name="words", source=source_of, is_dependency=True)
        calling = msgspec.structs.replace(entry, dependencies={"Words": "words"})
        slots = [
            msgspec.structs.replace(first, component=calling),
            msgspec.structs.replace(first, component=apart),
        ]
    placement = msgspec.structs.replace(
        fresh(deployment.components, deployment.variant),
        uid="0b5c9d1e-0000-4000-8000-000000000001",
        owner=OWNERS[deployment.dialect],
        slots=tuple(slots),
        activators=("10.0.0.7", "10.0.0.9", "fd00::7"),
    )
    return deployment, placement


def rendered(case: Case) -> str:
    deployment, placement = placed(case)
    found = [
        manifest
        for part in (workloads, services, guards)
        for manifest in part.render(deployment, placement, case.settings, case.capabilities)
    ]
    head = f"# inputs/{case.input}.yaml" + (f", {case.how}" if case.how else "") + "\n"
    return head + yaml.dump_all(found, Dumper=Plain, sort_keys=False, width=110)


@pytest.mark.parametrize("name", CASES)
def test_a_cluster_is_given_what_was_reviewed(name: str) -> None:
    file = HERE / "golden" / f"{name}.yaml"
    text = rendered(CASES[name])
    if os.environ.get("TIFFIN_GOLDEN") == "write":
        file.write_text(text)
    assert file.read_text() == text, f"{file.name} {HOW}"


def test_every_reviewed_file_is_of_a_case() -> None:
    assert {file.stem for file in (HERE / "golden").iterdir()} == set(CASES)

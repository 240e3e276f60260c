"""What holds of everything that a cluster is given, whatever was written."""

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiffin.errors import SpecError
from tiffin.kube import manifests, names
from tiffin.kube.capabilities import Capabilities
from tiffin.kube.placement import Placement, Slot
from tiffin.kube.render import render
from tiffin.kube.render.fetching import artefacts
from tiffin.kube.settings import Settings
from tiffin.spec import (
    Artefact,
    ClassSource,
    Component,
    ContainerSource,
    Deployment,
    ModelSource,
    Pod,
    ReplicaSpec,
    Scaling,
    ServiceSource,
    Variant,
)

MODERN = Capabilities(image_volumes=True, sleep_hooks=True)
SECRET = "s3cr3t-value"
NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")

FIELDS = [
    "containers", "initContainers", "volumes", "name", "image", "env", "ports", "volumeMounts", "readinessProbe",
    "httpGet", "lifecycle", "preStop", "resources", "terminationGracePeriodSeconds", "securityContext", "args",
    "containerPort", "mountPath", "value", "valueFrom", "command",
]  # fmt: skip

object_names = st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,80}[a-z0-9])?", fullmatch=True)
component_names = st.from_regex(r"[a-z]([-a-z0-9]{0,70}[a-z0-9])?", fullmatch=True)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
variables = st.dictionaries(st.sampled_from(["HOME", "PORT", "TIFFIN_HOME", "A", "B_1"]), texts, max_size=3)
uris = st.sampled_from(
    ["s3://models/iris", "pvc://claim", "pvc://claim/sub/path", "oci://registry/team/model:1", "hf://team/model"]
)
sources = st.one_of(
    st.builds(ModelSource, artefact=st.builds(Artefact, uris), format=st.sampled_from(["", "sklearn", "onnx"])),
    st.builds(
        ServiceSource, artefact=st.just(Artefact("registry/team/service:1")), target=st.just("service:Service")
    ),
    st.builds(ClassSource, artefact=st.just(Artefact("iris:1")), image=st.sampled_from(["", "iris:1"])),
    st.builds(
        ContainerSource,
        image=st.just("registry/program:1"),
        arguments=st.lists(texts, max_size=3).map(tuple),
        port=st.integers(1, 65535),
        mounts=st.dictionaries(
            st.sampled_from(["/mnt/models", "/mnt/models/below", "/data"]), st.builds(Artefact, uris), max_size=2
        ),
    ),
)
components = st.builds(
    Component,
    source=sources,
    environment=variables,
    grpc=st.booleans(),
    timeout_seconds=st.none() | st.floats(0.1, 1000),
    scaling=st.builds(Scaling, min_replicas=st.integers(0, 3)),
    pod=st.builds(Pod, main=st.sampled_from(["kserve-container", "classifier"])),
)


@st.composite
def deployments(draw: st.DrawFn) -> Deployment:
    def parts() -> tuple[Component, ...]:
        chosen = ["predictor", *draw(st.lists(component_names, max_size=2, unique=True))]
        return tuple(
            msgspec.structs.replace(draw(components), name=name, calls="predictor" if name != "predictor" else "")
            for name in dict.fromkeys(chosen)
        )

    dialect = draw(st.sampled_from(["kserve", "seldon", "tiffin", "bentoml"]))
    main, *others = draw(st.lists(component_names, min_size=1, max_size=3, unique=True))
    # Canaries of KServe's are predictors alone.
    only = dialect == "kserve"
    variants = tuple(Variant(name=name, components=parts()[:1] if only else parts()) for name in others)
    return Deployment(
        name=draw(object_names), components=parts(), variant=main, variants=variants, dialect=dialect
    )


def placed(deployment: Deployment) -> Placement:
    slots = tuple(
        Slot(variant=variant.name, component=component, role=role, revision="r-1", activator_port=20000, held=True)
        for variant in deployment.all_variants
        for component in variant.components
        for role in ("stable", "candidate")
    )
    return Placement(slots=slots, uid="0", owner=("v1", "Kind"), activators=("10.0.0.1",))


def everything(deployment: Deployment) -> tuple[manifests.Manifest, ...]:
    return render(deployment, placed(deployment), Settings(network_policies=True), MODERN)


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from strings(item)


@settings(max_examples=50)
@given(deployments())
def test_the_same_input_gives_the_same_bytes_and_every_object_once(deployment: Deployment) -> None:
    found = everything(deployment)
    again = msgspec.json.decode(msgspec.json.encode(deployment), type=Deployment)
    assert json.dumps(found) == json.dumps(everything(again))
    ids = [manifests.identify(one) for one in found]
    assert len(set(ids)) == len(ids)


@settings(max_examples=50)
@given(deployments())
def test_names_and_labels_are_those_that_kubernetes_takes(deployment: Deployment) -> None:
    for one in everything(deployment):
        metadata = one["metadata"]
        assert NAME.fullmatch(metadata["name"]), metadata["name"]
        assert all(LABEL.fullmatch(value) for value in metadata["labels"].values())
        assert metadata["labels"].items() >= names.labels(deployment).items()
        assert metadata["ownerReferences"][0]["uid"] == "0"
        if one["kind"] == "Deployment":
            labels = one["spec"]["template"]["metadata"]["labels"]
            assert all(LABEL.fullmatch(value) for value in labels.values())


@settings(max_examples=50)
@given(deployments())
def test_a_selector_finds_the_pods_of_its_own_slot_alone(deployment: Deployment) -> None:
    workloads = [one for one in everything(deployment) if one["kind"] == "Deployment"]
    for one in workloads:
        selector = one["spec"]["selector"]["matchLabels"].items()
        found = [
            other["metadata"]["name"]
            for other in workloads
            if other["spec"]["template"]["metadata"]["labels"].items() >= selector
        ]
        assert found == [one["metadata"]["name"]]


@settings(max_examples=50)
@given(deployments())
def test_a_server_is_told_what_it_reads_back(deployment: Deployment) -> None:
    for one in everything(deployment):
        if one["kind"] != "Deployment":
            continue
        main = one["spec"]["template"]["spec"]["containers"][0]
        env = [each["name"] for each in main.get("env", ())]
        assert len(set(env)) == len(env)
        if main.get("args", [""])[0] != "--replica-json":
            continue
        text = main["args"][1].replace("$$", "$")
        spec = msgspec.json.decode(text, type=ReplicaSpec)
        assert (spec.deployment, spec.listen.port) == (deployment.name, 8080)
        assert one["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > spec.limits.drain_seconds


@settings(max_examples=50)
@given(deployments(), st.sampled_from(["TOKEN", "AWS_SECRET_ACCESS_KEY"]), st.booleans())
def test_no_value_of_a_secret_is_in_any_manifest(deployment: Deployment, name: str, is_credential: bool) -> None:
    def with_secret(component: Component) -> Component:
        source = component.source
        if is_credential and isinstance(source, ModelSource | ContainerSource):
            source = msgspec.structs.replace(source, credentials={name: SECRET})
        environment = {**component.environment, name: SECRET}
        return msgspec.structs.replace(component, source=source, environment=environment, secret_variables=(name,))

    components = tuple(map(with_secret, deployment.components))
    fetched = any(
        isinstance(one.source, ModelSource | ContainerSource) and any(map(is_fetched, artefacts(one).values()))
        for one in components
    )
    deployment = msgspec.structs.replace(deployment, components=components)
    if is_credential and fetched:
        with pytest.raises(SpecError, match=name) as raised:
            everything(deployment)
        assert SECRET not in str(raised.value)
    else:
        assert not [text for text in strings(everything(deployment)) if SECRET in text]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(FIELDS) | texts, inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=200)
@given(sources, st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=3), st.booleans())
def test_whatever_stands_in_a_pod_is_passed_on_or_refused(source: Any, spec: dict[str, Any], nested: bool) -> None:
    own = {"containers": [{"name": "kserve-container", **spec}]} if nested else spec
    component = Component(source=source, pod=Pod(spec=own))
    deployment = Deployment(name="iris", components=(component,), dialect="kserve")
    try:
        found = everything(deployment)
    except SpecError:
        return
    main = found[0]["spec"]["template"]["spec"]["containers"][0]
    assert main["name"] == "kserve-container"
    assert "image" in main


def is_fetched(uri: str) -> bool:
    return uri.startswith(("s3://", "hf://"))

"""Services that run apart from what depends on them: from a file and a description to components."""

import pytest

from tiffin.dialects import bentoml, dependencies, tiffin, tiffin_writing
from tiffin.dialects.documents import parse
from tiffin.errors import SpecError
from tiffin.spec import Artefact, Component, Deployment, Scaling, ServiceDescription, ServiceSource


def described(name: str, target: str = "", **inner: ServiceDescription) -> ServiceDescription:
    return ServiceDescription(name=name, target=target or f"m:{name}", dependencies=inner)


BOTTOM = described("Bottom", "m:Top.left.bottom")
LEFT = ServiceDescription(
    name="LeftHand", target="m:Top.left", dependencies={"bottom": BOTTOM}, threads=3, timeout_seconds=7.0, cpu=2.0,
    environment={"A": "left", "B": "left"},
)  # fmt: skip
RIGHT = described("Right", "m:Top.right", bottom=described("Bottom", "m:Top.right.bottom"))
TOP = described("Top", "m:Top", left=LEFT, right=RIGHT)


def read(service: str) -> Deployment:
    text = f"""
apiVersion: tiffin.dev/v1
kind: Deployment
metadata: {{name: top}}
spec:
  env: {{A: file}}
  service: {service}
"""
    return tiffin.deployment(parse(text, "f.yaml")[0])


def resolved(service: str) -> Deployment:
    return bentoml.with_description(read(service), TOP)


def summary(deployment: Deployment) -> dict[str, tuple[str, dict[str, str]]]:
    return {
        part.name: (part.source.target, part.dependencies)  # type: ignore[union-attr]
        for part in deployment.components
    }


def test_without_a_word_everything_runs_in_one_process():
    for service in ("m:Top", "{target: m:Top, dependencies: in-process}"):
        assert summary(resolved(service)) == {"predictor": ("m:Top", {})}


def test_one_word_runs_every_service_apart_once():
    assert summary(resolved("{target: m:Top, dependencies: separate}")) == {
        "predictor": ("m:Top", {"LeftHand": "left-hand", "Right": "right"}),
        "left-hand": ("m:Top.left", {"Bottom": "bottom"}),
        "bottom": ("m:Top.left.bottom", {}),
        "right": ("m:Top.right", {"Bottom": "bottom"}),
    }


def test_those_that_are_named_run_apart_and_the_others_where_they_are_used():
    found = resolved("{target: m:Top, dependencies: {Bottom: {replicas: {min: 0, max: 4}, retries: true}}}")
    # Both LeftHand and Right are made in the first process, which so calls Bottom itself.
    assert summary(found) == {
        "predictor": ("m:Top", {"Bottom": "bottom"}),
        "bottom": ("m:Top.left.bottom", {}),
    }
    part = found.components[1]
    assert part.is_dependency
    assert (part.scaling.min_replicas, part.scaling.max_replicas, part.retry_reset) == (0, 4, True)


def test_a_part_has_its_decorators_settings_under_those_of_the_file():
    found = resolved("{target: m:Top, dependencies: {LeftHand: {timeout: 9, env: {B: file}}}}").components[1]
    assert (found.timeout_seconds, found.threads, found.resources.cpu) == (9.0, 3, 2.0)
    assert found.environment == {"A": "left", "B": "file"}
    assert found.is_dependency


def test_what_only_services_call_has_no_address_of_its_own():
    before = read("{target: m:Top, dependencies: {Bottom: {}}}")
    assert not [route for route in before.routes if route.component]
    assert not [route for route in resolved("{target: m:Top, dependencies: separate}").routes if route.component]


@pytest.mark.parametrize(
    ("service", "at"),
    [
        ("{target: m:Top, dependencies: together}", "spec.service.dependencies"),
        ("{target: m:Top, dependencies: {Bottom: {modelName: x}}}", "spec.service.dependencies.Bottom.modelName"),
        ("{target: m:Top, dependencies: {Bottom: {replicas: 0}}}", "spec.service.dependencies.Bottom.replicas"),
        ("{target: m:Top, dependencies: [Bottom]}", "spec.service.dependencies"),
    ],
)
def test_slips_are_refused_by_their_path(service: str, at: str):
    with pytest.raises(SpecError) as info:
        read(service)
    assert at in str(info.value)


def test_a_service_that_nothing_depends_on_is_refused_with_those_there_are():
    with pytest.raises(SpecError, match="depends on no service 'Botom'") as info:
        resolved("{target: m:Top, dependencies: {Botom: {}}}")
    assert "Bottom, LeftHand, Right" in str(info.value.hint)


def test_two_services_of_one_name_cannot_run_apart():
    other = ServiceDescription(name="Bottom", target="m:Top.right.bottom", threads=9)
    top = described("Top", "m:Top", left=LEFT, right=described("Right", "m:Top.right", bottom=other))
    with pytest.raises(SpecError, match=r"are called Bottom: m:Top\.left\.bottom and m:Top\.right\.bottom"):
        bentoml.with_description(read("{target: m:Top, dependencies: separate}"), top)


def test_a_label_says_it_where_files_have_no_field():
    config = bentoml.parse("service: m:Top\nlabels: {tiffin.dev/dependencies: separate}\n")
    found = bentoml.with_description(bentoml.deployment(config, "/d"), TOP)
    assert len(found.components) == 4
    wrong = bentoml.parse("service: m:Top\nlabels: {tiffin.dev/dependencies: apart}\n")
    with pytest.raises(SpecError, match="expected separate or in-process"):
        bentoml.with_description(bentoml.deployment(wrong, "/d"), TOP)


def test_names_are_made_for_addresses_and_never_twice():
    assert dependencies.component_name("ImageEncoder") == "image-encoder"
    assert dependencies.component_name("Predictor") == "predictor-service"
    top = described("Top", "m:Top", a=described("Encoder"), b=described("encoder"))
    component = Component(source=ServiceSource(artefact=Artefact(uri="."), target="m:Top"), dependencies={"*": ""})
    names = [part.name for part in dependencies.apart(component, (), top)]
    assert names == ["predictor", "encoder", "encoder-2"]


@pytest.mark.parametrize(
    "service",
    [
        "{target: m:Top, dependencies: separate}",
        "{target: m:Top, dependencies: {Bottom: {replicas: 2}, Right: {}}}",
    ],
)
def test_what_was_read_is_written_again(service: str):
    before = read(service)
    document, losses = tiffin_writing.write(before)
    assert losses == []
    assert document["spec"]["service"]["target"] == "m:Top"


def test_components_that_were_made_are_written_with_their_settings():
    document, _ = tiffin_writing.write(resolved("{target: m:Top, dependencies: separate}"))
    written = document["spec"]["service"]["dependencies"]
    assert set(written) == {"LeftHand", "Bottom", "Right"}
    assert written["LeftHand"]["threads"] == 3
    assert Scaling() == resolved("{target: m:Top, dependencies: separate}").components[1].scaling


def test_a_transformer_stands_beside_a_service_with_dependencies():
    text = """
apiVersion: tiffin.dev/v1
kind: Deployment
metadata: {name: top}
spec:
  service: {target: "m:Top", dependencies: separate}
  transformer: {class: "t:T"}
"""
    found = bentoml.with_description(tiffin.deployment(parse(text, "f.yaml")[0]), TOP)
    assert [part.name for part in found.components] == ["predictor", "transformer", "left-hand", "bottom", "right"]
    assert {route.component for route in found.routes if route.component} == {"predictor", "transformer"}

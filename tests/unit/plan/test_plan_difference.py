"""Differences between two versions of a deployment."""

import msgspec
import pytest

from tiffin.plan.difference import diff
from tiffin.spec import Artefact, Component, Deployment, ModelSource, Rollout, Scaling, Step, Variant

ONE = Scaling()


def made(uri: str = "a", *, scaling: Scaling = ONE, **more: object) -> Deployment:
    source = ModelSource(artefact=Artefact(uri=uri), credentials={"AWS_SECRET_ACCESS_KEY": "hush"})
    return Deployment(name="iris", components=(Component(source=source, scaling=scaling),), **more)  # type: ignore[arg-type]


def test_equal_specs_from_different_places_differ_in_nothing() -> None:
    assert diff(made(file="a.yaml"), made(file="b.yaml", document=2)) == ((), ())


@pytest.mark.parametrize(
    ("before", "after", "path", "effect"),
    [
        (
            made("a"),
            made("b"),
            "components[predictor].source.artefact.uri",
            "a new revision of it would be started",
        ),
        (
            made("a"),
            made("b", canary_percent=10),
            "components[predictor].source.artefact.uri",
            "would get 10 % of the calls once it is ready",
        ),
        (
            made("a"),
            made("b", rollout=Rollout(steps=(Step(weight=5), Step(weight=50)))),
            "rollout",
            "take over in 2 steps",
        ),
        (
            made(),
            made(scaling=Scaling(min_replicas=2, max_replicas=5)),
            "components[predictor].scaling.min_replicas",
            "replicas of its predictor would be 2 to 5; none is started anew",
        ),
        (made(canary_percent=10), made(), "canary_percent", "the newest revision would get all calls"),
        (made(), made(stopped=True), "stopped", "finish their calls and end"),
        (made(), made(protocol="kserve-v1"), "protocol", "a new revision"),
        (
            made(variants=(Variant(name="b", components=made("b").components, weight=10),)),
            made(variants=(Variant(name="b", components=made("b").components, weight=30),)),
            "variants[b].weight",
            "the variant b would get 30 % of the calls instead of 10 %",
        ),
    ],
)
def test_a_change_is_told_by_its_path_and_its_effect(
    before: Deployment, after: Deployment, path: str, effect: str
) -> None:
    changes, effects = diff(before, after)
    assert path in [change.path for change in changes]
    assert any(effect in sentence for sentence in effects), effects


def test_scaling_makes_no_revision() -> None:
    _, effects = diff(made(), made(scaling=Scaling(min_replicas=3)))
    assert not any("revision" in sentence for sentence in effects)


def test_credentials_are_not_shown() -> None:
    source = ModelSource(artefact=Artefact(uri="a"), credentials={"AWS_SECRET_ACCESS_KEY": "other"})
    after = msgspec.structs.replace(made(), components=(Component(source=source),))
    changes, _ = diff(made(), after)
    assert [change.path for change in changes] == ["components[predictor].source.credentials"]
    assert "hush" not in str(changes)
    assert "other" not in str(changes)


def test_what_appears_and_what_goes_is_told() -> None:
    assert diff(None, made("m"))[1] == ("it would be started: 1 replica of its predictor of m",)
    assert diff(made(), None)[1] == ("all its replicas would finish their calls and end",)


def test_credentials_of_a_component_that_comes_or_goes_are_not_shown() -> None:
    one = made()
    both = msgspec.structs.replace(
        one, components=(*one.components, msgspec.structs.replace(one.components[0], name="transformer"))
    )
    for before, after in ((one, both), (both, one)):
        changes, _ = diff(before, after)
        assert "components[transformer]" in [change.path for change in changes]
        assert "hush" not in str(changes)

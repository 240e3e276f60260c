import msgspec

from tiffin.dialects import comparing
from tiffin.spec import (
    Artefact,
    Component,
    Deployment,
    Measure,
    ModelSource,
    Route,
    Scaling,
    Traffic,
    Variant,
)


def model(uri: str = "m.joblib", **more) -> Component:
    source = ModelSource(artefact=Artefact(uri), **more.pop("source", {}))
    return Component(source=source, **more)


def deployment(*components: Component, **more) -> Deployment:
    return Deployment(name="iris", components=components or (model(),), **more)


def test_equal_deployments_differ_in_nothing():
    assert comparing.differences(deployment(), deployment(dialect="kserve", file="x", document=3)) == []


def test_every_difference_has_its_path():
    before = deployment(
        model(timeout_seconds=5.0, environment={"A": "b"}),
        variants=(Variant(name="b", components=(model("b.joblib"),), weight=10.0),),
        traffic=Traffic(tags=False, max_body_bytes=100),
        canary_percent=10.0,
    )
    after = deployment(
        model(timeout_seconds=6.0),
        variants=(Variant(name="b", components=(model("c.joblib"),), weight=10.0),),
    )
    assert comparing.differences(before, after) == [
        "components.predictor.timeout_seconds: 5 becomes 6",
        'components.predictor.environment.A: "b" cannot be said',
        'variants.b.components.predictor.source.artefact.uri: "b.joblib" becomes "c.joblib"',
        "canary_percent: 10 cannot be said",
        "traffic.tags: false becomes true",
        "traffic.max_body_bytes: 100 cannot be said",
    ]


def test_a_variant_that_is_gone_is_named():
    before = deployment(variants=(Variant(name="b", components=(model(),), weight=10.0),))
    (found,) = comparing.differences(before, deployment())
    assert found.startswith("variants.b: ")
    assert found.endswith("cannot be said")


def test_credentials_are_named_and_never_shown():
    before = deployment(model(source={"credentials": {"AWS_SECRET_ACCESS_KEY": "s3cret"}}))
    shadow = Variant(name="b", components=before.components, mirror_percent=100.0)
    for one in (before, deployment(variants=(shadow,))):
        (found,) = comparing.differences(one, deployment())
        assert "s3cret" not in found
    (found,) = comparing.differences(before, deployment())
    assert "AWS_SECRET_ACCESS_KEY" in found


def test_what_a_system_adds_to_free_words_is_no_loss():
    added = deployment(model(environment={"MODEL_NAME": "Iris"}), labels={"version": "main"})
    assert comparing.differences(deployment(), added) == []
    assert comparing.differences(added, deployment()) != []


def test_a_target_that_is_the_usual_one_is_the_same_as_none():
    plain, explicit = (
        deployment(model(scaling=Scaling(max_replicas=3, measures=(Measure(metric="cpu", target=target),))))
        for target in (None, 80.0)
    )
    assert comparing.differences(plain, explicit) == []


def test_a_fixed_number_measures_nothing():
    fixed = deployment(model(scaling=Scaling(min_replicas=2, measures=(Measure(metric="cpu"),))))
    assert comparing.differences(fixed, deployment(model(scaling=Scaling(min_replicas=2, max_replicas=2)))) == []


def test_addresses_that_answer_no_longer_are_listed():
    routes = tuple(Route(path=f"/{index}") for index in range(8))
    before = msgspec.structs.replace(deployment(), routes=routes)
    assert comparing.differences(before, msgspec.structs.replace(deployment(), routes=routes[:1])) == [
        "addresses: /1, /2, /3, /4, /5, /6 and 1 more answer no longer"
    ]

"""Every sample of every dialect as a file of another: what is lost is named, what is not lost is the same."""

import json
from pathlib import Path

import pytest

from tiffin.dialects import comparing, convert, parse, read, seldon_writing, tiffin_writing
from tiffin.errors import SpecError
from tiffin.spec import Artefact, Component, Deployment, ModelSource, ServiceSource, Variant

SAMPLES = Path(__file__).parent / "samples"
WRITERS = {"seldon": seldon_writing.write, "tiffin": tiffin_writing.write}


def samples() -> list:
    return [
        pytest.param(found, id=f"{path.name}:{found.name}")
        for path in sorted(SAMPLES.glob("*.yaml"))
        for found in read(path)
    ]


def has_server(deployment: Deployment) -> bool:
    sources = [variant.components[0].source for variant in deployment.all_variants]
    return not any(
        isinstance(source, ServiceSource)
        or (isinstance(source, ModelSource) and source.format in ("onnx", "lightgbm"))
        for source in sources
    )


@pytest.mark.parametrize("to", WRITERS)
@pytest.mark.parametrize("deployment", samples())
def test_what_is_written_is_read_as_what_is_not_listed(deployment, to):
    if to == "seldon" and not has_server(deployment):
        with pytest.raises(SpecError) as caught:
            WRITERS[to](deployment)
        assert caught.value.hint
        return
    document, losses = WRITERS[to](deployment)
    (again,) = parse(json.dumps(document), base=tiffin_writing.base_of(deployment))
    listed = [loss for loss in losses if "is no image" not in loss]
    assert comparing.differences(deployment, again) == listed
    assert (again.dialect, again.key) == (to, deployment.key)


@pytest.mark.parametrize(
    ("file", "to", "lost"),
    [
        ("seldon.yaml", "seldon", []),
        ("seldon_full.yaml", "seldon", []),
        ("seldon_sklearn.yaml", "seldon", []),
        ("seldon_traffic.yaml", "seldon", []),
        ("tiffin.yaml", "tiffin", []),
        ("tiffin_full.yaml", "tiffin", []),
        ("tiffin_class.yaml", "tiffin", []),
        ("seldon_traffic.yaml", "tiffin", ["addresses"]),
        (
            "tiffin_full.yaml",
            "seldon",
            [
                "components.predictor.workers",
                "components.predictor.threads",
                "components.predictor.max_concurrency",
                "components.predictor.batching.enabled",
                "components.predictor.batching.max_rows",
                "components.predictor.batching.max_bytes",
            ],
        ),
        (
            "tiffin_class.yaml",
            "seldon",
            [
                "components.predictor.workers",
                "components.predictor.batching.enabled",
                "variants.main.components.predictor.source",
            ],
        ),
        ("bentofile.yaml", "tiffin", ["addresses"]),
    ],
)
def test_a_file_loses_exactly_this(file, to, lost):
    (found,) = read(SAMPLES / file)
    _, losses = WRITERS[to](found)
    assert [loss.partition(":")[0] for loss in losses] == lost, losses


def model(uri="m.joblib", **more) -> Component:
    return Component(source=ModelSource(artefact=Artefact(uri), **more))


@pytest.mark.parametrize(
    ("component", "message"),
    [
        (model(format="onnx"), "a model of the format onnx has no server in Seldon"),
        (model("saved"), "a model whose format nobody wrote has no server in Seldon"),
        (
            Component(source=ServiceSource(artefact=Artefact("."), target="a:B")),
            "an authored service has no words in a SeldonDeployment",
        ),
    ],
)
def test_what_seldon_cannot_serve_at_all_is_refused(component, message):
    with pytest.raises(SpecError) as caught:
        seldon_writing.write(Deployment(name="iris", components=(component,)))
    assert (caught.value.message, bool(caught.value.hint)) == (message, True)


@pytest.mark.parametrize(
    ("weights", "whole"),
    [
        ((), [100]),
        ((10.0,), [90, 10]),
        ((33.3, 33.3), [34, 33, 33]),
        ((0.4, 0.4), [99, 1, 0]),
        ((100.0,), [0, 100]),
    ],
)
def test_shares_become_whole_and_sum_to_a_hundred(weights, whole):
    variants = tuple(
        Variant(name=f"v{index}", components=(model(),), weight=weight) for index, weight in enumerate(weights)
    )
    document, _ = seldon_writing.write(Deployment(name="iris", components=(model(),), variants=variants))
    found = [predictor.get("traffic", 100) for predictor in document["spec"]["predictors"]]
    assert found == whole
    assert sum(found) == 100


def test_a_second_shadow_is_listed():
    variants = tuple(Variant(name=name, components=(model(),), mirror_percent=50.0) for name in ("b", "c"))
    document, losses = seldon_writing.write(Deployment(name="iris", components=(model(),), variants=variants))
    assert [predictor["name"] for predictor in document["spec"]["predictors"]] == ["main", "b"]
    assert any(loss.startswith("variants.c:") for loss in losses)


@pytest.mark.parametrize("to", ["kserve", "seldon", "tiffin"])
@pytest.mark.parametrize("deployment", samples())
def test_convert_gives_a_text_that_is_read_as_what_is_not_listed(deployment, to):
    if to == "seldon" and not has_server(deployment):
        return
    converted = convert(deployment, to)
    refusals = [loss for loss in converted.losses if loss.startswith("KServe does not take it as it is: ")]
    if refusals:
        with pytest.raises(SpecError) as caught:
            parse(converted.text)
        assert caught.value.message in refusals[0]
        return
    (again,) = parse(converted.text, base=tiffin_writing.base_of(deployment))
    # A source that became another is one entry of the list, whatever parts it had.
    sources = tuple(loss.partition(":")[0] for loss in converted.losses if ".source: " in loss)
    for difference in comparing.differences(deployment, again):
        path = difference.partition(":")[0]
        assert difference in converted.losses or path.startswith(sources), difference

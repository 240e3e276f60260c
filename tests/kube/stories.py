"""How the deployments of ``previous/`` came to where they stand: what somebody wrote, one after the other."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

INPUTS = Path(__file__).parents[1] / "unit" / "kube" / "inputs"
SHOP = "shop"
"""The namespace of all of them."""
Manifest = dict[str, Any]


@dataclass(frozen=True)
class Story:
    """How a deployment came to where it stands.

    Attributes:
        input: A file of INPUTS.
        about: What a reader of the dump should know.
        versions: What the spec says beside the input's, one after the other.
        shares: What the main variant's revisions get when it has been told, by number.
        requests: Words of ``tiffin.dev/rollout``, one after the other, with the shares they lead to.
    """

    input: str
    about: str
    versions: tuple[Manifest, ...] = ({},)
    shares: dict[int, float] = field(default_factory=lambda: {1: 100.0})
    requests: tuple[tuple[str, dict[int, float]], ...] = ()


def _iris(number: int, **more: Any) -> Manifest:
    return {"predictor": {"model": {"storageUri": f"s3://models/iris-{number}"}, **more}}


def _model(number: int) -> Manifest:
    steps = [{"weight": f"{weight}%", "pause": True} for weight in (10, 40, 70)]
    plain = {"replicas": 2, "resources": {"gpu": None}, "rollout": {"steps": steps, "gates": {}}}
    return plain | {"model": {"uri": f"s3://models/iris-{number}/"}}


_TWO_AND_LEFT = ({"predictor": {"minReplicas": 2, "maxReplicas": 2}}, {"predictor": {"maxReplicas": 5}})

STORIES = {
    "plain": Story("kserve-sklearn", "A saved model, as KServe's first example has it."),
    "canary": Story(
        "kserve-canary",
        "In the middle of a canary: the second revision has 20 % of the calls.",
        versions=(_iris(1, canaryTrafficPercent=None), _iris(2, canaryTrafficPercent=20)),
        shares={1: 80.0, 2: 20.0},
    ),
    "idle": Story("kserve-zero", "At zero: the activator is in the path of its calls."),
    "flowers": Story("kserve-transformer", "A transformer before a predictor."),
    "left": Story(
        "kserve-sklearn",
        "Tiffin's number of replicas became somebody else's, who did not change it yet.",
        versions=_TWO_AND_LEFT,
        shares={2: 100.0},
    ),
    "scaled": Story(
        "kserve-sklearn",
        "Tiffin's number of replicas became somebody else's, who made it 3.",
        versions=_TWO_AND_LEFT,
        shares={2: 100.0},
    ),
    "income": Story("seldon-arms", "Two predictors that share the calls, an HPA, a budget, and a shadow."),
    "halfway": Story(
        "tiffin-model",
        "In the second of three steps of a rollout, which waits for a word.",
        versions=(_model(1), _model(2)),
        shares={1: 90.0, 2: 10.0},
        requests=(("resume@1", {1: 60.0, 2: 40.0}),),
    ),
    "back": Story(
        "tiffin-model",
        "A second revision that was rolled back in its rollout.",
        versions=(_model(1), _model(2)),
        shares={1: 90.0, 2: 10.0},
        requests=(("undo@1", {1: 100.0}),),
    ),
}


def document(name: str, version: int) -> Manifest:
    """What somebody writes for a story."""
    story = STORIES[name]
    found: Manifest = yaml.safe_load((INPUTS / f"{story.input}.yaml").read_text())
    found["metadata"] = {"name": name, "namespace": SHOP}
    if story.versions is _TWO_AND_LEFT and version:
        found["metadata"]["annotations"] = {"serving.kserve.io/autoscalerClass": "external"}
    for one in story.versions[: version + 1]:
        _merge(found["spec"], copy.deepcopy(one))
    return found


def _merge(into: Manifest, more: Manifest) -> None:
    for key, value in more.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def kind_of(name: str) -> str:
    return {"kserve": "isvc", "seldon": "sdep", "tiffin": "tiffin"}[STORIES[name].input.partition("-")[0]]

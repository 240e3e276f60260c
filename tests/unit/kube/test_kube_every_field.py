"""Every field of Tiffin's own file, on a cluster: it changes what is made, decides, or is said to be left out."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from tiffin.dialects import live
from tiffin.errors import SpecError
from tiffin.kube import render
from tiffin.kube.capabilities import KINDS, Capabilities
from tiffin.kube.placement import Placement, Share, Slot
from tiffin.kube.settings import Gateway, Settings
from tiffin.spec import Deployment

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "tiffin-file.md"
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
LOCAL = re.compile(r"^([\w.-]+)\.joblib$")
KEY = """-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
"""
SETTINGS = Settings(gateway=Gateway(name="front", namespace="gateways"))
ALL = Capabilities(**dict.fromkeys(KINDS, True), image_volumes=True, sleep_hooks=True)

DECIDED = {
    "canary": "operator.assigning",
    "metadata.annotations": "the object's own",
    "rollout": "operator.rollouts, operator.judging",
    "scale": "operator.autoscaler",
    "replicas": "operator.counting",
    "service.dependencies.Encoder.replicas": "operator.counting",
}
"""What is no part of an object that is made, but decides where a deployment stands; and who decides by it."""


def whole(text: str) -> dict[str, Any]:
    """An example of the page as a document that a cluster can be given: its models where pods reach them."""
    found = yaml.safe_load(text)
    if "apiVersion" not in found:
        if not {"model", "service", "class", "container"} & found.keys():
            found = {"model": "model.joblib"} | found
        found = {"apiVersion": "tiffin.dev/v1", "kind": "Deployment", "metadata": {"name": "iris"}, "spec": found}
    found = reachable(found)
    for kind in ("service", "class"):
        for place in (found["spec"], *(found["spec"].get(name, {}) for name in ("transformer", "explainer"))):
            if kind in place:
                place[kind] = imaged(place[kind])
    if "policy" in found["spec"]:
        found["spec"]["policy"] = {"requireSignature": {"keys": [KEY]}}
    return found


def imaged(value: Any) -> dict[str, Any]:
    """A cluster's pods find a service or a class in an image, where this machine's find it in a directory."""
    found = {"target": value} if isinstance(value, str) else dict(value)
    found.pop("directory", None)
    return found | {"bundle": "registry.example.com/team/iris:1"}


def reachable(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: reachable(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [reachable(inner) for inner in value]
    return LOCAL.sub(r"s3://models/\1", value) if isinstance(value, str) else value


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of everything in a document, whole parts too."""
    if path:
        yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in inside:
        yield from leaves(inner, (*path, name))


def without(document: dict[str, Any], path: tuple[Any, ...]) -> dict[str, Any]:
    changed = copy.deepcopy(document)
    place = changed
    for step in path[:-1]:
        place = place[step]
    del place[path[-1]]
    return changed


def made(document: dict[str, Any]) -> tuple[list[bytes], Deployment]:
    """What a cluster gets, with all versions and variants there and called."""
    deployment = live.read_object(document)
    slots = [
        Slot(variant=variant.name, component=component, revision="iris-00001", replicas=1, activator_port=31000)
        for variant in deployment.all_variants
        for component in variant.components
    ]
    # A canary beside, for what is said of one.
    slots += [msgspec.structs.replace(one, role="candidate") for one in slots if one.variant == deployment.variant]
    shares = [
        Share(variant=one.name, weight=0 if one.mirror_percent else 50, mirror_percent=one.mirror_percent)
        for one in deployment.all_variants
    ]
    placement = Placement(uid="u", owner=("tiffin.dev/v1", "Deployment"), slots=tuple(slots), shares=tuple(shares))
    objects = render.render(deployment, placement, SETTINGS, ALL)
    return [msgspec.json.encode(one, order="sorted") for one in objects], deployment


def said(deployment: Deployment) -> set[str]:
    found = {*deployment.warnings, *render.unsupported(deployment, SETTINGS, ALL)}
    return {re.sub(r"\[(\d+)\]", r".\1", one.path.removeprefix("spec.")) for one in found}


def is_below(path: str, others: Iterable[str]) -> bool:
    """Whether a path is one of others, or of a part of it."""
    return any(path == other or path.startswith(f"{other}.") for other in others)


def unaffected(document: dict[str, Any]) -> Iterator[str]:
    """What makes no difference, and nobody says so."""
    before, deployment = made(document)
    told = said(deployment)
    for steps in leaves(document):
        path = ".".join(map(str, steps)).removeprefix("spec.")
        if is_below(path, DECIDED) or is_below(path, told):
            continue
        try:
            after, _ = made(without(document, steps))
        except (SpecError, KeyError):
            continue  # It cannot be left out, so it is read.
        if after == before:
            yield path


DOCUMENTS = [whole(text) for text in EXAMPLES]


@pytest.mark.parametrize("document", DOCUMENTS, ids=[" ".join(one["spec"]) for one in DOCUMENTS])
def test_it_has_an_effect_or_is_said_to_have_none(document: dict[str, Any]) -> None:
    assert list(unaffected(document)) == []


def test_what_is_decided_by_is_no_part_of_what_is_made() -> None:
    """An entry of the table that is not needed hides what is lost."""
    seen = {path for document in DOCUMENTS for steps in leaves(document)
            if is_below(path := ".".join(map(str, steps)).removeprefix("spec."), DECIDED)}  # fmt: skip
    assert all(any(is_below(path, [entry]) for path in seen) for entry in DECIDED)

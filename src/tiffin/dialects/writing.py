"""A deployment as a file of another system, and what that system has no words for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from tiffin.dialects import pods
from tiffin.dialects.kserve_writing import write as write_kserve
from tiffin.dialects.seldon_writing import write as write_seldon
from tiffin.dialects.tiffin_writing import write as write_tiffin
from tiffin.spec import Component, Deployment

Target = Literal["kserve", "seldon", "tiffin"]

WRITERS: dict[str, Callable[[Deployment], tuple[dict[str, Any], list[str]]]] = {
    "kserve": write_kserve,
    "seldon": write_seldon,
    "tiffin": write_tiffin,
}
"""By the dialect that is written: the document as plain values, and what it cannot say, in words."""


class Converted(msgspec.Struct, frozen=True):
    """``text`` is YAML. ``losses`` name all that the deployment says and the text does not."""

    text: str
    losses: tuple[str, ...] = ()


def convert(deployment: Deployment, to: Target) -> Converted:
    """The deployment in the words of another dialect; nothing is dropped without being listed."""
    said, secrets = _without_secrets(deployment)
    document, losses = WRITERS[to](said)
    return Converted(to_yaml(document), (*secrets, *losses))


def _without_secrets(deployment: Deployment) -> tuple[Deployment, list[str]]:
    """The deployment without variables that came from secrets, and their names."""
    losses: list[str] = []

    def plain(component: Component, place: str) -> Component:
        if not component.secret_variables:
            return component
        at = f"{place}components.{component.name}.environment"
        referred = _referred(component)
        losses.extend(
            f"{at}.{name}: came from a secret, and is not written"
            for name in component.secret_variables
            if name not in referred
        )
        kept = {
            name: value for name, value in component.environment.items() if name not in component.secret_variables
        }
        return msgspec.structs.replace(component, environment=kept, secret_variables=())

    components = tuple(plain(component, "") for component in deployment.components)
    variants = tuple(
        msgspec.structs.replace(
            variant, components=tuple(plain(each, f"variants.{variant.name}.") for each in variant.components)
        )
        for variant in deployment.variants
    )
    return msgspec.structs.replace(deployment, components=components, variants=variants), losses


def _referred(component: Component) -> set[str]:
    """Variables that its pods read from a secret by themselves."""
    written = pods.named(component.pod.spec, component.pod.main).get("env")
    found = written if isinstance(written, list) else []
    return {one["name"] for one in found if isinstance(one, dict) and one.get("valueFrom") and "name" in one}


def to_yaml(document: dict[str, Any]) -> str:
    """YAML as people write it: in the order of the mapping, nothing folded."""
    import yaml

    text: str = yaml.safe_dump(document, sort_keys=False, default_flow_style=False, width=1_000_000)
    return text

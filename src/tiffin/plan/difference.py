"""What differs between two versions of a deployment, and what changing one into the other would do. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from tiffin.plan.objects import Change
from tiffin.plan.revision import digest
from tiffin.spec import Deployment, ModelSource, Variant

_NO_CHANGE = frozenset(("file", "document", "warnings", "derived_name"))
"""Where a deployment was written, and what was said about it, is no part of it."""

_SECRET = frozenset(("credentials",))


def diff(before: Deployment | None, after: Deployment | None) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """The fields that differ, by path, and what would be done, in sentences.

    ``None`` is a deployment that does not exist. Values of credentials are not shown.
    """
    if before is None or after is None:
        return (), _appears(after) if after is not None else _disappears(before)
    changes = tuple(_walk("", _plain(before), _plain(after)))
    return changes, tuple(_effects(before, after)) if changes else ()


def is_equal(before: Deployment, after: Deployment) -> bool:
    """Whether nothing but where it was written differs."""
    return _plain(before) == _plain(after)


def _plain(deployment: Deployment) -> dict[str, Any]:
    found = msgspec.to_builtins(deployment)
    return {name: value for name, value in found.items() if name not in _NO_CHANGE}


def _walk(path: str, before: Any, after: Any) -> Iterator[Change]:
    if before == after:
        return
    if path.rpartition(".")[2] in _SECRET:
        yield Change(
            path=path, before="(hidden)" if before else None, after="(hidden, changed)" if after else None
        )
    elif isinstance(before, dict) and isinstance(after, dict):
        for name in [*before, *(name for name in after if name not in before)]:
            yield from _walk(f"{path}.{name}" if path else name, before.get(name), after.get(name))
    elif isinstance(before, list | tuple) and isinstance(after, list | tuple):
        yield from _walk_list(path, before, after)
    else:
        yield Change(path=path, before=_without_secrets(before), after=_without_secrets(after))


def _without_secrets(value: Any) -> Any:
    """A value that may hold a whole component, which came or went with its credentials."""
    if isinstance(value, list | tuple):
        return [_without_secrets(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: "(hidden)" if name in _SECRET and inner else _without_secrets(inner) for name, inner in value.items()
    }


def _walk_list(path: str, before: Any, after: Any) -> Iterator[Change]:
    named = [isinstance(item, dict) and "name" in item for item in (*before, *after)]
    if named and all(named):
        # Components, variants and parameters are known by their names, wherever they stand.
        first, second = ({item["name"]: item for item in items} for items in (before, after))
        for name in [*first, *(name for name in second if name not in first)]:
            yield from _walk(f"{path}[{name}]", first.get(name), second.get(name))
        return
    for index in range(max(len(before), len(after))):
        old = before[index] if index < len(before) else None
        new = after[index] if index < len(after) else None
        yield from _walk(f"{path}[{index}]", old, new)


def _appears(after: Deployment) -> tuple[str, ...]:
    if after.stopped:
        return ("it would be kept, with nothing running",)
    return tuple(_starts(after, variant) for variant in after.all_variants)


def _disappears(before: Deployment | None) -> tuple[str, ...]:
    return () if before is None else ("all its replicas would finish their calls and end",)


def _effects(before: Deployment, after: Deployment) -> Iterator[str]:
    if after.stopped != before.stopped:
        yield from (_appears(after) if before.stopped else _disappears(before))
        return
    old = {variant.name: variant for variant in before.all_variants}
    new = {variant.name: variant for variant in after.all_variants}
    for name, variant in new.items():
        if name not in old:
            yield _starts(after, variant)
        elif digest(old[name], before.protocol) != digest(variant, after.protocol):
            yield f"a new revision of {_called(after, name)} would be started, and {_takes(after, name)}"
        else:
            yield from _resized(old[name], variant)
        if name in old and old[name].weight != variant.weight and variant.mirror_percent is None:
            less = old[name].weight
            yield f"{_called(after, name)} would get {variant.weight:g} % of the calls instead of {less:g} %"
    for name in old.keys() - new.keys():
        yield f"the variant {name} would finish its calls and end"
    if before.canary_percent != after.canary_percent:
        yield _canary(after.canary_percent)
    if (before.routes, before.traffic) != (after.routes, after.traffic):
        yield "the gateway's routes would change"


def _resized(before: Variant, after: Variant) -> Iterator[str]:
    old = {component.name: component.scaling for component in before.components}
    for component in after.components:
        if component.name in old and old[component.name] != component.scaling:
            least, most = component.scaling.min_replicas, component.scaling.max_replicas
            upper = "any number" if most == 0 else most
            bounds = f"{least}" if component.scaling.is_fixed else f"{least} to {upper}"
            yield f"the number of replicas of its {component.name} would be {bounds}; none is started anew"


def _starts(deployment: Deployment, variant: Variant) -> str:
    parts = []
    for component in variant.components:
        count = max(component.scaling.min_replicas, component.scaling.windows.initial_scale)
        what = f" of {component.source.artefact.uri}" if isinstance(component.source, ModelSource) else ""
        parts.append(f"{count} replica{'' if count == 1 else 's'} of its {component.name}{what}")
    return f"{_called(deployment, variant.name)} would be started: {', '.join(parts)}"


def _called(deployment: Deployment, name: str) -> str:
    return "it" if not deployment.variants else f"the variant {name}"


def _takes(after: Deployment, name: str) -> str:
    if name == after.variant and after.canary_percent is not None:
        return f"would get {after.canary_percent:g} % of the calls once it is ready"
    if name == after.variant and after.rollout is not None:
        return f"would take over in {len(after.rollout.steps)} steps, judged all along"
    return "would take over once it is ready; the one before would finish its calls and end"


def _canary(percent: float | None) -> str:
    if percent is None:
        return "the newest revision would get all calls once it is ready"
    return f"the newest revision would get {percent:g} % of the calls, the one rolled out before the rest"

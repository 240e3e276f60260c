"""What one deployment says and another does not: how a conversion knows what it lost.

A writer's document is read again and compared with the deployment it was made from, so that nothing can be
forgotten in a list of losses that somebody keeps by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from tiffin.dialects import remainders
from tiffin.dialects.documents import child
from tiffin.dialects.fields import describe
from tiffin.spec import Component, Deployment, Measure, Pod, Route

_TARGETS = {"concurrency": 100.0, "rps": 200.0, "cpu": 80.0, "memory": 80.0}
# Where it was written, and what was said of it there.
_ELSEWHERE = ("file", "document", "warnings", "derived_name", "dialect", "routes")
_SECRET = ("credentials",)
_FREE = ("labels", "annotations", "environment")
_NO_POD = msgspec.to_builtins(Pod())
_POD = re.compile(r"\.(pod|autoscaler_spec)(\.|$)")


def differences(before: Deployment, after: Deployment) -> list[str]:
    """What ``after`` says otherwise or not at all, each with its path; values of credentials are not shown."""
    return [*_differences(_plain(before), _plain(after), ""), *_addresses(before, after)]


def _plain(deployment: Deployment) -> dict[str, Any]:
    components = tuple(_filled(component) for component in deployment.components)
    variants = tuple(
        msgspec.structs.replace(variant, components=tuple(_filled(component) for component in variant.components))
        for variant in deployment.variants
    )
    filled = msgspec.structs.replace(deployment, components=components, variants=variants)
    found: dict[str, Any] = msgspec.to_builtins(filled)
    for name in _ELSEWHERE:
        found.pop(name)
    named: dict[str, Any] = _by_name(found)
    return named


def _filled(component: Component) -> Component:
    """With the targets that measures have when none is said, and most replicas when it is the least."""
    scaling = component.scaling
    measures = tuple(_targeted(measure) for measure in scaling.measures)
    most = scaling.max_replicas
    if most is None:
        most = max(1, scaling.min_replicas)
    if scaling.is_fixed:  # nothing is measured then
        measures, most = (), scaling.min_replicas
    scaling = msgspec.structs.replace(scaling, measures=measures, max_replicas=most)
    return msgspec.structs.replace(component, scaling=scaling, pod=_renamed(remainders.of(component)))


def _renamed(pod: Pod) -> Pod:
    """With the same name for everybody's own container: what it is called is no difference."""
    spec = dict(pod.spec)
    if rest := remainders.own(pod):
        spec["containers"] = [{"name": Pod().main, **rest}, *remainders.beside(pod)]
    return msgspec.structs.replace(pod, main=Pod().main, spec=spec)


def _targeted(measure: Measure) -> Measure:
    target = _TARGETS[measure.metric] if measure.target is None else measure.target
    return msgspec.structs.replace(measure, target=target)


def _by_name(value: Any) -> Any:
    """Lists of things with a name as mappings, so that a difference is named and not counted."""
    if isinstance(value, dict):
        return {name: _by_name(item) for name, item in value.items()}
    if not isinstance(value, list | tuple):
        return value
    for key in ("name", "metric"):
        names = [item.get(key) for item in value if isinstance(item, dict)]
        if value and all(isinstance(name, str) for name in names) and len(set(names)) == len(value):
            return {str(item[key]): _by_name({k: v for k, v in item.items() if k != key}) for item in value}
    return [_by_name(item) for item in value] or {}


def _differences(before: Any, after: Any, path: str) -> Iterator[str]:
    if before in (after, "") or (_POD.search(path) and before == _NO_POD):  # what nobody said cannot be lost
        return
    if any(path.endswith(f".{name}") for name in _SECRET):
        yield f"{path}: cannot be said; keep {', '.join(sorted(before))} in the environment of who fetches"
    elif isinstance(before, dict) and isinstance(after, dict):
        for name in before:
            if name in after:
                yield from _differences(before[name], after[name], child(path, name))
            elif before[name] not in (None, {}, [], "", False):
                yield f"{child(path, name)}: {_show(before[name])} cannot be said"
        # What a system adds to labels, variables and pods by itself takes nothing away.
        for name in () if path.endswith(_FREE) or _POD.search(path) else after:
            if name not in before and after[name] not in (None, {}, [], "", False):
                yield f"{child(path, name)}: becomes {_show(after[name])}"
    elif after in (None, {}, [], "", False):
        yield f"{path}: {_show(before)} cannot be said"
    else:
        yield f"{path}: {_show(before)} becomes {_show(after)}"


def _show(value: Any) -> str:
    if value in (None, {}, [], ""):
        return "nothing"
    if isinstance(value, dict | list):
        text = msgspec.json.encode(_hidden(value)).decode()
        return text if len(text) <= 120 else text[:117] + "..."
    return f"{value:g}" if isinstance(value, float) else describe(value).removesuffix(" (an integer)")


def _hidden(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: "..." if name in _SECRET and item else _hidden(item) for name, item in value.items()}
    return [_hidden(item) for item in value] if isinstance(value, list) else value


def _addresses(before: Deployment, after: Deployment) -> list[str]:
    kept = {one for route in after.routes for one in _each(route)}
    lost = dict.fromkeys(one for route in before.routes for one in _each(route) if one not in kept)
    if not lost:
        return []
    shown = list(lost)[:6]
    more = f" and {len(lost) - len(shown)} more" if len(lost) > len(shown) else ""
    return [f"addresses: {', '.join(shown)}{more} answer no longer"]


def _each(route: Route) -> list[str]:
    return [f"{host}{route.path}" for host in route.hosts or ("",)]

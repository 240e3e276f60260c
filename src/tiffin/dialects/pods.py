"""PodSpecs and containers as plain JSON: one laid over another, and the texts in them filled in. Pure.

Lists whose items have a key are merged item by item, as Kubernetes' strategic merge does; any other list, and any
plain value, takes the place of what was there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_KEYS = {
    "containers": "name", "initContainers": "name", "ephemeralContainers": "name", "volumes": "name",
    "imagePullSecrets": "name", "hostAliases": "ip", "topologySpreadConstraints": "topologyKey",
    "resourceClaims": "name", "schedulingGates": "name", "env": "name", "ports": "containerPort",
    "volumeMounts": "mountPath", "volumeDevices": "devicePath",
}  # fmt: skip
"""By field: the key by which the items of its list are told apart."""

_WHOLE = ("env", "volumes", "resourceClaims")
"""Lists of which an item is replaced as a whole: a variable has a value or a source, a volume is of one kind."""

_ONE_OF = ("httpGet", "exec", "tcpSocket", "grpc")
"""What a probe or a hook does: one of them, so another one drops it."""


def compact(value: Any) -> Any:
    """Without fields that say nothing: those that are ``null``."""
    if isinstance(value, dict):
        return {name: compact(item) for name, item in value.items() if item is not None}
    return [compact(item) for item in value] if isinstance(value, list) else value


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """A PodSpec, a container or a part of one with another laid over it."""
    result = dict(under)
    if any(name in over for name in _ONE_OF):
        result = {name: value for name, value in result.items() if name not in _ONE_OF or name in over}
    for name, value in over.items():
        held = result.get(name)
        if value is None:
            continue
        if isinstance(value, dict) and isinstance(held, dict):
            result[name] = merged(held, value)
        elif isinstance(value, list) and isinstance(held, list) and _are_keyed(name, held + value):
            result[name] = _by_key(held, value, _KEYS[name], whole=name in _WHOLE)
        else:
            result[name] = value
    return result


def _are_keyed(name: str, items: list[Any]) -> bool:
    """Whether every item has the key; the API server says what is wrong with one that has not."""
    key = _KEYS.get(name)
    return key is not None and all(isinstance(item, dict) and _is_plain(item.get(key)) for item in items)


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int)


def _by_key(under: list[Any], over: list[Any], key: str, *, whole: bool) -> list[Any]:
    found = {item[key]: item for item in under}
    for item in over:
        held = found.get(item[key])
        found[item[key]] = item if whole or held is None else merged(held, item)
    return list(found.values())


def container(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """A container laid over another one, as KServe does it with a runtime's: the arguments follow."""
    result = merged(under, over)
    arguments = [*_list(under.get("args")), *_list(over.get("args"))]
    return result | ({"args": arguments} if arguments else {})


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def filled(value: Any, text: Callable[[str], str]) -> Any:
    """The value with every text in it, the names of fields left alone, as ``text`` makes it."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, dict):
        return {name: filled(item, text) for name, item in value.items()}
    return [filled(item, text) for item in value] if isinstance(value, list) else value


def with_variables(own: Mapping[str, Any], variables: Mapping[str, str]) -> dict[str, Any]:
    """A container with these variables; those it has already take the value."""
    written = [{"name": name, "value": value} for name, value in variables.items()]
    return merged({"env": []} | dict(own), {"env": written}) if written else dict(own)


def named(spec: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The container of a PodSpec that has this name; empty where there is none."""
    found = (one for one in _list(spec.get("containers")) if isinstance(one, dict) and one.get("name") == name)
    return next(found, {})


def every(spec: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """All containers of a PodSpec, those that run first among them."""
    return (one for kind in _CONTAINERS for one in _list(spec.get(kind)) if isinstance(one, dict))


# ---- resources

USUAL = {"cpu": "1", "memory": "2Gi"}
"""What KServe gives a container that asks for nothing, as its request and its limit."""


def with_usual_resources(own: Mapping[str, Any], amount: Callable[[Any], float]) -> dict[str, Any]:
    """A container that asks for KServe's usual amounts where it says nothing.

    A usual limit is never less than what is requested, nor a usual request more than the limit: such a pod would
    be refused. ``amount`` is the number that a quantity means.
    """
    written = own.get("resources") or {}
    requests, limits = dict(written.get("requests") or {}), dict(written.get("limits") or {})
    for name, usual in USUAL.items():
        asked, allowed = requests.get(name), limits.get(name)
        if asked is None:
            requests[name] = allowed if allowed is not None and amount(allowed) < amount(usual) else usual
        if allowed is None:
            limits[name] = asked if asked is not None and amount(asked) > amount(usual) else usual
    return {**own, "resources": {**written, "requests": requests, "limits": limits}}

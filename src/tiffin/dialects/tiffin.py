"""Tiffin's own file: ``tiffin.dev/v1``, kind ``Deployment``.

::

    apiVersion: tiffin.dev/v1
    kind: Deployment
    metadata:
      name: iris
    spec:
      model: model.joblib

Every field is in ``tiffin_fields``, which is the parser and the JSON Schema (``tiffin_schema``) at once, and is
shown with an example in docs/reference/tiffin-file.md. Here the fields become a ``Deployment``, and are checked
against each other.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tiffin.dialects import routes
from tiffin.dialects.documents import Document, child
from tiffin.dialects.fields import Reader, describe, one_of
from tiffin.dialects.tiffin_component import component, dependencies, kind_of
from tiffin.dialects.tiffin_fields import API_VERSIONS, DEPLOYMENT, KIND
from tiffin.spec import (
    Component,
    Deployment,
    Gate,
    Jwt,
    Match,
    Policy,
    Recording,
    Rollout,
    Route,
    Rule,
    Step,
    Sticky,
    Target,
    Traffic,
    Variant,
)
from tiffin.spec.deployment import Protocol
from tiffin.spec.policy import is_pem

__all__ = ["API_VERSIONS", "KIND", "deployment"]

_PROTOCOLS: dict[str, Protocol] = {
    "model": "open-inference", "service": "named-json", "class": "seldon", "container": "open-inference"
}  # fmt: skip
_REVISIONS = ("stable", "canary")


def deployment(
    document: Document, *, base: str = "", domain: str = routes.DOMAIN, target: Target = "local"
) -> Deployment:
    """A Tiffin document as a deployment; relative paths start from ``base``.

    Raises:
        SpecError: a field is missing, unknown or of another form, or two fields contradict each other.
    """
    reader = Reader(document, target)
    written = DEPLOYMENT.read(reader, document.value, document.path)
    reader.finish()
    spec, metadata = written["spec"], written["metadata"]
    at = child(document.path, "spec")
    name, namespace = metadata["name"], metadata.get("namespace", "default")
    protocol = spec.get("protocol", _PROTOCOLS[kind_of(spec)])
    main = spec.get("variant", "main")
    policy = _policy(spec.get("policy", {}), base)
    variants = tuple(
        msgspec.structs.replace(variant, components=_under(policy, variant.components))
        for variant in _variants(reader, spec, base, at, main)
    )
    components = _under(policy, _components(reader, spec, base, at))
    return Deployment(
        name=name,
        namespace=namespace,
        protocol=protocol,
        components=components,
        variant=main,
        variants=variants,
        canary_percent=spec.get("canary"),
        traffic=_traffic(reader, spec.get("traffic", {}), base, child(at, "traffic"), [main, *_names(variants)]),
        rollout=_rollout(reader, spec["rollout"], child(at, "rollout")) if "rollout" in spec else None,
        recording=_recording(spec.get("record", False)),
        stopped=spec.get("stopped", False),
        routes=_routes(name, namespace, protocol, kind_of(spec), components, variants, domain),
        labels=metadata.get("labels", {}),
        annotations=metadata.get("annotations", {}),
        file=document.file,
        document=document.index,
        warnings=reader.finish(),
    )


def _routes(
    name: str,
    namespace: str,
    protocol: Protocol,
    kind: str,
    components: tuple[Component, ...],
    variants: tuple[Variant, ...],
    domain: str,
) -> tuple[Route, ...]:
    found = routes.own(name, namespace, domain)
    if kind == "model" or protocol in ("open-inference", "kserve-v1"):
        found += routes.open_inference(components[0].model_name or name)
    # What only services call is reached by them alone.
    names = [part.name for part in components if not part.is_dependency]
    if len(names) > 1:
        found += routes.components(name, namespace, names)
    for variant in variants:
        # A variant is also reached by itself, to try it before anybody else gets it.
        path = f"/{namespace}/{name}/-/variant/{variant.name}"
        found += (Route(path=path, rewrite="/", variant=variant.name),)
    return found


def _names(variants: tuple[Variant, ...]) -> list[str]:
    return [variant.name for variant in variants]


def _components(reader: Reader, written: Mapping[str, Any], base: str, at: str) -> tuple[Component, ...]:
    """The model first, then what stands before or beside it."""
    found = [component(reader, written, base, at)]
    found += [
        component(reader, written[name], base, child(at, name), name=name)
        for name in ("transformer", "explainer")
        if name in written
    ]
    return (*found, *dependencies(reader, written, base, at))


def _variants(reader: Reader, spec: Mapping[str, Any], base: str, at: str, main: str) -> tuple[Variant, ...]:
    found = []
    path = child(at, "variants")
    for name, written in spec.get("variants", {}).items():
        if name == main or name in ("main", *_REVISIONS):
            message = f"expected a name of its own, found {describe(name)}"
            hint = "the main variant is called so; stable and canary are revisions of it"
            raise reader.error(child(path, name), message, hint)
        found.append(
            Variant(
                name=name,
                components=_components(reader, written, base, child(path, name)),
                weight=written.get("weight", 0.0),
                mirror_percent=written.get("mirror"),
                labels=written.get("labels", {}),
            )
        )
    total = sum(variant.weight for variant in found)
    if total > 100:
        hint = "the main variant has what the others leave"
        raise reader.error(path, f"expected weights of at most 100 % together, found {total:g} %", hint)
    return tuple(found)


# ---- traffic


def _traffic(reader: Reader, written: Mapping[str, Any], base: str, at: str, variants: list[str]) -> Traffic:
    rules = tuple(
        _rule(reader, rule, child(child(at, "rules"), index), variants)
        for index, rule in enumerate(written.get("rules", ()))
    )
    sticky = written.get("sticky")
    return Traffic(
        sticky=None if sticky is None else _sticky(sticky),
        rules=rules,
        jwt=_jwt(written["jwt"], base) if "jwt" in written else None,
        tags=written.get("tags", True),
        max_body_bytes=written.get("maxBody"),
    )


def _sticky(written: Mapping[str, Any]) -> Sticky:
    if "header" in written:
        return Sticky(by="header", name=written["header"])
    return Sticky(by="cookie", name=written["cookie"], ttl_seconds=written.get("ttl", 0.0))


def _rule(reader: Reader, written: Mapping[str, Any], at: str, variants: list[str]) -> Rule:
    matches: list[Match] = []
    for field in ("header", "claim"):
        for name, value in written.get(field, {}).items():
            matches.append(_match(reader, field, name, value, child(child(at, field), name)))
    known = (*variants, *(name for name in ("main", *_REVISIONS) if name not in variants))
    to = written["to"]
    if to not in known:
        raise reader.error(child(at, "to"), f"expected a variant, {one_of(known)}, found {describe(to)}")
    return Rule(matches=tuple(matches), variant=variants[0] if to == "main" else to)


def _match(reader: Reader, field: str, name: str, value: Any, at: str) -> Match:
    found = Match(header=name) if field == "header" else Match(claim=name)
    if value is True:
        return msgspec.structs.replace(found, how="present")
    if isinstance(value, str):
        return msgspec.structs.replace(found, value=value)
    if "prefix" in value:
        return msgspec.structs.replace(found, value=value["prefix"], how="prefix")
    try:
        re.compile(value["regex"])
    except (re.error, RecursionError, OverflowError) as error:
        raise reader.error(child(at, "regex"), f"expected a regular expression: {error}") from None
    return msgspec.structs.replace(found, value=value["regex"], how="regex")


def _jwt(written: Mapping[str, Any], base: str) -> Jwt:
    file = written.get("jwksFile", "")
    return Jwt(
        issuer=written["issuer"],
        audiences=written.get("audiences", ()),
        jwks=written.get("jwks", ""),
        jwks_file=str(Path(base) / file) if file else "",
        required=written.get("required", True),
    )


# ---- policy, rollout and recording


def _policy(written: Mapping[str, Any], base: str) -> Policy:
    wish = written.get("requireSignature", False)
    if isinstance(wish, bool):
        return Policy(require_signature=wish)
    keys = tuple(key if is_pem(key) else str(Path(base) / key) for key in wish["keys"])
    return Policy(require_signature=True, keys=keys)


def _under(policy: Policy, components: tuple[Component, ...]) -> tuple[Component, ...]:
    return tuple(msgspec.structs.replace(one, policy=policy) for one in components)


def _rollout(reader: Reader, written: Mapping[str, Any], at: str) -> Rollout:
    steps = tuple(_step(step) for step in written["steps"])
    for index, (before, after) in enumerate(itertools.pairwise(steps), start=1):
        if after.weight < before.weight:
            message = f"expected at least {before.weight:g} %, as in the step before, found {after.weight:g} %"
            raise reader.error(child(child(at, "steps"), index), message)
    gates = Rollout(steps=()).gates
    if "gates" in written:
        gates = _gates(written["gates"])
    mirror = written.get("mirror", 0.0)
    if mirror == 0 and any(gate.kind == "agreement" for gate in gates):
        message = "expected rollout.mirror beside it, found none: only mirrored answers can be compared"
        raise reader.error(child(child(at, "gates"), "agreement"), message, "write mirror: 10%")
    for index, query in enumerate(written.get("gates", {}).get("query", ())):
        if query.get("min", float("-inf")) > query.get("max", float("inf")):
            path = child(child(child(at, "gates"), "query"), index)
            raise reader.error(child(path, "max"), f"expected at least min ({query['min']:g})")
    plain = Rollout(steps=())
    return Rollout(
        steps=steps,
        gates=gates,
        false_alarm=written.get("falseAlarm", plain.false_alarm),
        min_calls=written.get("minCalls", plain.min_calls),
        mirror_percent=mirror,
        automatic_rollback=written.get("rollback", True),
    )


def _step(written: Any) -> Step:
    if not isinstance(written, dict):
        return Step(weight=written)
    return Step(weight=written["weight"], seconds=written.get("for", 0.0), pause=written.get("pause", False))


def _gates(written: Mapping[str, Any]) -> tuple[Gate, ...]:
    found: list[Gate] = []
    if "errorRate" in written:
        found.append(Gate(kind="error-rate", margin=written["errorRate"]))
    for name, ratio in written.get("latency", {}).items():
        found.append(Gate(kind="latency", quantile=round(float(name[1:]) / 100, 9), ratio=ratio))
    if "agreement" in written:
        found.append(_agreement(written["agreement"]))
    for query in written.get("query", ()):
        gate = Gate(
            kind="query",
            query=query["expr"],
            server=query["server"],
            least=query.get("min"),
            most=query.get("max"),
        )
        found.append(gate)
    return tuple(found)


def _agreement(written: Any) -> Gate:
    if not isinstance(written, dict):
        return Gate(kind="agreement", least=written)
    plain = Gate(kind="agreement")
    return Gate(kind="agreement", least=written["least"], tolerance=written.get("tolerance", plain.tolerance))


def _recording(written: Any) -> Recording | None:
    if isinstance(written, bool):
        return Recording() if written else None
    plain = Recording()
    return Recording(
        percent=written.get("percent", plain.percent),
        max_bytes=written.get("maxSize", plain.max_bytes),
        max_body_bytes=written.get("maxBody", plain.max_body_bytes),
    )

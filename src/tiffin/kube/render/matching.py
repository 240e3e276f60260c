"""Conditions of an HTTPRoute's rules on headers, and which of a file's rules it cannot say.

A gateway does not try rules in their order: of those that match it takes the longest path, then the most headers,
and only then the first. Rules of a file are tried in their order, so one that a gateway would try too early is
warned of.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from tiffin.errors import SpecError
from tiffin.gateway import regexes
from tiffin.spec import Match, Rule, Traffic

MOST_HEADERS = 16
"""The Gateway API's bound of one match."""
LONGEST = 4096
"""Of a header's value, in characters."""
GRPC_SERVICE = "/inference.GRPCInferenceService"
_GRPC = {"type": "RegularExpression", "name": "content-type", "value": "^application/grpc.*"}
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}")


def prefix(path: str) -> dict[str, Any]:
    """A match of a path and all below it."""
    return {"path": {"type": "PathPrefix", "value": path}}


def exact(path: str) -> dict[str, Any]:
    """A match of one path."""
    return {"path": {"type": "Exact", "value": path}}


def grpc(headers: Iterable[dict[str, str]] = (), service: str = GRPC_SERVICE) -> dict[str, Any]:
    """A match of calls to a service of gRPC's."""
    return {**prefix(service), "headers": [_GRPC, *headers]}


def headers(rule: Rule) -> list[dict[str, str]] | None:
    """What a request's headers must be; ``None`` where the Gateway API cannot say it.

    Raises:
        SpecError: a name or a pattern that no gateway takes.
    """
    return None if _why_not(rule) else [_header(match) for match in rule.matches]


def problems(traffic: Traffic) -> Iterator[tuple[str, str]]:
    """By path in the file: the rules that are left out, and those that a gateway tries too early."""
    for index, rule in enumerate(traffic.rules):
        if reason := _why_not(rule):
            yield f"traffic.rules[{index}]", f"is left out: {reason}"
            continue
        for before in range(index):
            other = traffic.rules[before]
            if not _why_not(other) and _is_early(rule, other):
                message = f"is tried before rules[{before}]: gateways try rules with more headers first"
                yield f"traffic.rules[{index}]", message
                break


def _why_not(rule: Rule) -> str:
    if any(match.claim for match in rule.matches):
        return "it looks at a claim of a token, and tokens are not read"
    names = [match.header.lower() for match in rule.matches]
    if len(set(names)) < len(names):
        return "it looks at one header twice, which the Gateway API has no word for"
    # One of a match's headers is for calls of gRPC.
    if len(names) >= MOST_HEADERS or any(len(match.value) >= LONGEST - 8 for match in rule.matches):
        return f"the Gateway API takes {MOST_HEADERS - 1} headers of {LONGEST} characters"
    return "" if names else "it has no condition"


def _is_early(rule: Rule, before: Rule) -> bool:
    if len(rule.matches) <= len(before.matches) or rule.variant == before.variant:
        return False
    values = {match.header.lower(): match.value for match in before.matches if match.how == "exact"}
    others = {match.header.lower(): match.value for match in rule.matches if match.how == "exact"}
    return all(others[name] == values[name] for name in values.keys() & others.keys())


def _header(match: Match) -> dict[str, str]:
    name = match.header
    if not _NAME.fullmatch(name):
        raise SpecError(
            f"expected the name of a header, found {name!r}",
            hint="letters, digits and - are fine",
            at="traffic.rules",
        )
    if match.how == "exact" and match.value and match.value.isprintable():
        return {"type": "Exact", "name": name, "value": match.value}
    # Some gateways look for a pattern anywhere in a value, others want it to be the whole.
    pattern = {
        "exact": f"^{re.escape(match.value)}$",
        "prefix": f"^{re.escape(match.value)}.*$",
        "present": "^.*$",
    }.get(match.how)
    return {"type": "RegularExpression", "name": name, "value": pattern or f"^(?:{regexes.checked(match.value)})$"}

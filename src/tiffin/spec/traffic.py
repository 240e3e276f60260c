"""Who gets which variant of a deployment, beside the weights."""

from __future__ import annotations

from typing import Literal

import msgspec


class Sticky(msgspec.Struct, frozen=True, kw_only=True):
    """Callers with the same value of a header or cookie get the same variant.

    A cookie that a caller does not send is set, for ``ttl_seconds`` (0: until the browser is closed).
    """

    by: Literal["header", "cookie"]
    name: str
    ttl_seconds: float = 0.0


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """A condition on a request: a header, or a claim of its JWT (``a.b`` is ``b`` in ``a``)."""

    header: str = ""
    claim: str = ""
    value: str = ""
    how: Literal["exact", "prefix", "regex", "present"] = "exact"


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that fulfil all of ``matches`` go to ``variant``: its name, or ``stable``, ``canary``."""

    matches: tuple[Match, ...]
    variant: str


class Jwt(msgspec.Struct, frozen=True, kw_only=True):
    """Whose tokens are taken. ``jwks`` is the JSON of the keys, or ``jwks_file`` the path of a file of it.

    ``required``: requests without a valid token are answered 401; otherwise they only match no claim.
    """

    issuer: str
    audiences: tuple[str, ...] = ()
    jwks: str = ""
    jwks_file: str = ""
    required: bool = True


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """Rules are tried in their order; what none of them takes is split by weight.

    ``tags``: whether revisions are also reachable under host names of their own (``canary-iris...``).
    ``max_body_bytes``: larger requests are answered 413; ``None``: the gateway's own limit.
    """

    sticky: Sticky | None = None
    rules: tuple[Rule, ...] = ()
    jwt: Jwt | None = None
    tags: bool = True
    max_body_bytes: int | None = None

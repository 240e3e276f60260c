"""The keys of those who issue tokens, read before anything is rendered."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec

from tiffin.errors import SpecError
from tiffin.gateway.router import Routed, Snapshot
from tiffin.spec import Jwt


def with_keys(snapshot: Snapshot) -> Snapshot:
    """The snapshot with the content of every ``jwks_file`` in its place; raises SpecError."""
    return dataclasses.replace(snapshot, routed=tuple(_with_keys(routed) for routed in snapshot.routed))


def patterns(snapshot: Snapshot) -> tuple[str, ...]:
    """Every regular expression, sorted."""
    found = {
        match.value
        for routed in snapshot.routed
        for choices in routed.choices.values()
        for choice in choices
        for match in choice.matches
        if match.how == "regex"
    }
    return tuple(sorted(found))


def _with_keys(routed: Routed) -> Routed:
    jwt = routed.deployment.traffic.jwt
    if jwt is None:
        return routed
    keys = _checked(_read(jwt), routed.deployment.key)
    traffic = msgspec.structs.replace(
        routed.deployment.traffic, jwt=msgspec.structs.replace(jwt, jwks=keys, jwks_file="")
    )
    return dataclasses.replace(routed, deployment=msgspec.structs.replace(routed.deployment, traffic=traffic))


def _read(jwt: Jwt) -> str:
    if jwt.jwks or not jwt.jwks_file:
        return jwt.jwks
    try:
        return Path(jwt.jwks_file).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(
            f"the keys for tokens cannot be read: {error} ({jwt.jwks_file})", hint="look at traffic.jwt.jwks_file"
        ) from error


def _checked(keys: str, deployment: str) -> str:
    """The keys, written alike; raises SpecError unless they look like keys."""
    try:
        found = msgspec.json.decode(keys)
        kinds = [key["kty"] for key in found["keys"]]
    except (msgspec.MsgspecError, KeyError, TypeError) as error:
        raise SpecError(
            f'expected a key set such as {{"keys": [{{"kty": "RSA", ...}}]}} for the tokens of {deployment}',
            hint="look at traffic.jwt.jwks or jwks_file",
        ) from error
    if not kinds:
        raise SpecError(f"the key set for the tokens of {deployment} has no key", hint="add the issuer's keys")
    return msgspec.json.encode(found).decode()

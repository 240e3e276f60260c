"""The keys of those who issue tokens, read before anything is rendered."""

from __future__ import annotations

import base64
import dataclasses
import logging
import secrets
from pathlib import Path

import msgspec

from tiffin.errors import SpecError
from tiffin.gateway.router import Routed, Snapshot
from tiffin.spec import Jwt

log = logging.getLogger(__name__)

MEMBERS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x"), "oct": ("k",)}


class Keys:
    """Key sets by the file they were read from.

    A file that cannot be read any more leaves its keys as they were: it is no reason to keep other deployments
    from changing. One that never could be read is a set of keys that nobody has.
    """

    def __init__(self) -> None:
        self._read: dict[str, str] = {}

    def put(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with the content of every ``jwks_file`` in its place; raises SpecError for other keys."""
        return dataclasses.replace(snapshot, routed=tuple(self._put(routed) for routed in snapshot.routed))

    def _put(self, routed: Routed) -> Routed:
        jwt = routed.deployment.traffic.jwt
        if jwt is None:
            return routed
        try:
            keys = read(jwt, routed.deployment.key)
            self._read[jwt.jwks_file] = keys
        except SpecError as error:
            if jwt.jwks or not jwt.jwks_file:
                raise
            log.warning("%s", error)
            keys = self._read.setdefault(jwt.jwks_file, _nobodys())
        told = msgspec.structs.replace(jwt, jwks=keys, jwks_file="")
        traffic = msgspec.structs.replace(routed.deployment.traffic, jwt=told)
        return dataclasses.replace(routed, deployment=msgspec.structs.replace(routed.deployment, traffic=traffic))


def read(jwt: Jwt, deployment: str) -> str:
    """The key set as JSON; raises SpecError unless it looks like one."""
    text = jwt.jwks
    if jwt.jwks_file and not jwt.jwks:
        try:
            text = Path(jwt.jwks_file).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError(
                f"the keys for the tokens of {deployment} cannot be read: {error} ({jwt.jwks_file})",
                hint="look at traffic.jwt.jwks_file",
            ) from error
    found: dict[str, list[dict[str, str]]] = {}
    try:
        found = msgspec.json.decode(text)
        whole = [all(isinstance(key[name], str) for name in MEMBERS[key["kty"]]) for key in found["keys"]]
    except (msgspec.MsgspecError, KeyError, TypeError):
        whole = []
    if not whole or not all(whole):
        raise SpecError(
            f'expected a key set such as {{"keys": [{{"kty": "RSA", "n": ..., "e": ...}}]}} for the tokens of '
            f"{deployment}",
            hint="look at traffic.jwt.jwks or jwks_file",
        )
    return msgspec.json.encode(found).decode()


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


def _nobodys() -> str:
    key = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    return msgspec.json.encode({"keys": [{"kty": "oct", "alg": "HS256", "k": key}]}).decode()

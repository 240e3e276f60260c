"""Who asks a registry: from Tiffin's own variables, or from what ``docker login`` and ``podman login`` left.

In this order, the first that knows the registry:

1. ``TIFFIN_REGISTRY_TOKEN``, or ``TIFFIN_REGISTRY_USERNAME`` with ``TIFFIN_REGISTRY_PASSWORD``. They are sent to
   the registry that ``TIFFIN_REGISTRY`` names, and to no other.
2. ``$REGISTRY_AUTH_FILE``, ``$DOCKER_CONFIG/config.json``, ``~/.docker/config.json`` and
   ``$XDG_RUNTIME_DIR/containers/auth.json``: their ``auths``, and the credential helpers they name.
"""

from __future__ import annotations

import base64
import binascii
import logging
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tiffin.errors import AuthorError, RegistryError
from tiffin.oci.reference import HUB, HUB_NAMES

log = logging.getLogger(__name__)

_HELPER_SECONDS = 30.0
_HUB_KEYS = (f"https://index.{HUB}/v1/", *HUB_NAMES)
"""How files of credentials name the hub: Docker's by the address of its first index."""


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """A user's name and password, or ``refresh`` (an identity token) or ``bearer`` (a token as it is sent).

    Never shown: not by ``repr`` either.
    """

    username: str = ""
    password: str = ""
    refresh: str = ""
    bearer: str = ""
    source: str = ""
    """Where they are from, for messages."""

    def __repr__(self) -> str:
        return f"Credentials(source={self.source!r})"

    @property
    def basic(self) -> str:
        """What follows ``Basic`` in the header; empty without a user."""
        if not self.username:
            return ""
        return base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


def find(registry: str, repository: str, environment: Mapping[str, str]) -> Credentials | None:
    """The credentials for a registry; None means anonymous.

    Raises:
        AuthorError: the variables or a file of credentials cannot be read.
        RegistryError: a credential helper failed.
    """
    own = _from_variables(registry, environment)
    if own is not None:
        return own
    for path in _files(environment):
        found = _from_file(path, registry, repository)
        if found is not None:
            return found
    return None


def home_registry(environment: Mapping[str, str]) -> str:
    """The host of ``TIFFIN_REGISTRY``, which may have a path behind it; empty when it is not set."""
    return prefix(environment).partition("/")[0]


def prefix(environment: Mapping[str, str]) -> str:
    """``TIFFIN_REGISTRY`` without a scheme: a host, and perhaps a path that names are put behind."""
    return re.sub(r"^[a-z]+://", "", environment.get("TIFFIN_REGISTRY", "")).strip("/")


def _from_variables(registry: str, environment: Mapping[str, str]) -> Credentials | None:
    token = environment.get("TIFFIN_REGISTRY_TOKEN", "")
    username = environment.get("TIFFIN_REGISTRY_USERNAME", "")
    password = environment.get("TIFFIN_REGISTRY_PASSWORD", "")
    if not (token or username or password):
        return None
    home = home_registry(environment)
    if not home:
        raise AuthorError(
            "TIFFIN_REGISTRY_USERNAME, _PASSWORD or _TOKEN is set, and TIFFIN_REGISTRY is not",
            hint="set TIFFIN_REGISTRY to the host they are for: they are sent to no other",
        )
    if home != registry:
        return None
    if not token and not (username and password):
        missing = "TIFFIN_REGISTRY_PASSWORD" if username else "TIFFIN_REGISTRY_USERNAME"
        raise AuthorError(f"{missing} is not set, and its partner is", hint="set both, or TIFFIN_REGISTRY_TOKEN")
    return Credentials(
        username=username,
        password=password,
        bearer=token,
        source="TIFFIN_REGISTRY_TOKEN" if token else "TIFFIN_REGISTRY_USERNAME",
    )


def _files(environment: Mapping[str, str]) -> Iterator[Path]:
    if file := environment.get("REGISTRY_AUTH_FILE"):
        yield Path(file)
    if directory := environment.get("DOCKER_CONFIG"):
        yield Path(directory) / "config.json"
    elif home := environment.get("HOME"):
        yield Path(home) / ".docker" / "config.json"
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        yield Path(runtime) / "containers" / "auth.json"


def _from_file(path: Path, registry: str, repository: str) -> Credentials | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    try:
        config = msgspec.json.decode(data or b"{}", type=dict[str, Any])
    except msgspec.MsgspecError:
        raise AuthorError(f"expected a JSON object in {path}", hint="log in again, or mend the file") from None
    auths, helpers = config.get("auths") or {}, config.get("credHelpers") or {}
    keys = list(_keys(registry, repository))
    for key in keys:
        if key in helpers:
            return _from_helper(str(helpers[key]), key)
    for key in keys:
        entry = auths.get(key)
        if isinstance(entry, dict) and (found := _of_entry(entry, path)) is not None:
            return found
    if store := config.get("credsStore"):
        return _from_helper(str(store), keys[-1] if registry != HUB else _HUB_KEYS[0])
    return None


def _keys(registry: str, repository: str) -> Iterator[str]:
    """How a file may spell the registry: podman's keys may have a path, Docker's a scheme."""
    if registry == HUB:
        yield from _HUB_KEYS
        return
    parts = repository.split("/")
    for length in range(len(parts), 0, -1):
        yield "/".join((registry, *parts[:length]))
    yield f"https://{registry}"
    yield f"https://{registry}/v2/"
    yield registry


def _of_entry(entry: dict[str, Any], path: Path) -> Credentials | None:
    if token := entry.get("identitytoken"):
        return Credentials(refresh=str(token), source=str(path))
    if token := entry.get("registrytoken"):
        return Credentials(bearer=str(token), source=str(path))
    if entry.get("username") and entry.get("password"):
        return Credentials(username=str(entry["username"]), password=str(entry["password"]), source=str(path))
    if not entry.get("auth"):
        return None
    try:
        user, separator, password = base64.b64decode(str(entry["auth"]), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        separator = ""
        user = password = ""
    if not separator:
        raise AuthorError(f"an entry of auths in {path} is not name:password in base64", hint="log in again")
    return Credentials(username=user, password=password.rstrip("\0"), source=str(path))


def _from_helper(name: str, key: str) -> Credentials | None:
    """What ``docker-credential-NAME get`` says; None when it knows nothing of the registry."""
    program = f"docker-credential-{name}"
    try:
        done = subprocess.run(
            [program, "get"], input=key.encode(), capture_output=True, timeout=_HELPER_SECONDS, check=False
        )
    except FileNotFoundError:
        raise RegistryError(
            f"the credentials of {key} are kept by {program}, which is not installed",
            hint="install it, or set TIFFIN_REGISTRY_USERNAME and TIFFIN_REGISTRY_PASSWORD",
        ) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RegistryError(f"{program} did not answer: {type(error).__name__}") from None
    if done.returncode != 0:
        # What it prints is not shown: it may hold what it keeps.
        log.debug("%s has no credentials of %s", program, key)
        return None
    try:
        found = msgspec.json.decode(done.stdout, type=dict[str, Any])
    except msgspec.MsgspecError:
        raise RegistryError(f"{program} did not answer with a JSON object") from None
    user, secret = str(found.get("Username", "")), str(found.get("Secret", ""))
    if user == "<token>":
        return Credentials(refresh=secret, source=program)
    return Credentials(username=user, password=secret, source=program) if user else None

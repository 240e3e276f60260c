"""The order a target gives to one replica: what to load, where to listen, within which limits.

A target writes it as JSON and starts ``python -m tiffin.runtime --replica FILE``; ``tiffin serve`` makes one
in memory. Artefacts are local paths by now: a replica never downloads.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tiffin.spec import fields
from tiffin.spec.deployment import Component, Protocol
from tiffin.spec.recording import Spool


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """Paths of PEM files. ``cert_reqs`` is 0, 1 or 2: no, an optional or a required certificate of the caller."""

    certfile: str
    keyfile: str = ""
    keyfile_password: str = ""
    ca_certs: str = ""
    cert_reqs: int = 0
    ciphers: str = ""


class Listen(msgspec.Struct, frozen=True, kw_only=True):
    """A Unix socket (``unix``), or a TCP address; port 0 lets the system choose.

    ``backlog`` counts connections that wait to be accepted; ``tls`` is for callers without a gateway in between.
    """

    unix: str = ""
    host: str = "127.0.0.1"
    port: int = 0
    backlog: int = 2048
    tls: Tls | None = None


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on what a caller may send and how long it may take.

    Bytes and seconds. ``max_headers`` counts header lines. ``head_seconds`` is the time for a whole request
    head, ``body_seconds`` the longest silence while a body arrives, ``keep_alive_seconds`` the idle time
    between requests, ``drain_seconds`` the time in-flight calls get after SIGTERM.
    """

    max_head_bytes: int = 32_768
    max_headers: int = 128
    max_body_bytes: int = 67_108_864
    max_nesting: int = 32
    max_tensor_bytes: int = 1_073_741_824
    head_seconds: float = 10.0
    body_seconds: float = 20.0
    keep_alive_seconds: float = 75.0
    drain_seconds: float = 30.0


class ReplicaSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything one replica needs to know.

    ``path`` is the local directory or file of the component's artefact. ``model_name`` is the name in
    ``/v2/models/{model_name}``. ``ready_file``, when set, receives one JSON line with the bound address once
    the replica is ready. ``variant`` is the deployment's variant it belongs to, for payload logs. ``recording``
    is where it may be told to write its calls. ``grpc`` is where it answers gRPC; ``None`` is nowhere.
    """

    deployment: str
    namespace: str = "default"
    model_name: str
    protocol: Protocol = "open-inference"
    component: Component
    path: str
    listen: Listen = Listen()
    grpc: Listen | None = None
    limits: Limits = Limits()
    ready_file: str = ""
    variant: str = ""
    recording: Spool | None = None
    dependencies: dict[str, str] = {}
    """Services that run apart, by name: where each is called, ``http://host:port/path`` or ``unix:/some.sock``."""
    tasks: str = ""
    """Address of the store of its tasks; empty is what the environment says, or a file of the deployment."""


def written(spec: ReplicaSpec) -> str:
    """The order as JSON without the fields that have their defaults.

    So that a field which Tiffin gains later changes no order that was given.
    """
    return msgspec.json.encode(_said(spec)).decode()


def _said(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        config = value.__struct_config__
        found = {config.tag_field: config.tag} if config.tag_field else {}
        for field in fields.of(type(value)):
            own = getattr(value, field.name)
            if own != field.usual:
                found[field.written] = _said(own)
        return found
    if isinstance(value, tuple | list):
        return [_said(item) for item in value]
    return {key: _said(item) for key, item in value.items()} if isinstance(value, dict) else value

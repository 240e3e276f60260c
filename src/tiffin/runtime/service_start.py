"""What a service's own options say of its start: for ``tiffin serve``, where no controller has asked it before.

The service is imported, which its one worker would do next anyway. Where more than that is to be done, the process
begins again with the answer: several workers are not forked from one in which the author's code ran, and variables
are there before any library reads them.
"""

from __future__ import annotations

import ast
import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NoReturn

import msgspec

from tiffin.errors import TiffinError
from tiffin.service.gpus import visible_devices
from tiffin.service.settings import DEFAULT_PORT, Settings
from tiffin.spec import ReplicaSpec, ServiceSource
from tiffin.spec.target import parse

Own = Literal["host", "port", "workers"]
OWN: tuple[Own, ...] = ("host", "port", "workers")


def settled(spec: ReplicaSpec, own: Sequence[str], arguments: Sequence[str]) -> ReplicaSpec:
    """The order with the service's own options for what the command line left open.

    Args:
        spec: The order; returned as it is for what is no service, or cannot be imported: its worker tells why.
        own: Out of ``OWN``.
        arguments: To begin again with, before ``--replica-json``.
    """
    source = spec.component.source
    if not isinstance(source, ServiceSource) or not may_decide(source.target, Path(spec.path), os.environ):
        return spec
    from tiffin.service import context, loading, seldon_compat
    from tiffin.service.definition import Service

    seldon_compat.provide()
    context.server_context.worker_index = 1  # What cannot be imported must not be left out: this goes on to serve.
    with contextlib.suppress(TiffinError):
        found = loading.load(source.target, Path(spec.path))
        if isinstance(found, Service):
            spec = with_settings(spec, found.settings, own)
            variables = found.environment()
            devices = visible_devices(found.settings, os.environ)
            if devices is not None:
                variables["CUDA_VISIBLE_DEVICES"] = devices
            missing = {name: value for name, value in variables.items() if name not in os.environ}
            if missing or spec.component.workers != 1:
                _begin_again(spec, missing, arguments)
    return spec


_DECIDING = frozenset(("workers", "http", "ssl", "envs", "resources", "backlog"))
_VARIABLES = tuple(
    f"{whose}_CONFIG{what}" for whose in ("TIFFIN", "BENTOML") for what in ("", "_OVERRIDES", "_OPTIONS")
)


def may_decide(target: str, directory: Path, environment: Mapping[str, str]) -> bool:
    """Whether a service may have a say in its start, by its source alone.

    Where it has none the replica listens first and imports then, so that it is alive meanwhile.
    """
    if any(environment.get(name) for name in _VARIABLES):
        return True
    named = parse(target)
    if named is None:
        return True
    try:
        tree = ast.parse((directory / named.path).read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return True
    written = {node.name: node for node in tree.body if hasattr(node, "decorator_list") and hasattr(node, "name")}
    if named.attribute.partition(".")[0] not in written and (named.attribute or not written):
        return True  # It comes from another module.
    return any(_decides(decorator) for node in written.values() for decorator in node.decorator_list)


def _decides(decorator: ast.expr) -> bool:
    if not isinstance(decorator, ast.Call):
        return False
    name = getattr(decorator.func, "attr", getattr(decorator.func, "id", ""))
    # A keyword without a name is **options, which may hold anything.
    return name == "service" and any(k.arg is None or k.arg in _DECIDING for k in decorator.keywords)


def with_settings(spec: ReplicaSpec, settings: Settings, own: Sequence[str]) -> ReplicaSpec:
    """The order with what the settings say of the address and the workers."""
    listen, component = spec.listen, spec.component
    if "host" in own and settings.host:
        listen = msgspec.structs.replace(listen, host=settings.host)
    if "port" in own:
        port = DEFAULT_PORT if settings.port is None else settings.port
        listen = msgspec.structs.replace(listen, port=port)
    listen = msgspec.structs.replace(listen, backlog=settings.backlog, tls=settings.tls)
    if "workers" in own:
        component = msgspec.structs.replace(component, workers=settings.workers)
    return msgspec.structs.replace(spec, listen=listen, component=component)


def _begin_again(spec: ReplicaSpec, variables: dict[str, str], arguments: Sequence[str]) -> NoReturn:
    environment = {**os.environ, **variables}
    if spec.component.workers != 1:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            environment.setdefault(name, "1")
    order = msgspec.json.encode(spec).decode("utf-8")
    sys.stdout.flush()
    sys.stderr.flush()
    command = [sys.executable, "-m", "tiffin.runtime", *arguments, "--replica-json", order]
    os.execve(sys.executable, command, environment)

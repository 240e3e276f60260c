"""What a service's own options say of its start: for ``tiffin serve``, where no controller has asked it before.

The service is imported, which its one worker would do next anyway. Where more than that is to be done, the process
begins again with the answer: several workers are not forked from one in which the author's code ran, and variables
are there before any library reads them.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NoReturn

import msgspec

from tiffin.errors import TiffinError
from tiffin.service.gpus import visible_devices
from tiffin.service.settings import DEFAULT_PORT, Settings
from tiffin.spec import ReplicaSpec, ServiceSource

Own = Literal["host", "port", "workers"]
OWN: tuple[Own, ...] = ("host", "port", "workers")


def settled(spec: ReplicaSpec, own: Sequence[str], arguments: Sequence[str]) -> ReplicaSpec:
    """The order with the service's own options for what the command line left open.

    Args:
        spec: The order; returned as it is for what is no service, or cannot be imported: its worker tells why.
        own: Out of ``OWN``.
        arguments: To begin again with, before ``--replica-json``.
    """
    if not isinstance(spec.component.source, ServiceSource):
        return spec
    from tiffin.service import loading, seldon_compat
    from tiffin.service.definition import Service

    seldon_compat.provide()
    with contextlib.suppress(TiffinError):
        found = loading.load(spec.component.source.target, Path(spec.path))
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

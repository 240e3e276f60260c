"""``depends``: another service as an attribute; in this process, apart from it, or somewhere else."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
from collections.abc import Callable
from typing import Any

from tiffin.errors import ServiceError

GATEWAY = "TIFFIN_GATEWAY"
"""The variable with the address of the gateway, ``http://host:port``; the platform sets it for services."""
DEPLOYMENTS = "TIFFIN_DEPLOYMENTS"
"""Instead of it on a cluster: where a deployment is called, with ``{name}`` and ``{namespace}`` in it."""

_DEPLOYMENT = re.compile(r"[a-z0-9][-._a-z0-9]{0,100}(/[a-z0-9][-._a-z0-9]{0,100})?")


class Dependency:
    """A class attribute that gives an instance of another service, one per process."""

    def __init__(self, on: Any) -> None:
        self.on = on
        self.name = ""
        self.remote: Any = None

    is_elsewhere = False
    """Whether it is a deployment of its own, wherever the service that uses it runs."""

    def __set_name__(self, owner: type, name: str) -> None:
        """Remember the attribute's name."""
        self.name = name

    def __get__(self, instance: object | None, owner: type) -> Any:
        """The dependency on the class; on an instance the service it stands for."""
        return self if instance is None else self.get()

    def get(self) -> Any:
        """The instance, made at the first call; or what stands for the one that runs apart."""
        return self.on.shared() if self.remote is None else self.remote

    @property
    def is_remote(self) -> bool:
        """Whether it runs in another process."""
        return self.remote is not None


class Elsewhere(Dependency):
    """A server that is no part of the deployment: at an address, or another deployment of this platform."""

    is_elsewhere = True

    def __init__(self, on: Any, *, url: str = "", deployment: str = "") -> None:
        super().__init__(on)
        self._url = url
        self._deployment = deployment

    @property
    def is_remote(self) -> bool:
        """It always does."""
        return True

    def get(self) -> Any:
        """What stands for it; ServiceError when its address cannot be told."""
        if self.remote is None:
            from tiffin.service.remote_json import JsonService

            self.remote = JsonService(self._url or self._gateways(), self.on)
        return self.remote

    def _gateways(self) -> str:
        gateway, template = os.environ.get(GATEWAY, ""), os.environ.get(DEPLOYMENTS, "")
        if template and not gateway:
            namespace, _, name = self._deployment.rpartition("/")
            return template.replace("{name}", name).replace("{namespace}", namespace)
        if not gateway:
            raise ServiceError(
                f"the deployment {self._deployment!r} is reached through a gateway, and there is none here",
                hint=f"run it with `tiffin up`, or set {GATEWAY}=http://HOST:PORT",
            )
        return f"{gateway}/{self._deployment}"


def depends(
    on: Any = None, *, url: str | None = None, deployment: str | None = None, cluster: str | None = None
) -> Any:
    """Declare that a service uses another one.

    Example::

        class Pipeline:
            encoder = tiffin.depends(Encoder)
            words = tiffin.depends(url="http://words.example.com:3000")

    Args:
        on: A class decorated with ``@service``; beside ``url`` or ``deployment`` it says what kind of methods the
            other server has.
        url: Of any server that speaks as BentoML's do.
        deployment: ``namespace/name`` (or ``name``, in ``default``) of a deployment behind the same gateway.
        cluster: Refused: there is one.

    Raises:
        ServiceError: ``on`` is not a service, or a place cannot be read.
    """
    if cluster is not None:
        raise ServiceError(
            "depends(cluster=...) is not part of this version of Tiffin", hint="give the address: depends(url=...)"
        )
    if url is not None and deployment is not None:
        raise ServiceError("expected depends(url=...) or depends(deployment=...), found both")
    is_service = hasattr(on, "apis") and hasattr(on, "inner")
    if url is not None or deployment is not None:
        if on is not None and not is_service:
            raise ServiceError(f"depends() expects a class decorated with @service, found {on!r}")
        return _elsewhere(on, url, deployment)
    if not is_service:
        raise ServiceError(f"depends() expects a class decorated with @service, found {on!r}")
    return Dependency(on)


def _elsewhere(on: Any, url: str | None, deployment: str | None) -> Elsewhere:
    if url is not None:
        from tiffin.service.connections import Place

        Place.read(url)
        return Elsewhere(on, url=url)
    assert deployment is not None
    if not _DEPLOYMENT.fullmatch(deployment):
        raise ServiceError(f"expected the name of a deployment, or namespace/name, found {deployment!r}")
    return Elsewhere(on, deployment=deployment if "/" in deployment else f"default/{deployment}")


class AsyncMethods:
    """``instance.to_async.predict(...)``: every endpoint as a coroutine; plain ones run in a thread."""

    def __init__(self, instance: Any, apis: dict[str, Any]) -> None:
        self._instance = instance
        self._apis = apis

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self._instance, name)
        if name not in self._apis or self._apis[name].kind != "plain":
            return method

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await asyncio.to_thread(method, *args, **kwargs)

        return call


class SyncMethods:
    """``instance.to_sync.predict(...)``: every endpoint as a plain call, for code in threads."""

    loop: asyncio.AbstractEventLoop | None = None

    def __init__(self, instance: Any, apis: dict[str, Any]) -> None:
        self._instance = instance
        self._apis = apis

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self._instance, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            if not inspect.iscoroutine(result):
                return result
            if self.loop is not None and self.loop.is_running():
                return asyncio.run_coroutine_threadsafe(result, self.loop).result()
            return asyncio.run(result)

        return call

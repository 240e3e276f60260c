"""``depends``: another service as an attribute, in the same process."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from tiffin.errors import ServiceError


class Dependency:
    """A class attribute that gives an instance of another service, one per process."""

    def __init__(self, on: Any) -> None:
        self.on = on
        self.name = ""
        self.remote: Any = None
        self.is_elsewhere = False

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


def depends(
    on: Any = None, *, url: str | None = None, deployment: str | None = None, cluster: str | None = None
) -> Any:
    """Declare that a service uses another one.

    Example::

        class Pipeline:
            encoder = tiffin.depends(Encoder)

    Raises:
        ServiceError: ``on`` is not a service, or the other one runs elsewhere (``url``, ``deployment``,
            ``cluster``), which this version does not do.
    """
    for name, value in (("url", url), ("deployment", deployment), ("cluster", cluster)):
        if value is not None:
            raise ServiceError(
                f"depends({name}=...) is not part of this version of Tiffin",
                hint="depend on the service class itself, or call the other service over HTTP",
            )
    if not (hasattr(on, "apis") and hasattr(on, "inner")):
        raise ServiceError(f"depends() expects a class decorated with @service, found {on!r}")
    return Dependency(on)


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

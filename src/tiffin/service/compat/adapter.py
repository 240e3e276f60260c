"""From the real bentoml's Service to ours."""

from __future__ import annotations

import inspect
import weakref
from typing import Any

from tiffin.service.definition import Service
from tiffin.service.dependency import Dependency, depends
from tiffin.service.endpoint import Endpoint
from tiffin.service.mounts import checked
from tiffin.service.task_endpoint import TaskEndpoint

_known: weakref.WeakValueDictionary[int, AdaptedService] = weakref.WeakValueDictionary()


class AdaptedService(Service[Any]):
    """Endpoints read from ``.apis``; the real Service makes instances and resolves its own dependencies."""

    def __init__(self, real: Any) -> None:
        self.real = real
        super().__init__(
            real.inner,
            name=real.name,
            config=dict(real.config),
            image=real.image,
            description=real.description,
            path_prefix=getattr(real, "path_prefix", ""),
            envs=[{"name": e.name, "value": e.value, "stage": getattr(e, "stage", "all")} for e in real.envs],
            labels=dict(real.labels),
            cmd=list(getattr(real, "cmd", None) or []),
            is_strict=False,
        )
        for app, path, name in getattr(real, "mount_apps", ()):
            # bentoml put the prefix in front already, and gave the application's routes their self.
            below = path.removeprefix(self.path_prefix) if path.startswith(f"{self.path_prefix}/") else path
            self.mounts.append(checked(app, below or "/", name))
        for middleware, options in getattr(real, "middlewares", ()):
            self.add_asgi_middleware(middleware, **options)

    def _scan(self) -> None:
        super()._scan()
        self.apis = {name: _endpoint(method) for name, method in self.real.apis.items()}
        for name, dependency in self.real.dependencies.items():
            on = None if dependency.on is None else adapted(dependency.on)
            if dependency.url or dependency.deployment or on is None:
                url, deployment = dependency.url or None, dependency.deployment or None
                self.dependencies[name] = _RealElsewhere(depends(on, url=url, deployment=deployment), dependency)
            else:
                self.dependencies[name] = _RealDependency(on, dependency)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """A new instance, made as bentoml makes it; it shares its dependencies with the whole process."""
        for dependency in self.dependencies.values():
            dependency.get()
        return self.with_methods(self.real(*args, **kwargs))


class _RealDependency(Dependency):
    """A dependency whose instance the real bentoml makes, in process."""

    def __init__(self, on: AdaptedService, real: Any) -> None:
        super().__init__(on)
        self._real = real

    def get(self) -> Any:
        """The shared instance, also given to the real dependency, which would make one of its own."""
        self._real._resolved = super().get()
        return self._real._resolved


class _RealElsewhere(Dependency):
    """A dependency on a server elsewhere, which the real bentoml would call by a client of its own."""

    is_elsewhere = True

    def __init__(self, ours: Dependency, real: Any) -> None:
        super().__init__(ours.on)
        self._ours = ours
        self._real = real

    @property
    def is_remote(self) -> bool:
        """It is elsewhere."""
        return True

    def get(self) -> Any:
        """What stands for it, also given to the real dependency."""
        self._real._resolved = self._ours.get()
        return self._real._resolved


def adapted(real: Any) -> AdaptedService:
    """Our view of a real Service; the same one each time."""
    found = _known.get(id(real))
    if found is None or found.real is not real:
        found = AdaptedService(real)
        _known[id(real)] = found
    return found


def _endpoint(method: Any) -> Endpoint:
    kind = TaskEndpoint if method.is_task else Endpoint
    endpoint = kind(
        method.func,
        route=method.route,
        input_spec=_written(method.input_spec, "Input"),
        output_spec=_written_output(method),
        batchable=method.batchable,
        batch_dim=method.batch_dim,
        max_batch_size=method.max_batch_size,
        max_latency_ms=int(method.max_latency_ms),
    )
    endpoint.name = method.name
    return endpoint


def _written_output(method: Any) -> Any:
    """The model the author gave as ``output_spec``, told from a derived one by what the signature leaves open."""
    annotation = inspect.signature(method.func).return_annotation
    if annotation is not inspect.Signature.empty or "root" in method.output_spec.model_fields:
        return None
    return _written(method.output_spec, "Output")


def _written(model: Any, derived: str) -> Any:
    """The model the author gave as ``input_spec``; ``None`` for one that was derived from the signature.

    bentoml keeps no note of which it was: a given model gets ``IODescriptor`` behind its name, a derived one for
    plain parameters is called Input, and one for a whole body is marked as root.
    """
    if model.__name__ == derived or getattr(model, "__root_input__", False):
        return None
    base = next((b for b in model.__mro__[1:] if not b.__module__.startswith(("_bentoml", "pydantic"))), None)
    return base if base is not None and hasattr(base, "model_fields") else model

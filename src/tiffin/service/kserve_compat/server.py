"""What ``ModelServer().start([model])`` means in a replica: hand the models over, and go no further.

The author's program runs as it is, up to the line where it would begin to serve.
"""

from __future__ import annotations

import contextvars
import inspect
from dataclasses import dataclass, field
from typing import Any

from tiffin.errors import ServiceError
from tiffin.service import kserve_compat


class Started(BaseException):
    """Ends the author's program where its server would begin; not an Exception, which the program may catch."""


@dataclass
class Handed:
    """What a program handed over: its models by name, and the context its server was made in."""

    models: dict[str, Any] = field(default_factory=dict)
    context: contextvars.Context | None = None
    settings: dict[str, Any] = field(default_factory=dict)


def take_over() -> Handed:
    """Import kserve, the real one or ours, and let its ModelServer fill the result instead of serving.

    The command line of the program has to be in ``sys.argv`` by now: kserve reads it while it is imported.
    """
    kserve_compat.provide()
    from kserve import model_server

    handed = Handed()

    def start(self: Any, models: Any) -> None:
        _register(self, models, handed)
        handed.context = contextvars.copy_context()
        raise Started

    model_server.ModelServer.start = start
    _better_upstream()
    return handed


def _register(server: Any, models: Any, handed: Handed) -> None:
    """As KServe does: models that are ready are served; none ready is an error."""
    if not isinstance(models, list | tuple):
        raise ServiceError(f"expected a list of models, found {type(models).__name__}", at="ModelServer.start")
    for model in models:
        if not hasattr(model, "ready") or not hasattr(model, "name"):
            raise ServiceError(
                f"expected kserve.Model objects, found {type(model).__name__}", at="ModelServer.start"
            )
        if not model.name:
            raise ServiceError("expected a model with a name, found an empty one", at="ModelServer.start")
        if model.ready:
            server.registered_models.update(model)
        model.start()
    found = dict(server.registered_models.get_models())
    if not found:
        names = ", ".join(str(model.name) for model in models) or "none"
        raise ServiceError(
            f"expected a model that is ready, found {names} not ready",
            hint="call model.load() before ModelServer().start([model]); it has to set self.ready = True",
            at="ModelServer.start",
        )
    handed.models = found
    handed.settings = {
        name: getattr(server, name, None) for name in ("workers", "http_port", "grpc_port", "enable_grpc")
    }


def _better_upstream() -> None:
    """The real package turns a predictor's 4xx into a 500 and drops trace headers: call with ours instead."""
    from kserve.model import Model

    from tiffin.service.kserve_compat import upstream

    if "_http_predict" not in vars(Model) or getattr(Model._http_predict, "__module__", "") == __name__:
        return

    async def _http_predict(self: Any, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        return await upstream.predict(self.name, self.predictor_config, payload, headers, response_headers)

    Model._http_predict = _http_predict
    if "_grpc_predict" in vars(Model):

        async def _grpc_predict(self: Any, payload: Any, headers: Any = None) -> Any:
            return await upstream.predict(self.name, self.predictor_config, payload, headers, None)

        Model._grpc_predict = _grpc_predict


def wants_response_headers(model: Any) -> bool:
    """Whether ``predict`` and ``postprocess`` take a dict for headers of the answer."""
    return bool(getattr(model, "required_response_headers", False))


def is_coroutine(hook: Any) -> bool:
    """Whether a hook is written with ``async def`` (an async generator is called like a plain function)."""
    return inspect.iscoroutinefunction(hook)

"""A plain class with ``predict(self, X)``, as Seldon's users write them, and how each of its methods is called.

No base class is needed: a method that is there is called, for a method that is not there is a default. What
``seldon_core`` gives (its base class, responses, exceptions) is known by name, as it may be the real one or ours.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tiffin.errors import CallError, PredictError, ServiceError, TiffinError
from tiffin.service import loading, seldon_compat
from tiffin.service.signatures import Caller
from tiffin.spec.target import class_target

_NAMES = ("features_names", "feature_names", "features_name", "names_list")
_VERBS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "predict": (("X", "names"), ("meta",)),
    "transform_input": (("X", "names"), ("meta",)),
    "transform_output": (("X", "names"), ("meta",)),
    "route": (("X", "names"), ("meta",)),
    "aggregate": (("X", "names"), ()),
    "send_feedback": (("X", "names", "reward", "truth"), ("routing",)),
    "health_status": ((), ()),
}
_RAW = {f"{verb}_raw": (("msg",) if verb != "health_status" else (), ()) for verb in _VERBS}
_NOT_HONOURED = {
    "model_error_handler": "raise SeldonMicroserviceException to choose an answer",
    "custom_service": "run it as a process of its own",
    **{f"{verb}_rest": f"write {verb}" for verb in _VERBS},
    **{f"{verb}_grpc": f"write {verb}" for verb in _VERBS},
}
_METRIC_TYPES = ("COUNTER", "GAUGE", "TIMER")


class Refusal(CallError):
    """The class refused a call with SeldonMicroserviceException: its status, text and reason reach the caller."""

    code = "refused"

    def __init__(self, message: str, status: int, reason: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class BadMetric(PredictError):
    """``metrics()`` gave something else than metrics."""

    code = "bad-metric"
    reason = "MICROSERVICE_BAD_METRIC"


class BadMetadata(ServiceError):
    """``init_metadata()`` gave something else than metadata."""

    code = "bad-metadata"
    reason = "MICROSERVICE_BAD_METADATA"


class Outcome(NamedTuple):
    """What one call gave, and the tags and metrics that go with it, in the order they count."""

    data: Any
    tags: tuple[dict[str, Any], ...] = ()
    metrics: tuple[list[Any], ...] = ()


class _NotWritten:
    def __repr__(self) -> str:
        return "NOT_WRITTEN"


NOT_WRITTEN: Any = _NotWritten()
"""Given back for a method the class does not have."""


class PlainClass:
    """One instance of an author's class.

    Args:
        made_of: the class.
        parameters: constructor arguments by name.

    Raises:
        ServiceError: the constructor does not take them, or raised; or a signature cannot be served.
    """

    def __init__(self, made_of: type, parameters: Mapping[str, Any] | None = None) -> None:
        self.made_of = made_of
        self.name = made_of.__name__
        self.instance = self._construct(parameters or {})
        self.warnings = tuple(
            f"{self.name}.{name} is not called: {instead}"
            for name, instead in _NOT_HONOURED.items()
            if self._written(name) is not None
        )
        self._callers: dict[str, Caller] = {}
        for verb, (positional, keyword) in (_VERBS | _RAW).items():
            method = self._written(verb)
            if method is not None:
                self._callers[verb] = Caller(method, positional, keyword, {"names": _NAMES})
        self._tags = self._written("tags")
        self._metrics = self._written("metrics")
        self._class_names = getattr(self.instance, "class_names", None) if self._has("class_names") else None

    def _construct(self, parameters: Mapping[str, Any]) -> Any:
        try:
            signature = inspect.signature(self.made_of)
        except (TypeError, ValueError):
            signature = None
        if signature is not None:
            try:
                signature.bind(**parameters)
            except TypeError as error:
                raise ServiceError(
                    f"expected parameters {signature}, found {', '.join(sorted(parameters)) or 'none'}: {error}",
                    at=f"{self.name}.__init__",
                ) from error
        return self._guarded("__init__", lambda: self.made_of(**parameters))

    def _guarded(self, name: str, work: Callable[[], Any]) -> Any:
        """Run a part of loading; what it raises becomes a ServiceError that says where."""
        try:
            return work()
        except TiffinError:
            raise
        except (Exception, SystemExit) as error:
            raise ServiceError(
                f"{self.name}.{name}() raised {type(error).__name__}: {error}", at=_place(error)
            ) from error

    def _has(self, name: str) -> bool:
        """Whether the class has it from its author; the base class's own methods do not count."""
        found = inspect.getattr_static(self.instance, name, None)
        function = getattr(found, "__func__", found)
        return found is not None and getattr(function, "__module__", "") != "seldon_core.user_model"

    def _written(self, name: str) -> Callable[..., Any] | None:
        found = getattr(self.instance, name, None) if self._has(name) else None
        return found if callable(found) else None

    def load(self) -> None:
        """Call ``load()`` when there is one; raises ServiceError with what it raised."""
        method = self._written("load")
        if method is not None:
            self._guarded("load", method)

    def has(self, verb: str) -> bool:
        """Whether the method is there."""
        return verb in self._callers

    def call(self, verb: str, **values: Any) -> Outcome:
        """Call a method once; ``NOT_WRITTEN`` as data when it is not there.

        Raises:
            Refusal: it raised SeldonMicroserviceException.
            PredictError: it raised something else.
        """
        caller = self._callers.get(verb)
        result = NOT_WRITTEN if caller is None else self._run(verb, lambda: caller(values))
        tags: list[dict[str, Any]] = []
        metrics: list[list[Any]] = []
        if self._tags is not None:
            tags.append(_checked_tags(self._run("tags", self._tags)))
        if self._metrics is not None:
            metrics.append(_checked_metrics(self._run("metrics", self._metrics)))
        if _is_a(type(result), "SeldonResponse"):
            tags.append(_checked_tags(result.tags))
            metrics.append(_checked_metrics(result.metrics))
            result = result.data
        return Outcome(result, tuple(tags), tuple(metrics))

    def raw(self, verb: str, document: Any = None) -> Any:
        """Call ``<verb>_raw`` with a whole message; ``NOT_WRITTEN`` when it is absent or passes."""
        caller = self._callers.get(f"{verb}_raw")
        if caller is None:
            return NOT_WRITTEN
        return self._run(f"{verb}_raw", lambda: caller({"msg": document}))

    def _run(self, name: str, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except TiffinError:
            raise
        except (Exception, SystemExit) as error:
            kind = type(error)
            if _is_a(kind, "SeldonNotImplementedError"):
                return NOT_WRITTEN
            if _is_a(kind, "SeldonMicroserviceException"):
                raise _refusal(error) from error
            raise PredictError(
                f"{self.name}.{name}() raised {kind.__name__}: {error}", at=_place(error)
            ) from error

    def class_names(self) -> list[str] | None:
        """The names of a result's columns, from the method or the attribute; None when it has neither."""
        if self._class_names is None:
            return None
        found = self._run("class_names", self._class_names) if callable(self._class_names) else self._class_names
        if found is NOT_WRITTEN or found is None:
            return None
        found = found.tolist() if hasattr(found, "tolist") else found
        if not isinstance(found, list | tuple):
            raise PredictError(
                f"expected a list of names, found {type(found).__name__}", at=f"{self.name}.class_names"
            )
        return list(found)

    def metadata(self) -> dict[str, Any]:
        """What ``init_metadata()`` says; empty without one.

        Raises:
            BadMetadata: it is not a dict of name, versions, platform, inputs, outputs and custom.
        """
        method = self._written("init_metadata")
        if method is None:
            return {}
        found = self._guarded("init_metadata", method)
        return {} if found is None else checked_metadata(found, f"{self.name}.init_metadata()")

    def attribute(self, name: str) -> Any:
        """An attribute of the instance, or what its method of that name gives; None without it."""
        found = getattr(self.instance, name, None) if self._has(name) else None
        return self._guarded(name, found) if callable(found) else found


def open_class(target: str, directory: Path, parameters: Mapping[str, Any] | None = None) -> PlainClass:
    """Import a class and make its instance; ``load()`` is not called yet.

    ``target`` is ``module:Class``, or ``Iris`` for class Iris of module Iris. ``directory`` is put on sys.path.

    Raises:
        ServiceError: nothing is there, or the author's code raised.
    """
    seldon_compat.provide()
    found = loading.load(class_target(target), directory)
    if not isinstance(found, type):
        raise ServiceError(
            f"expected a plain class at {target!r}, found a service", hint="deploy it as a service, not as a class"
        )
    return PlainClass(found, parameters)


def checked_metadata(found: Any, at: str) -> dict[str, Any]:
    """The metadata as it is, once its fields have the right types; raises BadMetadata."""
    if not isinstance(found, dict):
        raise BadMetadata(f"expected a mapping, found {type(found).__name__}", at=at)
    kinds: dict[str, tuple[type, str]] = {
        "name": (str, "text"),
        "platform": (str, "text"),
        "versions": (list, "a list of texts"),
        "inputs": (list, "a list of mappings"),
        "outputs": (list, "a list of mappings"),
        "custom": (dict, "a mapping"),
    }
    for field, value in found.items():
        if field not in kinds:
            raise BadMetadata(f"expected {', '.join(kinds)}, found {field!r}", at=at)
        kind, said = kinds[field]
        inner = str if field == "versions" else dict
        if not isinstance(value, kind) or (
            isinstance(value, list) and not all(isinstance(item, inner) for item in value)
        ):
            raise BadMetadata(f"expected {said}, found {value!r}", at=f"{at} {field}")
    return found


def _is_a(kind: type, name: str) -> bool:
    return any(base.__name__ == name for base in kind.__mro__)


def _refusal(error: BaseException) -> Refusal:
    status = getattr(error, "status_code", 400)
    if isinstance(status, bool) or not isinstance(status, int) or not 400 <= status <= 599:
        status = 400
    text = str(getattr(error, "message", "") or error)
    return Refusal(text, status, str(getattr(error, "reason", None) or "MICROSERVICE_BAD_DATA"))


def _checked_tags(found: Any) -> dict[str, Any]:
    if found is NOT_WRITTEN or found is None:
        return {}
    if not isinstance(found, dict):
        raise PredictError(f"expected tags as a dict, found {type(found).__name__}", at="tags()")
    return found


def _checked_metrics(found: Any) -> list[Any]:
    if found is NOT_WRITTEN or found is None:
        return []
    if not isinstance(found, list):
        raise BadMetric(f"expected a list, found {type(found).__name__}", at="metrics()")
    for i, metric in enumerate(found):
        right = (
            isinstance(metric, dict)
            and metric.get("type") in _METRIC_TYPES
            and isinstance(metric.get("key"), str)
            and isinstance(metric.get("value"), int | float)
            and isinstance(metric.get("tags", {}), dict)
        )
        if not right:
            raise BadMetric(f"expected key, type and value, found {metric!r}", at=f"metrics()[{i}]")
    return found


def _place(error: BaseException) -> str | None:
    """The line that raised, in the author's code when it can be told."""
    trace, place = error.__traceback__, None
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if "site-packages" not in file and f"{Path(__file__).parent}" not in file and not file.startswith("<"):
            place = f"{Path(file).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place

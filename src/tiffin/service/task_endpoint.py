"""``@task``: a method whose calls are written down, run later, and answered when somebody asks."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, overload

from tiffin.errors import ServiceError
from tiffin.service.endpoint import Endpoint

_DURATION = re.compile(r"^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)$")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
KEEP_SECONDS = 86_400.0


class TaskEndpoint(Endpoint):
    """An endpoint that is a task; it can be called by a plain POST too, and is then answered at once.

    Args:
        func: The method, as a function that takes ``self``; no generator.
        timeout: Seconds one run may take; ``None`` is for ever. ``traffic.timeout`` is not for tasks.
        retries: How often it is run again after it raised, with growing pauses; a caller's mistake is final.
        max_attempts: How often it is begun when the replicas that run it are lost, at least 1.
        keep: How long the result is kept: seconds, or ``"90m"``, ``"24h"``, ``"7d"``.
        isolated: Run it in a process of its own, which can be killed when it is cancelled.
        webhook: Address that is told when a task has ended; a caller may give another.
        options: Those of Endpoint.

    Raises:
        ServiceError: a generator, or an option out of its range.
    """

    def __init__(
        self,
        func: Callable[..., Any],
        *,
        timeout: float | None = None,
        retries: int = 0,
        max_attempts: int = 3,
        keep: float | str = KEEP_SECONDS,
        isolated: bool = False,
        webhook: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(func, **options)
        self.is_task = True
        self.timeout_seconds = None if timeout is None else self._number("timeout", timeout)
        self.retries = self._count("retries", retries, 0)
        self.max_attempts = self._count("max_attempts", max_attempts, 1)
        self.keep_seconds = self._keep(keep)
        self.isolated = bool(isolated)
        self.webhook = webhook
        if self.is_stream:
            raise self._wrong(
                "expected a method that returns its result, found a generator",
                "collect the items in a list, or write the method with @api, which streams",
            )
        if self.isolated and self.batchable:
            raise self._wrong(
                "expected isolated or batchable, found both", "a batch runs in one process: leave one of them out"
            )

    def _wrong(self, message: str, hint: str | None = None) -> ServiceError:
        return ServiceError(message, hint=hint, at=self.func.__qualname__)

    def _number(self, name: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
            raise self._wrong(f"expected {name} as seconds above 0, found {value!r}")
        return float(value)

    def _count(self, name: str, value: Any, least: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self._wrong(f"expected {name} as a whole number from {least}, found {value!r}")
        return value

    def _keep(self, value: Any) -> float:
        matched = _DURATION.match(value.strip()) if isinstance(value, str) else None
        if isinstance(value, str) and matched is None:
            raise self._wrong(f"expected keep such as 3600, '90m', '24h' or '7d', found {value!r}")
        return self._number("keep", float(matched[1]) * _SECONDS[matched[2]] if matched else value)


@overload
def task(func: Callable[..., Any], /) -> TaskEndpoint: ...
@overload
def task(
    *,
    route: str | None = ...,
    name: str | None = ...,
    input_spec: type[Any] | None = ...,
    output_spec: type[Any] | None = ...,
    batchable: bool = ...,
    batch_dim: int | tuple[int, int] = ...,
    max_batch_size: int = ...,
    max_latency_ms: int = ...,
    cost: Callable[[Any], float] | None = ...,
    max_batch_cost: float | None = ...,
    timeout: float | None = ...,
    retries: int = ...,
    max_attempts: int = ...,
    keep: float | str = ...,
    isolated: bool = ...,
    webhook: str | None = ...,
) -> Callable[[Callable[..., Any]], TaskEndpoint]: ...
def task(func: Callable[..., Any] | None = None, /, *, name: str | None = None, **options: Any) -> Any:
    """Make a method a task, with or without options.

    Example::

        @tiffin.task(timeout=600, retries=2)
        def summarize(self, text: str, ctx: tiffin.Context) -> str: ...

    Callers send what they would send to an endpoint to ``/summarize/submit``, and ask with the id they are given:
    ``/summarize/status``, ``/summarize/get``; ``/summarize/cancel`` and ``/summarize/retry`` do what they say.
    Options are those of TaskEndpoint and of ``api``.

    Raises:
        ServiceError: a generator, or an option out of its range.
    """
    if func is not None:
        return TaskEndpoint(func)
    return lambda method: TaskEndpoint(method, **options)

"""How a method wants to be called, decided from its signature: once, and before the first call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tiffin.errors import ServiceError

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Caller:
    """Calls a method with the values it has parameters for.

    Args:
        method: bound.
        positional: what can be given, in order: the first parameters take them, whatever they are called.
        keyword: what is given by name to a method that has a parameter of that name, or ``**kwargs``.
        aliases: other names of a positional value, for methods that take it by keyword only.

    Raises:
        ServiceError: a parameter without default would be left without a value.
    """

    def __init__(
        self,
        method: Callable[..., Any],
        positional: Sequence[str],
        keyword: Sequence[str] = (),
        aliases: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.method = method
        name = getattr(method, "__qualname__", repr(method))
        no_keywords: tuple[tuple[str, str], ...] = ()
        if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
            raise ServiceError(
                "expected a plain method, found an async one", hint="take the async away", at=f"{name}()"
            )
        try:
            parameters = list(inspect.signature(method).parameters.values())
        except (TypeError, ValueError):  # Written in C: no way to look.
            self._positional, self._keyword = tuple(positional), no_keywords
            return
        slots = []
        for parameter in parameters:
            # predict(self, X, meta=None) wants the meta there, not the second positional value.
            if parameter.kind not in _POSITIONAL or parameter.name in keyword:
                break
            slots.append(parameter.name)
        takes_all = any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters)
        count = len(positional) if takes_all else min(len(slots), len(positional))
        self._positional = tuple(positional[:count])
        by_name = {p.name for p in parameters if p.kind not in (inspect.Parameter.POSITIONAL_ONLY,)}
        takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)
        given = [(word, word) for word in keyword if word in by_name or takes_any]
        for value in positional[count:]:
            given += [(word, value) for word in (value, *(aliases or {}).get(value, ())) if word in by_name][:1]
        self._keyword = tuple(given)
        filled = {word for word, _ in given} | set(slots[:count])
        for parameter in parameters:
            is_single = parameter.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
            if is_single and parameter.default is inspect.Parameter.empty and parameter.name not in filled:
                given_here = ", ".join((*positional, *keyword)) or "nothing"
                raise ServiceError(
                    f"expected parameters for {given_here}; found one more, {parameter.name!r}",
                    hint=f"give {parameter.name} a default value",
                    at=f"{name}()",
                )

    def __call__(self, values: Mapping[str, Any]) -> Any:
        """Call it once, with what it takes of ``values``."""
        return self.method(
            *[values[name] for name in self._positional], **{word: values[name] for word, name in self._keyword}
        )

"""What goes wrong in another process, told and raised again: with its status, its message and its class.

A class is found by its name among those this process has already; nothing that comes is imported or called.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import msgspec

from tiffin import errors
from tiffin.service import exceptions
from tiffin.service.exceptions import BentoMLException, status_of


class Failure(msgspec.Struct, frozen=True):
    """An error on its way.

    Attributes:
        status: What it asks the answer to be.
        message: For the author of the calling service.
        names: Of exceptions services raise: the class and its bases, ``module:Name``, the nearest first.
        code: Of Tiffin's own errors: ``TiffinError.code``.
    """

    status: int
    message: str
    names: tuple[str, ...] = ()
    code: str = ""


def told(error: BaseException, where: str) -> Failure:
    """An error as it is told to another service; of one that nobody expected only that there was one.

    Args:
        error: What was raised.
        where: ``Service.method``.
    """
    status = status_of(error)
    if status is not None:
        names = tuple(_name(base) for base in type(error).__mro__ if issubclass(base, Exception))
        return Failure(status, str(getattr(error, "message", "") or error), names)
    if isinstance(error, errors.CallError):
        return Failure(error.status, str(error), code=error.code)
    if type(error).__name__ == "ValidationError" and type(error).__module__.startswith("pydantic"):
        return Failure(400, f"{where} cannot take that: {error}", (_name(exceptions.BadInput),))
    return Failure(500, f"{where} failed; its log says why", (_name(exceptions.InternalServerError),))


def raised(failure: Failure) -> Exception:
    """The error to raise for what another service told."""
    if failure.code:
        known = _CALL_ERRORS.get(failure.code, errors.CallError)
        again = known(failure.message)
        again.status = failure.status
        return again
    classes: dict[str, type[Any]] = dict(_classes(BentoMLException))
    upstream: Any = getattr(sys.modules.get("bentoml.exceptions"), "BentoMLException", None)
    if isinstance(upstream, type) and upstream is not BentoMLException:
        classes |= dict(_classes(upstream))
    found = (classes[name] for name in failure.names if name in classes)
    kind: type[Any] = next(found, exceptions.RemoteException)
    # An author's class may want other arguments, and what it does with them is not ours to do twice.
    error: Any = Exception.__new__(kind)
    Exception.__init__(error, failure.message)
    error.message = failure.message
    error.error_code = _status(failure.status)
    assert isinstance(error, Exception)
    return error


def of_status(status: int, who: str, text: str) -> Exception:
    """The error for an answer that no service gave: the gateway's own."""
    message = f"{who} answered {status}: {text[:200]}" if text else f"{who} answered {status}"
    match status:
        case 413:
            return errors.TooLarge(message)
        case 429:
            return errors.TooManyCalls(message)
        case 503:
            return errors.NotReady(message)
        case 504:
            return errors.DeadlineExceeded(message)
    return exceptions.RemoteException(message)


def _name(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _classes(root: type[Any]) -> Iterator[tuple[str, type[Any]]]:
    yield _name(root), root
    for child in root.__subclasses__():
        yield from _classes(child)


def _status(status: int) -> HTTPStatus | int:
    try:
        return HTTPStatus(status)
    except ValueError:
        return status


_CALL_ERRORS: dict[str, type[errors.CallError]] = {
    kind.code: kind
    for kind in (
        errors.DecodeError,
        errors.Unauthorized,
        errors.UnknownRoute,
        errors.NoSuchDeployment,
        errors.CallTimeout,
        errors.TooLarge,
        errors.UnsupportedMedia,
        errors.TooManyCalls,
        errors.NotImplementedHere,
        errors.NotReady,
        errors.DeadlineExceeded,
    )
}

"""What a service raises to choose its answer: the status is the exception's ``error_code``.

A message reaches the caller when the status is below 500 and not 401 or 403; otherwise a general sentence does.
The names are those of BentoML, so that services raise and catch the same classes.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any


class BentoMLException(Exception):
    """The root; a subclass or the ``error_code`` argument sets the status."""

    error_code: HTTPStatus = HTTPStatus.INTERNAL_SERVER_ERROR
    error_mapping: dict[HTTPStatus, type[BentoMLException]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        """Remember the first class for each status, for clients that raise by status."""
        super().__init_subclass__(**options)
        if "error_code" in cls.__dict__:
            cls.error_mapping.setdefault(cls.error_code, cls)

    def __init__(self, message: str = "", *, error_code: HTTPStatus | None = None) -> None:
        super().__init__(message)
        self.message = message
        if error_code is not None:
            self.error_code = HTTPStatus(error_code)


class InvalidArgument(BentoMLException):
    """400: the caller's arguments are wrong."""

    error_code = HTTPStatus.BAD_REQUEST


class BadInput(InvalidArgument):
    """400: the caller's input is wrong."""

    error_code = HTTPStatus.BAD_REQUEST


class NotFound(BentoMLException):
    """404: the thing asked for does not exist."""

    error_code = HTTPStatus.NOT_FOUND


class UnprocessableEntity(BentoMLException):
    """422: the input is well formed and cannot be worked on."""

    error_code = HTTPStatus.UNPROCESSABLE_ENTITY


class ServiceUnavailable(BentoMLException):
    """503: too much to do."""

    error_code = HTTPStatus.SERVICE_UNAVAILABLE


class InternalServerError(BentoMLException):
    """500: the service failed."""


class APIDeprecated(BentoMLException):
    """500: a name that is gone."""


class BentoMLConfigException(BentoMLException):
    """500: a wrong setting."""


class MissingDependencyException(BentoMLException):
    """500: a package that is needed is not installed."""


class ImportServiceError(BentoMLException):
    """500: a service cannot be imported."""


class CLIException(BentoMLException):
    """500: a command failed."""


class CloudRESTApiClientError(BentoMLException):
    """500: BentoCloud failed; never raised by Tiffin."""


class RemoteException(BentoMLException):
    """500: a remote service failed."""

    def __init__(self, message: str = "", payload: BentoMLException | None = None) -> None:
        super().__init__(message)
        self.payload = payload


class StateException(Exception):
    """An object is in the wrong state; outside the tree, so a caller sees 500."""

    error_code = HTTPStatus.BAD_REQUEST


class UnservableException(StateException):
    """The service cannot be served."""


class ServerStateException(StateException):
    """The server is not running."""


def status_of(error: BaseException) -> int | None:
    """The status an exception asks for, also when it is of the real bentoml; ``None`` for any other exception."""
    named = isinstance(error, BentoMLException) or any(
        base.__name__ == "BentoMLException" and base.__module__.startswith("bentoml.")
        for base in type(error).__mro__
    )
    if not named:
        return None
    code = getattr(error, "error_code", 500)
    try:
        status = int(code)
    except (TypeError, ValueError):
        return 500
    return status if 400 <= status <= 599 else 500

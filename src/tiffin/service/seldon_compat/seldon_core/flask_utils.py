"""``seldon_core.flask_utils``: the error with which a class chooses its own answer."""

from __future__ import annotations

from typing import Any


class SeldonMicroserviceException(Exception):
    """Answered with its own status, text and reason.

    Args:
        message: Reaches the caller as ``status.info``.
        status_code: The HTTP status, 400 unless given.
        payload: Kept, and not sent.
        reason: ``status.reason``, a word for programs.
    """

    status_code = 400

    def __init__(
        self,
        message: str,
        status_code: int | None = None,
        payload: dict[str, Any] | None = None,
        reason: str = "MICROSERVICE_BAD_DATA",
    ) -> None:
        super().__init__(message)
        self.message = message
        if status_code is not None:
            self.status_code = status_code
        self.payload = payload
        self.reason = reason

    def to_dict(self) -> dict[str, Any]:
        """The body of the answer."""
        return {"status": {"status": 1, "info": self.message, "code": -1, "reason": self.reason}}

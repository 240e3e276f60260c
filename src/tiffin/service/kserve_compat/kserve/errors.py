"""``kserve.errors``: the errors with which a model chooses its answer."""

from __future__ import annotations

from typing import Any


class ModelMissingError(Exception):
    """There is no model at a path."""

    def __init__(self, path: Any) -> None:
        super().__init__(path)
        self.path = path


class InferenceError(RuntimeError):
    """Answered with 500 and its reason."""

    def __init__(self, reason: str, status: str | None = None, debug_details: Any = None) -> None:
        super().__init__(f"[{status}] {reason}" if status else reason)
        self.reason = reason
        self.status = status
        self.debug_details = debug_details


class InvalidInput(ValueError):
    """Answered with 400 and its reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ModelNotFound(Exception):
    """Answered with 404."""

    def __init__(self, model_name: str | None = None) -> None:
        self.reason = f"Model with name {model_name} does not exist."
        super().__init__(self.reason)


class ModelNotReady(RuntimeError):
    """Answered with 503."""

    def __init__(self, model_name: str, detail: str | None = None) -> None:
        self.model_name = model_name
        self.error_msg = f"Model with name {model_name} is not ready." + (f" {detail}" if detail else "")
        super().__init__(self.error_msg)


class ServerNotReady(RuntimeError):
    """Answered with 503."""

    def __init__(self, detail: str | None = None) -> None:
        self.error_msg = "Server is not ready." + (f" {detail}" if detail else "")
        super().__init__(self.error_msg)


class ServerNotLive(RuntimeError):
    """Answered with 503."""

    def __init__(self, detail: str | None = None) -> None:
        self.error_msg = "Server is not live." + (f" {detail}" if detail else "")
        super().__init__(self.error_msg)


class UnsupportedProtocol(Exception):
    """Answered with 501."""

    def __init__(self, protocol_version: Any = None) -> None:
        self.reason = f"Unsupported protocol {protocol_version}."
        super().__init__(self.reason)


class NoModelReady(RuntimeError):
    """No model that was given to the server is ready."""

    def __init__(self, models: list[Any], detail: str | None = None) -> None:
        self.models = models
        names = ",".join(model.name for model in models)
        super().__init__(f"Models not ready: {names}." + (f" {detail}" if detail else ""))

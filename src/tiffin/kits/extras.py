"""Whether optional packages are installed, asked without importing them."""

from __future__ import annotations

from importlib.util import find_spec

from tiffin.errors import MissingExtra

_GRPC = ("grpc", "google.protobuf", "numpy")


def has_grpc() -> bool:
    """Whether gRPC can be served here."""
    try:
        return all(find_spec(name) is not None for name in _GRPC)
    except ModuleNotFoundError:  # A parent package is missing: google.
        return False


def require_grpc() -> None:
    """Raise MissingExtra where gRPC cannot be served."""
    if not has_grpc():
        raise MissingExtra(
            "gRPC needs grpcio and protobuf, which are not installed", hint="pip install 'tiffin[grpc]'"
        )

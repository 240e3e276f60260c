"""``gradio.mount_gradio_app``: a Gradio page beside the endpoints of a service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from tiffin.errors import MissingExtra
from tiffin.service.mounts import asgi_app

C = TypeVar("C")


def mount_gradio_app(blocks: Any, path: str, name: str = "gradio_ui") -> Callable[[C], C]:
    """Serve ``gradio.Blocks`` at a path; a class decorator, above or below ``@service``.

    Raises:
        MissingExtra: gradio is not installed.
        ServiceError: ``path`` does not begin with ``/``.
    """
    try:
        from fastapi import FastAPI
        from gradio import mount_gradio_app as mount
    except ImportError:
        raise MissingExtra(
            "a Gradio page needs gradio, which is not installed", hint="pip install gradio"
        ) from None
    return asgi_app(mount(FastAPI(), blocks, path=""), path=path, name=name)

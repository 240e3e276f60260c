"""``from tiffin.exceptions import NotFound``: the names of ``tiffin.service.exceptions``."""

from typing import Any

from tiffin.service import exceptions


def __getattr__(name: str) -> Any:
    return getattr(exceptions, name)


def __dir__() -> list[str]:
    return dir(exceptions)

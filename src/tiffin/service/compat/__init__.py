"""Services written for BentoML, unchanged: its module where it is not installed, its objects where it is.

Lives here: ``module``, the ``bentoml`` that Tiffin provides, and ``adapter``, from the real package's Service to
ours. Neither imports the real package.
"""

from __future__ import annotations

from typing import Any


def provide() -> None:
    """Let ``import bentoml`` work from here on, also inside methods: the real package if installed, else ours.

    It stays for the life of the process, as methods may import it at any time.
    """
    from tiffin.service.compat.module import install

    install()


def adapt(value: Any) -> Any:
    """Our Service for one of the real bentoml; anything else as it is."""
    if any(
        base.__name__ == "Service" and base.__module__.startswith("_bentoml_sdk") for base in type(value).__mro__
    ):
        from tiffin.service.compat.adapter import adapted

        return adapted(value)
    return value

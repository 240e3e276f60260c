"""Names made from other names."""

from __future__ import annotations

import re

_WORD_BEGINS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


_DOMAIN = re.compile(r"(?=.{1,200}$)[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*")


def is_domain(text: str) -> bool:
    """Whether host names can end in it: ``example.com``, ``localhost``."""
    return _DOMAIN.fullmatch(text) is not None


def snake_case(name: str, otherwise: str) -> str:
    """``IrisClassifier`` as ``iris_classifier``, at most 63 characters; ``otherwise`` when nothing is left.

    BentoML names services after their classes this way, and addresses and bundles are found by it.
    """
    words = re.split(r"[^a-z0-9]+", _WORD_BEGINS.sub("_", name).lower())
    return "_".join(word for word in words if word)[:63].strip("_") or otherwise

"""What the fuzz targets agree on: bad input is the caller's fault, said with a 4xx, and nothing else happens."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from tiffin.errors import CallError
from tiffin.models.table import Table
from tiffin.protocol.head import Head

LIMIT = 1 << 20
MODEL = Table(4, dtype=np.float64)
REFUSED = object()

# What a replica ignores too; any other warning would go to its log for every such request.
warnings.simplefilter("error")
warnings.filterwarnings("ignore", "(overflow|invalid value) encountered in cast", RuntimeWarning)


def judged(work: Callable[[], Any]) -> Any:
    """What ``work`` gives, or REFUSED; any error but a 4xx (or 501) is a finding."""
    try:
        return work()
    except CallError as error:
        refusal = error
    assert 400 <= refusal.status < 500 or refusal.status == 501, refusal
    assert len(str(refusal)) < 2000, "a message should not repeat the input"
    str(refusal).encode()
    return REFUSED


def conformed(call: Any) -> Any:
    """What a model of four features makes of a call: a finite matrix or a refusal."""
    arrays = judged(lambda: MODEL.conform(call.names, call.arrays))
    if arrays is REFUSED:
        return REFUSED
    (matrix,) = arrays
    assert matrix.ndim == 2
    assert matrix.shape[1] == 4
    assert matrix.shape[0] > 0
    assert matrix.dtype == np.float64
    assert np.isfinite(matrix).all()
    return matrix


def head(headers: dict[bytes, bytes] | None = None) -> Head:
    """The head of a request, for decoders that look at one."""
    return Head("POST", "/", b"", headers or {}, 0, True)

"""What a model says of one of its inputs or outputs."""

from __future__ import annotations

import msgspec

ANY = -1
"""A dimension of any size; the first one is the batch."""


class TensorSpec(msgspec.Struct, frozen=True):
    """Name, datatype (Open Inference Protocol) and shape; ``ANY`` (-1) stands for a free dimension."""

    name: str
    datatype: str
    shape: tuple[int, ...]

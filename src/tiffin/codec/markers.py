"""What an author adds to an annotation: ``Annotated[np.ndarray, Shape((2, 2)), DType("float32")]``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """The shape an array is brought into: ``[1, 2, 3, 4]`` passes ``Shape((2, 2))``; -1 is a free dimension."""

    dimensions: tuple[int, ...]


@dataclass(frozen=True)
class DType:
    """The dtype an array is cast to, by numpy's (or torch's, or tensorflow's) name."""

    dtype: str


@dataclass(frozen=True)
class ContentType:
    """The media type of a file or an answer; ``*`` and ``?`` are wildcards for what comes in."""

    content_type: str


def is_marker(value: object, name: str, field: str) -> bool:
    """Whether this is our marker or its namesake from the real bentoml, which may be installed."""
    return type(value).__name__ == name and hasattr(value, field)

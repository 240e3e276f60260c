"""The page's description of a saved model, and of a plain class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tiffin.models.model import ModelInfo
from tiffin.runtime.page.description import PageDescription, PageEndpoint, PageField, tensor_field


def describe_model(name: str, info: ModelInfo, example: Sequence[Any] | None) -> PageDescription:
    """A model by its V2 address, with a table for each input.

    Args:
        name: In ``/v2/models/{name}``.
        info: What is known of it.
        example: Nested lists for each input; None when they cannot be known.
    """
    samples = list(example) if example is not None else [msgspec.UNSET] * len(info.inputs)
    classes = f" Its classes are {', '.join(map(str, info.classes[:20]))}." if info.classes else ""
    return PageDescription(
        name=name,
        kind="model",
        about=f"{info.estimator}.{info.method}, {info.format} {info.framework_version}.{classes}",
        links=[f"v2/models/{name}", "tiffin/model", "metrics"],
        endpoints=[
            PageEndpoint(
                name="infer",
                route=f"/v2/models/{name}/infer",
                about="The Open Inference Protocol (V2).",
                encoding="tensors",
                media_type="application/json",
                fields=[tensor_field(spec, sample) for spec, sample in zip(info.inputs, samples, strict=True)],
                batchable=True,
            )
        ],
    )


def describe_class(name: str, about: str, example: dict[str, Any] | None) -> PageDescription:
    """A plain class by its Seldon address; the body is written as JSON, from its example when there is one."""
    message = PageField(
        name="message",
        kind="json",
        required=True,
        hint="Seldon message",
        sample=example or {"data": {"ndarray": [[]]}},
    )
    return PageDescription(
        name=name,
        kind="class",
        about=about,
        links=["api/v1.0/metadata", "metrics"],
        endpoints=[
            PageEndpoint(
                name="predictions",
                route="/api/v1.0/predictions",
                about="The Seldon protocol.",
                encoding="root",
                media_type="application/json",
                fields=[message],
            )
        ],
    )

"""What the predictor, the transformer and the explainer of an InferenceService have in common."""

from __future__ import annotations

import msgspec

from tiffin.dialects import kserve_scaling
from tiffin.dialects.fields import ELSEWHERE, LATER, Fields
from tiffin.dialects.kserve_context import Context
from tiffin.spec import Batching, Component, ContainerSource, Logger, ModelSource, Pod, Resources, Scaling


class Extension(msgspec.Struct, frozen=True, kw_only=True):
    """KServe's ComponentExtensionSpec. ``canary_percent`` is ``None`` where the file does not say it."""

    scaling: Scaling
    concurrency: int | None = None
    timeout_seconds: float | None = None
    canary_percent: float | None = None
    batching: Batching = Batching()
    logger: Logger | None = None

    def component(
        self,
        name: str,
        source: ModelSource | ContainerSource,
        environment: dict[str, str],
        resources: Resources,
        *,
        calls: str = "",
        workers: int = 1,
        secrets: tuple[str, ...] = (),
        pod: Pod,
    ) -> Component:
        return Component(
            name=name,
            source=source,
            calls=calls,
            scaling=self.scaling,
            workers=workers,
            timeout_seconds=self.timeout_seconds,
            max_concurrency=self.concurrency,
            resources=resources,
            batching=self.batching,
            environment=environment,
            secret_variables=tuple(name for name in secrets if name in environment),
            logger=self.logger,
            pod=pod,
        )


def extension(fields: Fields, context: Context) -> Extension:
    """The fields that every component has."""
    concurrency = fields.integer("containerConcurrency")
    if concurrency is not None and concurrency < 0:
        raise fields.error("containerConcurrency", "parallelism cannot be less than 0")
    percent = fields.integer("canaryTrafficPercent")
    if percent is not None and not 0 <= percent <= 100:
        raise fields.error("canaryTrafficPercent", f"expected 0 to 100, found {percent}")
    return Extension(
        scaling=kserve_scaling.read(fields, context),
        concurrency=concurrency or None,
        timeout_seconds=fields.number("timeout", above=0),
        canary_percent=None if percent is None else float(percent),
        batching=_batching(fields),
        logger=_logger(fields),
    )


def _batching(fields: Fields) -> Batching:
    batcher = fields.mapping("batcher")
    if batcher is None:
        return Batching()
    rows = batcher.integer("maxBatchSize", minimum=1)
    batcher.ignore(("maxLatency",), "is not needed: Tiffin's batcher never lets a lone call wait for company")
    batcher.ignore(("timeout",), "is not read, as in KServe")
    return Batching(enabled=True, max_rows=rows or 32)


def _logger(fields: Fields) -> Logger | None:
    section = fields.mapping("logger")
    if section is None:
        return None
    mode = section.text("mode", "all")
    if mode not in ("all", "request", "response"):
        raise section.error("mode", "invalid logger type", "write all, request or response")
    storage = section.mapping("storage")
    if storage is not None:
        if not all(storage.has(name) for name in ("path", "parameters", "key")):
            raise section.error(
                "storage", "invalid logger storage configuration", "it has path, parameters and key"
            )
        raise section.error("storage", f"a log of payloads in files {LATER}", "write a url that takes CloudEvents")
    section.ignore_each(("metadataAnnotations", "marshallerUrl", "batchSize", "batchInterval"), ELSEWHERE)
    url = section.text("url")
    if not url:
        section.warn("url", "is not there, so events go to http://default-broker, as in KServe")
    return Logger(
        url=url or "http://default-broker",
        mode="request" if mode == "request" else "response" if mode == "response" else "all",
        metadata_headers=section.texts("metadataHeaders"),
    )

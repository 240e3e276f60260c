"""The Seldon verbs on one plain class: a parsed document in, the bytes of a reply out. No threads, no sockets.

Order, as in Seldon's wrapper: ``<verb>_raw`` with the whole document; else the method with its value; else a
default: predict gives ``[]``, the transforms their input, ``route`` and ``aggregate`` an error, feedback nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tiffin.errors import CallError, PredictError
from tiffin.protocol import seldon
from tiffin.protocol.reply import Reply
from tiffin.protocol.seldon import Bounds, Message
from tiffin.runtime.class_metrics import ClassMetrics
from tiffin.service.plain_class import NOT_WRITTEN, Outcome, PlainClass

_LABELS = {
    "predict": "predict",
    "transform_input": "inputtransform",
    "transform_output": "outputtransform",
    "route": "router",
    "aggregate": "aggregate",
    "send_feedback": "feedback",
    "health_status": "health",
}
"""Seldon's words for the ``method`` label."""


class BadRoute(CallError):
    """The class cannot route, or did not answer with a whole number; Seldon answers 400 to both."""

    code = "bad-route"


class ClassVerbs:
    """What a class does for each verb.

    Args:
        served: the class.
        unit: the graph node's name, for ``meta.requestPath`` and feedback's routing; empty leaves it out.
        image: what the node runs.
        bounds: limits on messages.
        metrics: takes what the class reports.
    """

    def __init__(
        self, served: PlainClass, unit: str, image: str, bounds: Bounds, metrics: ClassMetrics | None = None
    ) -> None:
        self.served = served
        self._unit = unit
        self._image = image
        self._bounds = bounds
        self._metrics = metrics

    def predict(self, document: Any) -> Reply:
        """``/predict``, ``/api/v1.0/predictions``."""
        return self._simple("predict", document)

    def transform_input(self, document: Any) -> Reply:
        """``/transform-input``."""
        return self._simple("transform_input", document)

    def transform_output(self, document: Any) -> Reply:
        """``/transform-output``."""
        return self._simple("transform_output", document)

    def _simple(self, verb: str, document: Any) -> Reply:
        raw = self.served.raw(verb, document)
        if raw is not NOT_WRITTEN:
            return _raw_reply(raw, verb)
        message = seldon.message_of(document, self._bounds)
        outcome = self.served.call(verb, X=message.value, names=message.names, meta=message.meta)
        if outcome.data is NOT_WRITTEN:
            outcome = outcome._replace(data=[] if verb == "predict" else message.value)
        return self._reply(verb, outcome, message)

    def route(self, document: Any) -> Reply:
        """``/route``: the branch to take, as ``[[n]]``. The meta of the request is left behind."""
        raw = self.served.raw("route", document)
        if raw is not NOT_WRITTEN:
            return _raw_reply(raw, "route")
        message = seldon.message_of(document, self._bounds)
        outcome = self.served.call("route", X=message.value, names=message.names, meta=message.meta)
        branch = outcome.data
        if branch is NOT_WRITTEN:
            raise BadRoute("Route not defined")
        if not isinstance(branch, int):
            raise BadRoute(f"Routing response must be int but got {str(branch)[:120]}")
        return self._reply("route", outcome._replace(data=np.array([[branch]])), message, told=())

    def aggregate(self, document: Any) -> Reply:
        """``/aggregate``: several messages to one; the first says the kind of the reply."""
        raw = self.served.raw("aggregate", document)
        if raw is not NOT_WRITTEN:
            return _raw_reply(raw, "aggregate")
        messages = seldon.messages_of(document, self._bounds)
        if not self.served.has("aggregate"):
            raise BadRoute("Aggregate not defined")
        outcome = self.served.call(
            "aggregate", X=[message.value for message in messages], names=[message.names for message in messages]
        )
        if outcome.data is NOT_WRITTEN:
            raise BadRoute("Aggregate not defined")
        return self._reply("aggregate", outcome, messages[0], told=tuple(messages))

    def send_feedback(self, document: Any) -> Reply:
        """``/send-feedback``: ``routing`` is the branch this node took for the call, or None."""
        raw = self.served.raw("send_feedback", document)
        if raw is not NOT_WRITTEN:
            return _raw_reply(raw, "send_feedback")
        feedback = seldon.feedback_of(document, self._bounds)
        outcome = self.served.call(
            "send_feedback",
            X=feedback.request.value,
            names=feedback.request.names,
            reward=feedback.reward,
            truth=feedback.truth.value,
            routing=feedback.routing.get(self._unit),
        )
        if self._metrics is not None:
            self._metrics.feedback(feedback.reward)
        meta = self._meta("send_feedback", outcome, (feedback.request,))
        result = None if outcome.data is NOT_WRITTEN else outcome.data
        return Reply(200, seldon.write_feedback(result, meta=meta))

    def health_status(self) -> Reply:
        """``/health/status``."""
        raw = self.served.raw("health_status")
        if raw is not NOT_WRITTEN:
            return _raw_reply(raw, "health_status")
        outcome = self.served.call("health_status")
        if outcome.data is NOT_WRITTEN:
            outcome = outcome._replace(data="healthy")
        return Reply(200, seldon.write(outcome.data, request=None, meta=self._meta("health_status", outcome, ())))

    def _reply(
        self, verb: str, outcome: Outcome, request: Message, *, told: tuple[Message, ...] | None = None
    ) -> Reply:
        """A reply of the kind of ``request``; ``told`` are the messages whose meta goes on, else ``request``'s."""
        names = self.served.class_names() if seldon.dimensions(outcome.data) > 1 else None
        meta = self._meta(verb, outcome, (request,) if told is None else told)
        return Reply(200, seldon.write(outcome.data, request=request, names=names, meta=meta))

    def _meta(self, verb: str, outcome: Outcome, requests: tuple[Message, ...]) -> dict[str, Any]:
        if self._metrics is not None:
            for metrics in outcome.metrics:
                self._metrics.record(metrics, _LABELS[verb])
        return seldon.reply_meta(
            *requests, unit=self._unit, image=self._image, tags=outcome.tags, metrics=outcome.metrics
        )


def _raw_reply(raw: Any, verb: str) -> Reply:
    """What a raw method gave, as it is; ``status.code`` in it becomes the HTTP status."""
    if not isinstance(raw, dict | list):
        raise PredictError(f"expected a message as a dict, found {type(raw).__name__}", at=f"{verb}_raw()")
    status = raw.get("status") if isinstance(raw, dict) else None
    code = status.get("code") if isinstance(status, dict) else None
    is_http = isinstance(code, int) and not isinstance(code, bool) and 200 <= code <= 599
    try:
        return Reply(code if is_http and code is not None else 200, seldon.dumps(raw) + b"\n")
    except (TypeError, ValueError, RecursionError) as error:
        raise PredictError(f"expected JSON: {error}", at=f"{verb}_raw()") from error

"""What answers tensors, whatever protocol they came by: the model, class or endpoint behind a name."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from tiffin.errors import DeadlineExceeded, DecodeError, NotImplementedHere, TiffinError, UnknownRoute
from tiffin.protocol.tensor_errors import unexpected_output
from tiffin.types import TensorSpec

if TYPE_CHECKING:  # Services may do without numpy.
    from tiffin.models.model import SavedModel
    from tiffin.protocol.tensors import Array, TensorCall
    from tiffin.runtime.runner import Outcome, Runner
else:
    Array = Any

NamedArrays = Sequence[tuple[str, Array]]
Headers = Mapping[bytes, bytes]
"""Names in lower case."""


class Description(NamedTuple):
    """What a model says of itself. ``platform`` is for people: ``sklearn_logisticregression``."""

    platform: str
    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]


class TensorModel(Protocol):
    """One model. Its methods raise TiffinError alone; a call that is cancelled leaves nothing behind."""

    name: str
    streams: bool
    """Whether it gives several answers to a call: then ``stream`` is asked, else ``infer``."""

    def describe(self) -> Description:
        """What it takes and gives."""

    async def infer(self, call: TensorCall, headers: Headers) -> NamedArrays:
        """The one answer to a call; ``headers`` are those of the request."""

    def stream(self, call: TensorCall, headers: Headers) -> AsyncGenerator[NamedArrays, None]:
        """The answers to a call, as they come."""


Models = Mapping[str, TensorModel]
"""By every name they are asked for by."""


class OneAnswer(ABC):
    """A model that gives one answer to a call; it can be asked for a stream of one."""

    streams = False

    @abstractmethod
    async def infer(self, call: TensorCall, headers: Headers) -> NamedArrays:
        """The answer."""

    async def stream(self, call: TensorCall, headers: Headers) -> AsyncGenerator[NamedArrays, None]:
        """The answer, alone."""
        yield await self.infer(call, headers)


class SavedTensorModel(OneAnswer):
    """A saved model: its calls wait for company with those that came over HTTP.

    Args:
        name: as callers know it.
        model: what is served.
        runner: the one of its application.
        timeout_seconds: for a call; ``None`` is none.
    """

    def __init__(self, name: str, model: SavedModel, runner: Runner, timeout_seconds: float | None) -> None:
        self.name = name
        self._model = model
        self._runner = runner
        self._timeout = timeout_seconds
        self._outputs = [spec.name for spec in model.info.outputs]

    def describe(self) -> Description:
        """From what was found in the artefact."""
        info = self._model.info
        return Description(f"{info.format}_{info.estimator}".lower(), info.inputs, info.outputs)

    async def infer(self, call: TensorCall, headers: Headers) -> NamedArrays:
        """What the model predicts.

        Raises:
            DecodeError: tensors that the model does not take.
            PredictError: the model raised.
            DeadlineExceeded: it took longer than it may.
        """
        if not call.arrays:
            raise DecodeError("expected at least one input tensor, found none", at="inputs")
        call.arrays = self._model.conform(call.names, call.arrays)
        waiting: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def done(outcome: Outcome) -> None:
            if not waiting.done():
                waiting.set_result(outcome)

        call.done = done
        self._runner.submit(call)
        try:
            outcome = await within(self._timeout, waiting)
        except BaseException:
            call.cancel()
            raise
        if isinstance(outcome, TiffinError):
            raise outcome
        return list(zip(self._outputs, outcome, strict=True))


async def within(seconds: float | None, waiting: Any) -> Any:
    """The result of an awaitable; raises DeadlineExceeded when it is not there in time; ``None`` is no limit."""
    if seconds is None:
        return await waiting
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await waiting
    except TimeoutError:
        if not limit.expired():
            raise
        raise DeadlineExceeded(f"expected an answer within {seconds:g} seconds, found none") from None


def find(models: Models, name: str, version: str = "") -> TensorModel:
    """The model of a name.

    Raises:
        UnknownRoute: there is none; the text is KServe's, with the names there are.
        NotImplementedHere: one of its versions was asked for.
    """
    model = models.get(name)
    if model is None:
        raise UnknownRoute(f"Model with name {name[:64]} does not exist.")
    if version:
        raise NotImplementedHere("Model versions are not served; leave the version out.")
    return model


def checked(wanted: Sequence[str] | None, model: TensorModel) -> None:
    """Raise DecodeError for an output asked for that the model is known not to have, before it is asked."""
    known = [spec.name for spec in model.describe().outputs]
    for index, name in enumerate(wanted or ()):
        if known and name not in known:
            raise unexpected_output(name, model.name, known, f"outputs[{index}].name")

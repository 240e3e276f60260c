"""Open Inference Protocol V2 over REST for what names its outputs with each answer, such as a method's dict."""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.protocol.head import Head
from tiffin.protocol.open_inference import OpenInference
from tiffin.protocol.reply import Reply
from tiffin.protocol.tensor_errors import unexpected_output
from tiffin.protocol.tensors import Array, TensorCall
from tiffin.types import TensorSpec

_MOST_WRITERS = 16


class NamedTensors:
    """The protocol for one such model.

    Args:
        model: its name in paths and replies.
        max_tensor_bytes: bound on one tensor.
    """

    def __init__(self, model: str, *, max_tensor_bytes: int) -> None:
        self._model = model
        self._most_bytes = max_tensor_bytes
        self._reader = OpenInference(model, (), max_tensor_bytes=max_tensor_bytes)
        self._reader.needs_inputs = False
        self._writers: dict[tuple[str, ...], OpenInference] = {}

    def read(self, head: Head, body: bytes) -> TensorCall:
        """Decode an infer request; raises as ``OpenInference.read``. It may have no inputs."""
        return self._reader.read(head, body)

    def wanted(self, call: TensorCall) -> Sequence[str]:
        """The outputs a call asks for by name; empty means all."""
        return self._reader.wanted(call)

    def write(self, call: TensorCall, outputs: Sequence[tuple[str, Array]]) -> Reply:
        """Encode an answer.

        Raises:
            DecodeError: an output was asked for that the answer does not have.
            CallError, PredictError: as ``OpenInference.write``.
        """
        names = tuple(name for name, _ in outputs)
        for index, name in enumerate(self.wanted(call)):
            if name not in names:
                raise unexpected_output(name, self._model, names, f"outputs[{index}].name")
        writer = self._writers.get(names)
        if writer is None:
            if len(self._writers) >= _MOST_WRITERS:
                self._writers.clear()
            writer = OpenInference(self._model, names, max_tensor_bytes=self._most_bytes)
            self._writers[names] = writer
        return writer.write(call, [array for _, array in outputs])

    def metadata(self, platform: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Reply:
        """``GET /v2/models/{model}``."""
        return self._reader.metadata(platform, inputs, outputs)

    def ready(self, is_ready: bool) -> Reply:
        """``GET /v2/models/{model}/ready``; 503 while not ready."""
        return self._reader.ready(is_ready)

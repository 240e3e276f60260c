"""The Seldon protocol for a saved model: messages that hold a tensor, to tensor calls and back."""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.errors import DecodeError
from tiffin.models.model import ModelInfo
from tiffin.protocol import seldon
from tiffin.protocol.head import Head
from tiffin.protocol.reply import Reply
from tiffin.protocol.seldon import Bounds, Message
from tiffin.protocol.seldon import render_error as error
from tiffin.protocol.tensors import Array, TensorCall

__all__ = ["SeldonTensors", "error"]


class SeldonTensors:
    """The protocol for one model.

    Args:
        unit: the graph node's name, for ``meta.requestPath``.
        image: what the node runs, for the same.
        info: the model; its classes name the columns of probabilities.
        max_tensor_bytes: bound on the tensor of a message.
        max_nesting: deepest message taken.
    """

    def __init__(
        self, unit: str, image: str, info: ModelInfo, *, max_tensor_bytes: int, max_nesting: int = 32
    ) -> None:
        self._unit = unit
        self._image = image
        self._inputs = [spec.name for spec in info.inputs]
        self._classes = [str(label) for label in info.classes]
        self._bounds = Bounds(max_nesting=max_nesting, max_bytes=max_tensor_bytes)

    def read(self, head: Head, body: bytes) -> TensorCall:
        """Decode a prediction request.

        Raises:
            DecodeError: not a SeldonMessage, or one that holds no tensor.
        """
        message = seldon.read(body, self._bounds)
        if message.kind not in ("tensor", "ndarray"):
            raise DecodeError(f"expected data with an ndarray or a tensor, found {message.kind}")
        return TensorCall(self._inputs[:1], (message.value,), message)

    def write(self, call: TensorCall, outputs: Sequence[Array]) -> Reply:
        """Encode the first output, as Seldon's servers do; columns are named by the classes when they fit."""
        message: Message = call.context
        result = outputs[0]
        names = self._classes if result.ndim > 1 and result.shape[1] == len(self._classes) else None
        meta = seldon.reply_meta(message, unit=self._unit, image=self._image)
        return Reply(200, seldon.write(result, request=message, names=names, meta=meta))

"""The Seldon protocol: a message, a list of messages, feedback, and a tensor for a saved model."""

from __future__ import annotations

import json

import numpy as np
from judge import LIMIT, REFUSED, conformed, head, judged

from tiffin.models.model import ModelInfo
from tiffin.protocol import seldon
from tiffin.protocol.seldon import Bounds
from tiffin.protocol.seldon_tensors import SeldonTensors
from tiffin.types import ANY, TensorSpec

BOUNDS = Bounds(max_bytes=LIMIT)
INFO = ModelInfo(
    format="sklearn",
    framework_version="1",
    artefact_version="1",
    estimator="E",
    file="f",
    inputs=(TensorSpec("input-0", "FP64", (ANY, 4)),),
    outputs=(TensorSpec("out", "FP64", (ANY, 2)),),
    classes=("a", "b"),
)
PROTOCOL = SeldonTensors("unit", "image", INFO, max_tensor_bytes=LIMIT)


def run(data: bytes) -> None:
    judged(lambda: seldon.read(data, BOUNDS))
    judged(lambda: seldon.read_list(data, BOUNDS))
    judged(lambda: seldon.read_feedback(data, BOUNDS))
    call = judged(lambda: PROTOCOL.read(head(), data))
    if call is REFUSED:
        return
    if conformed(call) is REFUSED:
        return
    reply = judged(lambda: PROTOCOL.write(call, [np.array([[0.25, 0.75]])]))
    if reply is not REFUSED:
        assert "data" in json.loads(reply.body)

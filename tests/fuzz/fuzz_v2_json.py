"""Open Inference Protocol, JSON: tensors of the shapes they claim, or a refusal; the reply is JSON again."""

from __future__ import annotations

import json

import numpy as np
from judge import LIMIT, REFUSED, conformed, head, judged

from tiffin.protocol.open_inference import OpenInference


def run(data: bytes) -> None:
    read(data, None)


def read(data: bytes, length: bytes | None) -> None:
    made = OpenInference("m", ("out", "more"), max_tensor_bytes=LIMIT)
    request = head({} if length is None else {b"inference-header-content-length": length})
    calls = [judged(lambda: made.read(request, data)) for _ in range(2)]
    assert (calls[0] is REFUSED) == (calls[1] is REFUSED), "what was learnt from the first made a difference"
    call = calls[1]
    if call is REFUSED:
        return
    assert len(call.names) == len(call.arrays) == len(set(call.names)) > 0
    assert all(array.nbytes <= 8 * LIMIT for array in call.arrays)
    for first, second in zip(calls[0].arrays, call.arrays, strict=True):
        assert first.shape == second.shape
        assert first.dtype == second.dtype
    reply = made.write(call, [np.array([0.5]), np.array(["x"], dtype=object)])
    size = dict(reply.headers).get(b"inference-header-content-length", str(len(reply.body)).encode())
    assert json.loads(reply.body[: int(size)])["model_name"] == "m"
    conformed(call)

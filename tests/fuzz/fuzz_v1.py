"""KServe's V1 protocol: tensors of as many rows as there are instances, or a refusal."""

from __future__ import annotations

import json

import numpy as np
from judge import LIMIT, REFUSED, conformed, head, judged

from tiffin.protocol.kserve_v1 import KServeV1

PROTOCOL = KServeV1("m", "input-0", ("out",), max_tensor_bytes=LIMIT)


def run(data: bytes) -> None:
    call = judged(lambda: PROTOCOL.read(head(), data))
    if call is REFUSED:
        return
    assert len(call.names) == len(call.arrays) > 0
    assert all(array.nbytes <= LIMIT and len(array) > 0 for array in call.arrays)
    assert json.loads(PROTOCOL.write(call, [np.array([1])]).body) == {"predictions": [1]}
    conformed(call)

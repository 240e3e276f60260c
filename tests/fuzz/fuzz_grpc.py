"""Open Inference Protocol over gRPC: a ModelInferRequest, read twice, and answered with its own tensors."""

from __future__ import annotations

from judge import LIMIT, REFUSED, conformed, judged

from tiffin.protocol.grpc_tensors import RESPONSE, GrpcTensors


def run(data: bytes) -> None:
    made = GrpcTensors(max_tensor_bytes=LIMIT)
    calls = [judged(lambda: made.read(data).call) for _ in range(2)]
    assert (calls[0] is REFUSED) == (calls[1] is REFUSED), "what was learnt from the first made a difference"
    call = calls[1]
    if call is REFUSED:
        return
    assert len(call.names) == len(call.arrays) == len(set(call.names))
    assert all(array.nbytes <= 8 * LIMIT for array in call.arrays)
    asked = call.context._replace(wanted=None)
    answer = RESPONSE.FromString(made.write("m", asked, list(zip(call.names, call.arrays, strict=True))))
    assert [list(tensor.shape) for tensor in answer.outputs] == [list(array.shape) for array in call.arrays]
    if call.names:
        conformed(call)

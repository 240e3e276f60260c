"""Ask the KServe example with the KServe SDK. Rows as JSON on stdin, class numbers as JSON on stdout.

Runs in an environment of its own; see the Makefile.
"""

import asyncio
import json
import sys

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig


async def main(port: int) -> None:
    rows = np.array(json.load(sys.stdin))
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    base = f"http://127.0.0.1:{port}"
    assert await client.is_server_live(base)
    assert await client.is_server_ready(base)
    assert await client.is_model_ready(base, "iris")
    answers = []
    for binary in (False, True):
        tensor = InferInput(name="input-0", shape=list(rows.shape), datatype="FP64")
        tensor.set_data_from_numpy(rows, binary_data=binary)
        reply = await client.infer(base, InferRequest(model_name="iris", infer_inputs=[tensor]), model_name="iris")
        answers.append([int(value) for value in reply.outputs[0].as_numpy()])
    assert answers[0] == answers[1], "JSON and binary tensors gave different answers"
    await client.close()
    print(json.dumps(answers[0]))


asyncio.run(main(int(sys.argv[1])))

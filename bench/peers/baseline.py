"""The yardstick: an Open Inference Protocol V2 server as a good engineer writes it with FastAPI.

It serves one model with pydantic models and uvicorn, JSON and the binary tensor extension, uvloop and httptools,
no access log, and predicts on the event loop, which is the fastest choice for cheap models. Everything in it is
ordinary and nothing is tuned for this benchmark: where two ways were equally natural, the faster one was taken.
"""

import json
import sys
from pathlib import Path
from typing import Any

NAME = "baseline"
DESCRIPTION = "hand-written FastAPI + pydantic + uvicorn"


def command(model: Path, port: int) -> list[str]:
    """The command that serves ``model`` on 127.0.0.1:``port`` under /v2/models/{stem of the file}."""
    return [sys.executable, __file__, str(model), str(port)]


def create_app(path: Path) -> Any:
    import numpy as np
    from fastapi import FastAPI, HTTPException, Request, Response
    from pydantic import BaseModel, ValidationError

    class RequestInput(BaseModel):
        name: str
        shape: list[int]
        datatype: str
        parameters: dict[str, Any] | None = None
        data: list[Any] | None = None

    class RequestOutput(BaseModel):
        name: str
        parameters: dict[str, Any] | None = None

    class InferenceRequest(BaseModel):
        id: str | None = None
        parameters: dict[str, Any] | None = None
        inputs: list[RequestInput]
        outputs: list[RequestOutput] | None = None

    class ResponseOutput(BaseModel):
        name: str
        shape: list[int]
        datatype: str
        parameters: dict[str, Any] | None = None
        data: list[Any] | None = None

    class InferenceResponse(BaseModel):
        model_name: str
        model_version: str | None = None
        id: str | None = None
        outputs: list[ResponseOutput]

    dtypes = {
        "BOOL": np.bool_,
        **{f"INT{bits}": np.dtype(f"i{bits // 8}").type for bits in (8, 16, 32, 64)},
        **{f"UINT{bits}": np.dtype(f"u{bits // 8}").type for bits in (8, 16, 32, 64)},
        **{f"FP{bits}": np.dtype(f"f{bits // 8}").type for bits in (16, 32, 64)},
    }
    datatypes = {np.dtype(dtype): name for name, dtype in dtypes.items()}
    model_name = path.stem
    predict = _predictor(path)
    app = FastAPI()

    def decode(item: RequestInput, binary: memoryview) -> tuple[np.ndarray, memoryview]:
        if item.datatype not in dtypes:
            raise HTTPException(400, f"datatype {item.datatype} is not supported")
        dtype = dtypes[item.datatype]
        size = (item.parameters or {}).get("binary_data_size")
        try:
            if size is not None:
                array = np.frombuffer(binary[:size], dtype)
                binary = binary[size:]
            else:
                array = np.array(item.data, dtype)
            return array.reshape(item.shape), binary
        except (ValueError, TypeError) as error:
            raise HTTPException(400, f"input {item.name}: {error}") from error

    @app.get("/v2/health/ready")
    async def ready() -> dict[str, bool]:
        return {"ready": True}

    @app.get("/v2/models/{name}")
    async def metadata(name: str) -> dict[str, Any]:
        return {"name": name, "platform": path.suffix[1:], "inputs": [], "outputs": []}

    @app.post("/v2/models/{name}/infer", response_model=InferenceResponse, response_model_exclude_none=True)
    async def infer(name: str, request: Request) -> Any:
        if name != model_name:
            raise HTTPException(404, f"model {name} is not here")
        body = await request.body()
        head = request.headers.get("inference-header-content-length")
        head_size = len(body) if head is None else int(head)
        try:
            call = InferenceRequest.model_validate_json(body[:head_size])
        except ValidationError as error:
            raise HTTPException(422, json.loads(error.json(include_url=False))) from error
        binary = memoryview(body)[head_size:]
        arrays = {}
        for item in call.inputs:
            arrays[item.name], binary = decode(item, binary)
        outputs = predict(arrays)
        wants_binary = (call.parameters or {}).get("binary_data_output", False) or any(
            (output.parameters or {}).get("binary_data", False) for output in call.outputs or []
        )
        if wants_binary:
            return binary_response(call.id, outputs)
        return InferenceResponse(
            model_name=model_name,
            id=call.id,
            outputs=[
                ResponseOutput(
                    name=key, shape=list(value.shape), datatype=datatypes[value.dtype], data=value.ravel().tolist()
                )
                for key, value in outputs.items()
            ],
        )

    def binary_response(call_id: str | None, outputs: dict[str, np.ndarray]) -> Response:
        response = InferenceResponse(
            model_name=model_name,
            id=call_id,
            outputs=[
                ResponseOutput(
                    name=key,
                    shape=list(value.shape),
                    datatype=datatypes[value.dtype],
                    parameters={"binary_data_size": value.nbytes},
                )
                for key, value in outputs.items()
            ],
        )
        head = response.model_dump_json(exclude_none=True).encode()
        return Response(
            b"".join([head, *(value.tobytes() for value in outputs.values())]),
            media_type="application/octet-stream",
            headers={"Inference-Header-Content-Length": str(len(head))},
        )

    return app


def _predictor(path: Path) -> Any:
    if path.suffix == ".onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return lambda arrays: dict(zip(names, session.run(names, arrays), strict=True))

    import joblib

    model = joblib.load(path)
    return lambda arrays: {"predict": model.predict(next(iter(arrays.values())))}


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(
        create_app(Path(sys.argv[1])),
        host="127.0.0.1",
        port=int(sys.argv[2]),
        access_log=False,
        log_level="warning",
    )

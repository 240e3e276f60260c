"""What KServe tells the servers it knows beyond what their runtimes say: MLServer, TorchServe, Triton.

And which of a server's images has the libraries of a GPU.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import msgspec

from tiffin.dialects.kserve_context import PREFIX, Context
from tiffin.dialects.kserve_storage import MOUNT
from tiffin.dialects.kubernetes import Container
from tiffin.dialects.runtimes import Runtime, repository

_TYPE = PREFIX + "server-type"
_DEVICES = PREFIX + "gpu-resource-types"
_TAGGED = ("tensorflow-serving", "torchserve", "huggingfaceserver")
_MODEL_CLASSES = {
    "sklearn": "mlserver_sklearn.SKLearnModel",
    "xgboost": "mlserver_xgboost.XGBoostModel",
    "lightgbm": "mlserver_lightgbm.LightGBMModel",
    "mlflow": "mlserver_mlflow.MLflowRuntime",
}


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """Labels of the service, and variables and arguments of the model's container, below those of the file."""

    labels: dict[str, str] = {}
    variables: dict[str, str] = {}
    arguments: tuple[str, ...] = ()


def server(runtime: Runtime) -> str:
    """Which server a runtime runs: ``mlserver``, by its annotation or by its own name."""
    return runtime.annotations.get(_TYPE, runtime.name).removeprefix("kserve-")


def told(runtime: Runtime, *, name: str, format: str, protocol: str, has_storage: bool) -> Told:
    """For the model ``format`` of the service ``name``."""
    kind = server(runtime)
    if kind == "mlserver":
        where = {"MLSERVER_MODEL_URI": MOUNT} if has_storage else {"MLSERVER_LOAD_MODELS_AT_STARTUP": "false"}
        labels = {"modelClass": _MODEL_CLASSES[format]} if format in _MODEL_CLASSES else {}
        return Told(labels=labels, variables={"MLSERVER_MODEL_NAME": name, **where})
    if kind == "torchserve":
        envelope = "kservev2" if protocol == "v2" else "kserve"
        return Told(labels={"serviceEnvelope": envelope}, variables={"PROTOCOL_VERSION": protocol or "v1"})
    if kind in ("triton", "tritonserver") and not has_storage:
        return Told(arguments=("--model-control-mode=explicit",))
    return Told()


def suited(container: Container, runtime: Runtime, context: Context) -> str:
    """The container's image, or the one of it that suits whether a GPU is asked for; digests stay."""
    image = container.image
    if "@" in image:
        return image
    has_gpu, kind = _asks_for_gpu(container, context), server(runtime)
    name = repository(image)
    tag = image[len(name) :]
    if has_gpu and kind in _TAGGED and tag and not tag.endswith("-gpu"):
        return f"{image}-gpu"
    if not has_gpu and kind == "vllmserver" and name.endswith("vllm-openai"):
        return f"{name}-cpu{tag}"
    return image


def _asks_for_gpu(container: Container, context: Context) -> bool:
    if container.resources.gpu:
        return True
    try:
        more = json.loads(context.annotations.get(_DEVICES, "[]"))
    except ValueError:
        more = []
    written = container.raw.get("resources")
    if not isinstance(written, Mapping) or not isinstance(more, list):
        return False
    asked = (amounts for amounts in written.values() if isinstance(amounts, Mapping))
    return any(name in more for amounts in asked for name in amounts)

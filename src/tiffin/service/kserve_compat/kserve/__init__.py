"""What user code imports from kserve, for environments without it."""

from __future__ import annotations

from typing import Any

from .constants import constants
from .inference_client import InferenceRESTClient, RESTConfig
from .model import Model
from .model_repository import ModelRepository
from .model_server import ModelServer
from .predictor_config import PredictorConfig
from .protocol.infer_type import InferInput, InferOutput, InferRequest, InferResponse
from .utils import utils

__all__ = [
    "InferInput",
    "InferOutput",
    "InferRequest",
    "InferResponse",
    "InferenceRESTClient",
    "Model",
    "ModelRepository",
    "ModelServer",
    "PredictorConfig",
    "RESTConfig",
    "constants",
    "utils",
]

PROVIDED_BY = "tiffin"


def __getattr__(name: str) -> Any:
    """Say what to do for names that only the real package has."""
    if name == "InferenceGRPCClient" or name.startswith(("KServeClient", "V1alpha1", "V1beta1", "Api")):
        raise ImportError(f"kserve.{name} is not provided here: pip install kserve")
    raise AttributeError(f"module 'kserve' has no attribute {name!r}")

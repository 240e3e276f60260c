"""``kserve.constants.constants``: the values model code asks for."""

from __future__ import annotations

from enum import Enum


class PredictorProtocol(Enum):
    """How a transformer speaks to its predictor."""

    REST_V1 = "v1"
    REST_V2 = "v2"
    GRPC_V2 = "grpc-v2"


class ModelType(Enum):
    """What a component is for."""

    EXPLAINER = 1
    PREDICTOR = 2


DEFAULT_HTTP_PORT = 8080
DEFAULT_GRPC_PORT = 8081
MAX_GRPC_MESSAGE_LENGTH = 8_388_608
INFERENCE_CONTENT_LENGTH_HEADER = "inference-header-content-length"
KSERVE_LOGLEVEL = "INFO"

"""``kserve.model``: the class that authors derive their models from."""

from __future__ import annotations

from enum import Enum
from typing import Any

from . import context
from .constants.constants import PredictorProtocol
from .predictor_config import PredictorConfig

__all__ = ["BaseKServeModel", "InferenceModel", "InferenceVerb", "Model", "PredictorConfig", "PredictorProtocol"]


class InferenceVerb(Enum):
    """What is asked of a model."""

    EXPLAIN = 1
    PREDICT = 2


class BaseKServeModel:
    """Something with a name that gets ready."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready = False
        self.engine = False

    async def healthy(self) -> bool:
        """Whether it can be called now; ``self.ready`` unless overridden."""
        return self.ready

    def load(self) -> bool:
        """Overridden to load the model; has to set ``self.ready``."""
        self.ready = True
        return self.ready

    def start(self) -> None:
        """Called when the server gets the model."""
        self.ready = True

    async def start_engine(self) -> None:
        """Called once on the event loop, when ``self.engine`` is true."""
        self.ready = True

    def stop(self) -> None:
        """Called when the server has ended."""
        self.ready = False

    def stop_engine(self) -> None:
        """Called when the server has ended, when ``self.engine`` is true."""
        self.ready = False


class InferenceModel(BaseKServeModel):
    """A model with inputs and outputs."""

    def get_input_types(self) -> list[dict[str, Any]]:
        """``[{"name", "datatype", "shape"}]`` for the metadata of V2."""
        return []

    def get_output_types(self) -> list[dict[str, Any]]:
        """``[{"name", "datatype", "shape"}]`` for the metadata of V2."""
        return []


class Model(InferenceModel):
    """Override ``load`` and ``predict`` for a predictor, ``preprocess`` and ``postprocess`` for a transformer,
    ``explain`` for an explainer; each plain or async.

    Args:
        name: the model's name in paths.
        return_response_headers: ``predict`` and ``postprocess`` take a third argument, a dict for headers of the
            answer.
    """

    def __init__(self, name: str, return_response_headers: bool = False) -> None:
        super().__init__(name)
        self.explainer_host: str | None = None
        self.enable_latency_logging = False
        self.required_response_headers = return_response_headers

    @property
    def predictor_config(self) -> PredictorConfig | None:
        """Where the predictor is; None outside of a server."""
        return context.get_predictor_config()

    async def preprocess(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        """From the request to what ``predict`` takes."""
        return payload

    async def predict(
        self, payload: Any, headers: dict[str, str] | None = None, response_headers: dict[str, str] | None = None
    ) -> Any:
        """Ask the predictor; overridden in predictors."""
        config = self.predictor_config
        if config is None or not config.predictor_host:
            raise NotImplementedError("Could not find predictor_host.")
        return await self._http_predict(payload, headers, response_headers)

    async def _http_predict(
        self, payload: Any, headers: dict[str, str] | None = None, response_headers: dict[str, str] | None = None
    ) -> Any:
        from tiffin.service.kserve_compat import upstream

        return await upstream.predict(self.name, self.predictor_config, payload, headers, response_headers)

    async def postprocess(
        self, result: Any, headers: dict[str, str] | None = None, response_headers: dict[str, str] | None = None
    ) -> Any:
        """From what ``predict`` gave to the answer."""
        return result

    async def explain(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        """Overridden in explainers."""
        raise NotImplementedError("Could not find explainer_host.")

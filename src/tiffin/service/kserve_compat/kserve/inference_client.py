"""``kserve.inference_client``: the REST client, for models that call others themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .constants.constants import PredictorProtocol
from .predictor_config import PredictorConfig


class RESTConfig:
    """Protocol, seconds and retries of a client; other settings are accepted."""

    def __init__(self, protocol: Any = "v1", retries: int = 3, timeout: float | None = 60, **other: Any) -> None:
        self.protocol = protocol.value if isinstance(protocol, PredictorProtocol) else protocol
        self.retries = retries
        self.timeout = timeout


class InferenceRESTClient:
    """``await client.infer(base_url, data, model_name)``."""

    def __init__(self, config: RESTConfig | None = None) -> None:
        self._config = config or RESTConfig()

    async def infer(
        self,
        base_url: str,
        data: Any,
        model_name: str | None = None,
        headers: Mapping[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
        **other: Any,
    ) -> Any:
        """A dict for V1, an InferResponse for V2."""
        from tiffin.service.kserve_compat import upstream

        scheme, _, host = base_url.rstrip("/").rpartition("://")
        config = PredictorConfig(
            host,
            self._config.protocol,
            predictor_use_ssl=scheme == "https",
            predictor_request_timeout_seconds=int(self._config.timeout or 600),
            predictor_request_retries=self._config.retries,
        )
        return await upstream.predict(str(model_name), config, data, headers, response_headers)

    async def close(self) -> None:
        """Connections are the process's."""

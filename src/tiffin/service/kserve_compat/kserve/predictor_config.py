"""``kserve.predictor_config``: where a transformer finds its predictor."""

from __future__ import annotations

from .constants.constants import PredictorProtocol


class PredictorConfig:
    """Host (``host[:port][/path]``), protocol (``v1``, ``v2``), seconds and retries."""

    def __init__(
        self,
        predictor_host: str | None,
        predictor_protocol: str = PredictorProtocol.REST_V1.value,
        predictor_use_ssl: bool = False,
        predictor_request_timeout_seconds: int = 600,
        predictor_request_retries: int = 0,
        predictor_health_check: bool = False,
    ) -> None:
        self.predictor_host = predictor_host
        self.predictor_protocol = predictor_protocol
        self.predictor_use_ssl = predictor_use_ssl
        self.predictor_request_timeout_seconds = predictor_request_timeout_seconds
        self.predictor_request_retries = predictor_request_retries
        self.predictor_health_check = predictor_health_check
        self.protocol = predictor_protocol
        self.use_ssl = predictor_use_ssl
        self.timeout = predictor_request_timeout_seconds
        self.retries = predictor_request_retries

    @property
    def predictor_base_url(self) -> str:
        """``http://host``."""
        return f"{'https' if self.predictor_use_ssl else 'http'}://{self.predictor_host}"

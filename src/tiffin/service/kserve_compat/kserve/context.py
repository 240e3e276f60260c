"""``kserve.context``: the settings of the process's one server."""

from __future__ import annotations

from .predictor_config import PredictorConfig

_config: list[PredictorConfig] = []


def set_predictor_config(config: PredictorConfig) -> None:
    """Settings for every model from here on."""
    _config[:] = [config]


def get_predictor_config() -> PredictorConfig | None:
    """The settings; None before there is a server."""
    return _config[0] if _config else None

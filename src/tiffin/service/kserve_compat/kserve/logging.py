"""``kserve.logging``: the loggers; the replica has set up where they write."""

from __future__ import annotations

import logging
from typing import Any

logger = logging.getLogger("kserve")
trace_logger = logging.getLogger("kserve.trace")
KSERVE_LOG_CONFIG: dict[str, Any] = {"version": 1, "disable_existing_loggers": False}


def configure_logging(log_config: Any = None) -> None:
    """Nothing to do."""

"""Which requests and answers are kept, for replaying and comparing."""

from __future__ import annotations

import msgspec


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """A sample of the calls, in Parquet files of at most ``max_bytes`` together; the oldest go first."""

    percent: float = 100.0
    max_bytes: int = 268_435_456
    max_body_bytes: int = 1_048_576

"""How long to wait before a process that died is started again. Pure."""

from __future__ import annotations

from dataclasses import dataclass

PAUSES_SECONDS = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
FIRST_PAUSES_SECONDS = (1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
FORGIVEN_AFTER_SECONDS = 60.0


@dataclass(frozen=True)
class Lives:
    """Deaths in a row: a process that then lived long enough starts with a clean record."""

    deaths: int = 0

    def after_death(self, lived_seconds: float, forgiven_seconds: float = FORGIVEN_AFTER_SECONDS) -> Lives:
        """The record after another death."""
        return Lives(1 if lived_seconds >= forgiven_seconds else self.deaths + 1)

    @property
    def pause_seconds(self) -> float:
        """How long to wait before the next start: none after the first death, then longer and longer."""
        return PAUSES_SECONDS[min(max(self.deaths - 1, 0), len(PAUSES_SECONDS) - 1)]

    @property
    def first_pause_seconds(self) -> float:
        """The same for a process that was never well: nothing is gained by trying it again at once."""
        return FIRST_PAUSES_SECONDS[min(max(self.deaths - 1, 0), len(FIRST_PAUSES_SECONDS) - 1)]

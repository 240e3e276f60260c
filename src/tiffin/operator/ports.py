"""Which ports of the activator belong to which Service. Pure.

What is remembered stands in the Services themselves (``names.PORT``), so an operator that starts anew gives the
same. A Service gets ``names.ACTIVATOR_PORTS`` ports in a row, one for each of its own. Where they begin comes from
a digest of its name as long as that place is free: one that was deleted and made again finds its old ports.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from tiffin.errors import PlatformError
from tiffin.kube.names import ACTIVATOR_PORTS

FIRST = 20000
LAST = 59999
LAST_PREFERRED = 32767
"""Higher ones may be taken for a while by connections that the activator opens itself."""
_PREFERRED = (LAST_PREFERRED + 1 - FIRST) // ACTIVATOR_PORTS
_PLACES = (LAST + 1 - FIRST) // ACTIVATOR_PORTS


class Ports:
    """Ports by Service (``namespace/name``). What was given stays given until it is forgotten."""

    def __init__(self, written: Mapping[str, int] | None = None) -> None:
        self._ports: dict[str, int] = {}
        self._owners: dict[int, str] = {}
        for service in sorted(written or {}):
            self.found(service, (written or {})[service])

    def found(self, service: str, port: int) -> bool:
        """A Service says it has this port. False when it cannot: it is another's, or none that is given here.

        ``of`` gives another one then.
        """
        if (port - FIRST) % ACTIVATOR_PORTS or not FIRST <= port <= LAST - ACTIVATOR_PORTS + 1:
            return False
        owner = self._owners.get(port)
        if owner == service:
            return True
        if owner is not None or service in self._ports:
            return False
        self._ports[service], self._owners[port] = port, service
        return True

    def of(self, service: str) -> int:
        """The first of its ports, given now if it had none. Raises PlatformError when all are taken."""
        port = self._ports.get(service)
        if port is None:
            port = self._free(service)
            self._ports[service], self._owners[port] = port, service
        return port

    def forget(self, service: str) -> None:
        """It was deleted."""
        port = self._ports.pop(service, None)
        if port is not None:
            del self._owners[port]

    def __len__(self) -> int:
        return len(self._ports)

    def _free(self, service: str) -> int:
        start = int.from_bytes(hashlib.sha256(service.encode()).digest()[:8], "big") % _PREFERRED
        for step in range(_PLACES):
            place = (start + step) % _PREFERRED if step < _PREFERRED else step
            port = FIRST + place * ACTIVATOR_PORTS
            if port not in self._owners:
                return port
        raise PlatformError(
            f"expected at most {_PLACES} Services that can wait for a replica, found one more: {service}",
            hint="the activator has no port left for it: set minReplicas to 1 where scale to zero is not needed",
        )

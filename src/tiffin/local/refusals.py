"""Deployments that the gateway does not take: found among the others, which go on without them.

What was taken of a deployment last is kept, so that it is served as it was, by the replicas there are now.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from tiffin.errors import MissingExtra, PortInUse, ProcessError
from tiffin.gateway.router import Pool, Routed, Snapshot
from tiffin.local.defects import fault, is_unexpected
from tiffin.local.settling import together
from tiffin.plan.state import Problem
from tiffin.spec import Deployment

REASON = "GatewayRefused"
LONGEST_MESSAGE = 300
OF_THE_MACHINE = (OSError, ProcessError, MissingExtra, PortInUse)
"""Failures that say nothing against what the gateway was told."""

Check = Callable[[Snapshot], Awaitable[None]]


@dataclass(frozen=True)
class Refusal:
    """Which spec was not taken, and why. ``goes_on``: whether it is served as it was before."""

    deployment: Deployment
    problem: Problem
    goes_on: bool = False


class Refusals:
    """What was taken and what was refused.

    Args:
        ready: By pool, where its ready replicas listen now.
    """

    def __init__(self, ready: Callable[[], Mapping[str, Sequence[str]]] = dict) -> None:
        self.refused: dict[str, Refusal] = {}
        self._taken: dict[str, Routed] = {}
        self._ready = ready

    def chosen(self, parts: Sequence[Routed], *, without: frozenset[str] = frozenset()) -> list[Routed]:
        """The parts to tell: what was taken last of what is refused as it is now, and of ``without``."""
        found = []
        for part in parts:
            refusal = self._refusal(part)
            if refusal is None and part.deployment.key not in without:
                found.append(part)
            elif refusal is None or refusal.goes_on:
                before = self._before(part)
                if before is not None:
                    found.append(before)
        return found

    def _refusal(self, part: Routed) -> Refusal | None:
        """Why it is not to be told as it is."""
        refusal = self.refused.get(part.deployment.key)
        return refusal if refusal is not None and refusal.deployment == part.deployment else None

    def note_taken(self, parts: Sequence[Routed], told: Sequence[Routed]) -> None:
        """The gateway has taken ``told``, of all there are."""
        self._taken = {part.deployment.key: part for part in told}
        now = {part.deployment.key: part.deployment for part in parts}
        self.refused = {
            key: refusal for key, refusal in self.refused.items() if now.get(key) == refusal.deployment
        }

    def changed(self, parts: Sequence[Routed]) -> list[Routed]:
        """Those that are not as they were taken, or never were."""
        return [
            part
            for part in parts
            if (before := self._taken.get(part.deployment.key)) is None or before.deployment != part.deployment
        ]

    async def find(self, parts: Sequence[Routed], check: Check, activator: str) -> list[str]:
        """Ask about the parts until those that are refused by themselves are known; their keys."""
        told = [part for part in parts if self._refusal(part) is None]
        found = await self._culprits(self.changed(told), check, activator)
        if found:
            return found
        # A file of keys may have changed beneath one that was taken.
        found = await self._culprits(told, check, activator)
        for part in parts:
            refusal = self._refusal(part)
            if refusal is None or not refusal.goes_on:
                continue
            if not await self._is_taken_as_before(part, check, activator):
                self.refused[part.deployment.key] = dataclasses.replace(refusal, goes_on=False)
                found.append(part.deployment.key)
        return found

    async def _culprits(self, parts: Sequence[Routed], check: Check, activator: str) -> list[str]:
        error = await asked(parts, check, activator)
        if error is None:
            return []
        if len(parts) == 1:
            goes_on = await self._is_taken_as_before(parts[0], check, activator)
            self.refuse(parts[0], error, goes_on=goes_on)
            return [parts[0].deployment.key]
        middle = len(parts) // 2
        halves = (parts[:middle], parts[middle:])
        return [key for half in halves for key in await self._culprits(half, check, activator)]

    async def _is_taken_as_before(self, part: Routed, check: Check, activator: str) -> bool:
        before = self._before(part)
        return before is not None and await asked([before], check, activator) is None

    def refuse(self, part: Routed, error: Exception, *, goes_on: bool = True) -> None:
        """It was not taken; it goes on as it was, if it was, unless that is refused as well."""
        key = part.deployment.key
        self.refused[key] = Refusal(part.deployment, _problem(error, key), goes_on and key in self._taken)

    def _before(self, part: Routed) -> Routed | None:
        before = self._taken.get(part.deployment.key)
        if before is None:
            return None
        ready = self._ready()
        held = {pool.name: pool.held for pool in part.pools}
        pools = [
            Pool(pool.name, pool.component, tuple(ready.get(pool.name, ())), held.get(pool.name, pool.held))
            for pool in before.pools
        ]
        return dataclasses.replace(before, pools=pools)


def snapshot(parts: Sequence[Routed], activator: str) -> Snapshot:
    """Parts as a whole; addresses that several deployments want go to the first."""
    settled = together([part.deployment for part in parts])
    return Snapshot(
        tuple(dataclasses.replace(p, deployment=one) for one, p in zip(settled, parts, strict=True)),
        activator=activator,
    )


async def asked(parts: Sequence[Routed], check: Check, activator: str) -> Exception | None:
    """Why these are not taken; raises what has other causes."""
    if not parts:
        return None
    try:
        await check(snapshot(parts, activator))
    except OF_THE_MACHINE:
        raise
    except Exception as error:
        return error
    return None


def _problem(error: Exception, key: str) -> Problem:
    if is_unexpected(error):
        told = fault(error, f"routing {key}")
        return Problem(reason=REASON, message=told.message, hint=told.hint)
    message = str(error).splitlines()[0]
    if len(message) > LONGEST_MESSAGE:
        message = f"{message[: LONGEST_MESSAGE - 3]}..."
    hint = getattr(error, "hint", None) or "apply the deployment with this put right"
    return Problem(reason=REASON, message=message, hint=hint)

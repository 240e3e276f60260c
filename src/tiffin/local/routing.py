"""From revisions and their replicas to what the gateway is told, and the telling.

``routed`` is pure. ``Routing`` gathers every deployment's part into one snapshot and publishes it, one at a time;
whoever waits for a change to be known waits for a snapshot that was taken after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from tiffin.dialects import routes
from tiffin.errors import ProcessError, SpecError
from tiffin.gateway.router import Choice, Pool, Routed, Router, Share, Snapshot
from tiffin.local.defects import fault
from tiffin.local.grpc_sockets import grpc_sockets
from tiffin.local.refusals import OF_THE_MACHINE, Refusal, Refusals, asked, snapshot
from tiffin.local.settling import together
from tiffin.plan.revision import Revision
from tiffin.plan.share import Aim, Spread, normal
from tiffin.plan.state import Problem
from tiffin.spec import Component, Deployment, Route

LONGEST_PAUSE_SECONDS = 30.0

Told = TypeVar("Told")

Endpoints = Mapping[tuple[int, str], Sequence[str]]
"""By a revision's number and a component's name: where its ready replicas listen."""


def routed(
    deployment: Deployment,
    revisions: Mapping[int, Revision],
    aims: Mapping[str, Aim],
    spread: Spread,
    endpoints: Endpoints,
    held: frozenset[tuple[int, str]] = frozenset(),
    starting: Iterable[int] = (),
    key: bytes = b"",
) -> Routed | None:
    """A deployment's part of a snapshot; ``None`` while nothing of it ever could serve.

    Services of revisions that are ``starting`` reach those they depend on before any caller reaches them: they
    may be called while they are made. ``key`` makes the addresses for that.
    """
    weights = spread.weights or _remembered(aims)
    apart = {n for n in starting if n in revisions and any(p.is_dependency for p in revisions[n].components)}
    if not any(number in revisions for number in weights):
        return _inside(deployment, revisions, apart, endpoints, held, key)
    tagged = {number for aim in aims.values() for number in aim.tags.values()}
    shown = {number for aim in aims.values() for number in aim.shares}
    names = [number for number in {*weights, *spread.mirrors, *tagged, *shown, *apart} if number in revisions]
    components = _components(deployment)
    current = {part.name: part for variant in deployment.all_variants for part in variant.components}
    pools = [
        _pool(revisions[number], _timed(part, current.get(part.name)), endpoints, held)
        for number in sorted(names)
        for part in revisions[number].components
    ]
    choices = {name: _choices(deployment, revisions, aims, weights, name) for name in components}
    inner, behind = _inner(deployment, revisions, weights, frozenset(names), key)
    return Routed(
        deployment=msgspec.structs.replace(deployment, routes=(*deployment.routes, *inner)),
        pools=pools,
        choices={name: found for name, found in choices.items() if found},
        variants=_variants(deployment, revisions, aims, components) | behind,
        mirrors=_mirrors(deployment, revisions, spread),
        tags=_tags(deployment, aims),
        correlate=deployment.recording is not None or deployment.rollout is not None or bool(spread.mirrors),
    )


def _pool(revision: Revision, part: Component, endpoints: Endpoints, held: frozenset[tuple[int, str]]) -> Pool:
    place = (revision.number, part.name)
    ready = tuple(endpoints.get(place, ()))
    grpc = tuple(socket for endpoint in ready for socket in grpc_sockets(part, endpoint))
    return Pool(revision.pool(part.name), part, ready, held=place in held, grpc=grpc)


def _inside(
    deployment: Deployment,
    revisions: Mapping[int, Revision],
    numbers: Collection[int],
    endpoints: Endpoints,
    held: frozenset[tuple[int, str]],
    key: bytes,
) -> Routed | None:
    """Only what services call by themselves, while nobody else may call anything."""
    if not numbers:
        return None
    own = {number: revisions[number] for number in numbers}
    inner, behind = _inner(deployment, own, {}, frozenset(numbers), key)
    pools = [
        _pool(revision, part, endpoints, held)
        for _, revision in sorted(own.items())
        for part in revision.components
    ]
    return Routed(
        deployment=msgspec.structs.replace(deployment, routes=tuple(inner)), pools=pools, variants=behind
    )


def dependency_at(revision: Revision, component: str, key: bytes) -> str:
    """The path at which services of a revision call one that runs apart."""
    return routes.of_dependency(revision.namespace, revision.deployment, revision.name, component, key)


def called_at(deployment: Deployment | None, revision: Revision, component: str) -> str:
    """The path at which a revision's transformer or explainer finds the component it calls.

    In a cluster of KServe's the predictor is a service of its own, which splits the calls that come to it whoever
    sends them. Elsewhere what calls a predictor belongs to it, and reaches that of its own revision.
    """
    if deployment is not None and deployment.dialect == "kserve":
        return f"/{revision.namespace}/{revision.deployment}/-/{component}"
    return routes.of_revision(revision.namespace, revision.deployment, revision.name, component)


def _inner(
    deployment: Deployment,
    revisions: Mapping[int, Revision],
    weights: Mapping[int, float],
    names: frozenset[int],
    key: bytes,
) -> tuple[list[Route], dict[tuple[str, str], Sequence[Share]]]:
    """The addresses of what components call by themselves, for each revision, and what is behind them.

    Those of a revision that gets no calls any more still finish what they have: with the predictor there is now.
    """
    found: list[Route] = []
    behind: dict[tuple[str, str], Sequence[Share]] = {}
    for number, revision in sorted(revisions.items()):
        called = {part.calls for part in revision.components if part.calls}
        apart = {part.name for part in revision.components if part.is_dependency}
        for component in sorted(called | apart):
            shares = _shares(revisions, {number: 100.0} if number in names else weights, component)
            path = routes.of_revision(deployment.namespace, deployment.name, revision.name, component)
            if component in apart:
                path = dependency_at(revision, component, key)
            found.append(Route(path=path, rewrite="/", component=component, variant=revision.name))
            behind[revision.name, component] = shares
    return found, behind


def _timed(part: Component, now: Component | None) -> Component:
    """A component of a revision, with the scaling its deployment has now."""
    return part if now is None else msgspec.structs.replace(part, scaling=now.scaling)


def _remembered(aims: Mapping[str, Aim]) -> dict[int, float]:
    """Whoever served last: its callers get 503 until it is back, not 404."""
    found = {number: part for aim in aims.values() for number, part in aim.standing.serving.items()}
    return normal(found) if found else {}


def _components(deployment: Deployment) -> list[str]:
    names = [part.name for variant in deployment.all_variants for part in variant.components]
    return list(dict.fromkeys(names))


def _shares(revisions: Mapping[int, Revision], weights: Mapping[int, float], component: str) -> tuple[Share, ...]:
    """A revision without the component (a plain predictor, say) is reached at its entry."""
    found = []
    for number, weight in weights.items():
        revision = revisions.get(number)
        if revision is None or weight <= 0:
            continue
        names = [part.name for part in revision.components]
        entry = "transformer" if "transformer" in names else names[0]
        found.append(Share(revision.pool(component if component in names else entry), weight))
    return tuple(found)


def _choices(
    deployment: Deployment,
    revisions: Mapping[int, Revision],
    aims: Mapping[str, Aim],
    weights: Mapping[int, float],
    component: str,
) -> tuple[Choice, ...]:
    rest = _shares(revisions, weights, component)
    if not rest:
        return ()
    found = []
    for rule in deployment.traffic.rules:
        shares = _shares(revisions, _named(deployment, aims, rule.variant), component)
        if shares:
            found.append(Choice(shares, rule.matches))
    return (*found, Choice(rest))


def _named(deployment: Deployment, aims: Mapping[str, Aim], name: str) -> dict[int, float]:
    """Who is meant by the name of a variant, or by ``stable`` and ``canary``."""
    if name in aims:
        return aims[name].shares
    main = aims.get(deployment.variant)
    if main is None or name not in ("stable", "canary"):
        return {}
    tag = "prev" if name == "stable" else "canary"
    return {main.tags[tag]: 100.0} if tag in main.tags else main.shares


def _variants(
    deployment: Deployment, revisions: Mapping[int, Revision], aims: Mapping[str, Aim], components: Sequence[str]
) -> dict[tuple[str, str], Sequence[Share]]:
    named = {name: aim.shares for name, aim in aims.items()}
    main = aims.get(deployment.variant)
    if main is not None:
        named = {**{tag: {number: 100.0} for tag, number in main.tags.items()}, **named}
    found: dict[tuple[str, str], Sequence[Share]] = {}
    for name, weights in named.items():
        for component in components:
            shares = _shares(revisions, weights, component)
            if shares:
                found[name, component] = shares
    return found


def _mirrors(
    deployment: Deployment, revisions: Mapping[int, Revision], spread: Spread
) -> dict[str, Sequence[Share]]:
    shares = _shares(revisions, spread.mirrors, deployment.entry)
    return {deployment.entry: shares} if shares else {}


def _tags(deployment: Deployment, aims: Mapping[str, Aim]) -> dict[str, Sequence[str]]:
    main = aims.get(deployment.variant)
    if not deployment.traffic.tags or main is None:
        return {}
    found = {tag: routes.tag_hosts(deployment, tag) for tag in main.tags}
    return {tag: hosts for tag, hosts in found.items() if hosts}


class Routing:
    """What the gateway is told.

    Args:
        gateway: What is told.
        parts: Every deployment's part, in the order the deployments were made.
        activator: The socket of what holds calls; empty where nothing does.
        say: Told when the gateway cannot be told, and when it could again.
        told: Called when the gateway was told at last of what it could not be told at once.
        ready: By pool, where its ready replicas listen now.
    """

    def __init__(
        self,
        gateway: Router,
        parts: Callable[[], Sequence[Routed]],
        *,
        activator: str = "",
        say: Callable[[str], None],
        told: Callable[[], None] = lambda: None,
        ready: Callable[[], Mapping[str, Sequence[str]]] = dict,
    ) -> None:
        self.gateway = gateway
        self.problem: Problem | None = None
        self._parts = parts
        self._activator = activator
        self._say = say
        self._was_told = told
        self._refusals = Refusals(ready)
        self._lock = asyncio.Lock()
        self._wanted = 0
        self._told = 0
        self._retrying: asyncio.Task[None] | None = None
        self._asking: asyncio.Task[None] | None = None

    def refusal(self, key: str) -> Refusal | None:
        """Why the gateway does not take a deployment as it is; ``None`` when it does."""
        return self._refusals.refused.get(key)

    async def tell(self, act: Callable[[Snapshot], Awaitable[Told]]) -> Told:
        """Do it with what is to be routed now: with all that the gateway takes, when it does not take all.

        Raises whatever ``act`` raises for reasons that no deployment is.
        """
        parts = list(self._parts())
        try:
            return await self._act(act, parts, self._refusals.chosen(parts))
        except OF_THE_MACHINE as error:
            # It may have read what it was told, and not have taken it.
            suspects = self._refusals.changed(parts)
            if type(error) is not ProcessError or act != self.gateway.publish or not suspects:
                raise
        except Exception:
            suspects = self._refusals.changed(parts)
        found = await self._refusals.find(parts, self.gateway.check, self._activator)
        if not found:
            await self._one_by_one(act, parts, suspects)
        return await self._act(act, parts, self._refusals.chosen(parts))

    async def _one_by_one(
        self, act: Callable[[Snapshot], Awaitable[Told]], parts: Sequence[Routed], suspects: Sequence[Routed]
    ) -> None:
        """Each is good by itself: go on without those that changed, then with one after the other."""
        waiting = {part.deployment.key for part in suspects}
        await self._act(act, parts, self._refusals.chosen(parts, without=frozenset(waiting)))
        for part in suspects:
            waiting.discard(part.deployment.key)
            try:
                await self._act(act, parts, self._refusals.chosen(parts, without=frozenset(waiting)))
            except OSError:
                raise
            except Exception as error:
                self._refusals.refuse(part, error)

    async def _act(
        self, act: Callable[[Snapshot], Awaitable[Told]], parts: Sequence[Routed], told: Sequence[Routed]
    ) -> Told:
        done = await act(snapshot(told, self._activator))
        self._refusals.note_taken(parts, told)
        if self._refusals.refused and (self._asking is None or self._asking.done()):
            self._asking = asyncio.create_task(self._ask_again())
        return done

    async def _ask_again(self) -> None:
        """A file of keys, say, may be put right without anybody's applying anything."""
        while self._refusals.refused:
            await asyncio.sleep(LONGEST_PAUSE_SECONDS)
            try:
                for part in self._parts():
                    refusal = self.refusal(part.deployment.key)
                    if refusal and await asked([part], self.gateway.check, self._activator) is None:
                        self._refusals.refused.pop(part.deployment.key, None)
                        self._was_told()
            except Exception as error:
                self._say(fault(error, "asking the gateway again").message)

    async def publish(self) -> None:
        """Return when the gateway knows what is true now; raises TiffinError or OSError when it cannot be told."""
        self._wanted += 1
        mine = self._wanted
        async with self._lock:
            if self._told >= mine:
                return
            including = self._wanted
            await self.tell(self.gateway.publish)
            self._told = including
            self.problem = None

    async def publish_or_retry(self) -> bool:
        """As ``publish``; when it cannot be told now it is told later. Whether it was told now."""
        try:
            await self.publish()
        except Exception as error:
            self.problem = fault(error, "telling the gateway")
            self._say(f"the gateway was not told of the change: {self.problem.message}; trying again")
            if self._retrying is None or self._retrying.done():
                self._retrying = asyncio.create_task(self._retry())
            return False
        return True

    async def publish_at_last(self) -> None:
        """Return when the gateway knows what is true now, however long that takes; or when all is stopped."""
        if not await self.publish_or_retry() and self._retrying is not None:
            await asyncio.wait({self._retrying})

    async def stop(self) -> None:
        """Try no more."""
        tasks = [task for task in (self._retrying, self._asking) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _retry(self) -> None:
        """A change the gateway was not told of (a full disk, say) must not wait for the next one."""
        pause = 1.0
        while True:
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            try:
                await self.publish()
            except Exception as error:
                self.problem = fault(error, "telling the gateway")
                continue
            self._say("the gateway has been told")
            self._was_told()
            return


def conflicts(deployments: Sequence[Deployment]) -> SpecError | None:
    """Why these cannot be routed together."""
    try:
        together(deployments)
    except SpecError as error:
        return error
    return None

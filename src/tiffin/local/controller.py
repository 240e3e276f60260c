"""The controller: what is desired made true on this machine, and told to whoever asks. Implements ``Platform``.

    API, CLI ──apply, delete, scale──> store (written first) ──wake──> Deploying, one task each
                                                                          │ publish      │ start, drain
                                                                       Routing        Replica, one task each
    once a second: measure ──> decider (numbers), judge (weights) ──wake──^

It owns the gateway and starts it again when it dies. What an earlier controller left running is adopted, by the
records in the store and the identity of each process.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec

from tiffin.dialects import routes, runtimes
from tiffin.errors import CallError, ProcessError
from tiffin.gateway.router import Router
from tiffin.local import addresses, adoption, answers, applying, following, machine, preparing
from tiffin.local.defects import NAME, Errors
from tiffin.local.deploying import Deploying
from tiffin.local.history import History
from tiffin.local.home import Home
from tiffin.local.keeping import GatewayKeeper
from tiffin.local.launching import Processes
from tiffin.local.replica import Setting
from tiffin.local.routing import Routing, called_at, dependency_at
from tiffin.local.seams import Activator, Decider, Judge, Launcher
from tiffin.local.settling import Settling
from tiffin.local.store import Store, Stored, no_such
from tiffin.local.ticking import Fixed, Ticking
from tiffin.plan.difference import diff
from tiffin.plan.objects import Applied, Object, ReplicaUse, ResourceListing, Source, Watched
from tiffin.plan.revision import Revision
from tiffin.plan.state import DeploymentStatus, Event, Problem
from tiffin.spec import Component, ContainerSource, Deployment, ServiceSource, SpecWarning

TELL_SECONDS = 0.03
"""Changes that come together are told together."""


class Controller:
    """One for each data directory.

    Args:
        home: Claimed by this process.
        gateway: Not started yet.
        say: Told of everything that happens, a line at a time.
        progress: How far downloads are; called from threads.
        launchers: Ways to run replicas beside processes, asked first.
        activator: What holds calls to deployments without replicas; without one none is scaled to zero.
        decider: Decides numbers of replicas; without one they stay at their minimum.
        judge: Decides about rollouts; without one a new revision takes over at once.
    """

    def __init__(
        self,
        home: Home,
        gateway: Router,
        *,
        say: Callable[[str], None],
        progress: preparing.Progress = lambda uri, done, total: None,
        launchers: Sequence[Launcher] = (),
        activator: Activator | None = None,
        decider: Decider | None = None,
        judge: Judge | None = None,
    ) -> None:
        self.home = home
        self.store = Store(home.data.root / "controller.db")
        self.gateway = gateway
        self.activator = activator
        self.decider: Decider = decider or Fixed()
        self.judge = judge
        self.deployings: dict[str, Deploying] = {}
        self.machine = machine.here()
        self.dependency_key = home.key()
        self.slots = asyncio.Semaphore(max(2, int(self.machine.cpu)))
        self.stopping = asyncio.Event()
        self.routing = Routing(
            gateway,
            lambda: [one.part for one in self._in_order() if one.part is not None],
            activator=str(home.sockets / "activator.sock") if activator is not None else "",
            say=say,
            told=self._wake_all,
            ready=self._ready,
        )
        self._keeper = GatewayKeeper(home, gateway, self.routing, say)
        self._settling = Settling()
        self._say = say
        self._progress = progress
        self._launchers = [*launchers, Processes()]
        self._history = History(self.store, self._object)
        self._ticking = Ticking(self)
        self._tasks: set[asyncio.Task[None]] = set()
        self._writing = asyncio.Lock()
        self._errors = Errors(home.logs / NAME)
        self._errors.open()
        self._telling: dict[str, asyncio.TimerHandle] = {}

    # -- its life ------------------------------------------------------------------------------------------

    async def start(self, *, is_detached: bool = False) -> int:
        """Adopt what runs, start the gateway, and make true what is desired; the number of adopted processes.

        Raises:
            PortInUse: the gateway cannot listen. ProcessError, MissingExtra: it cannot run. PlatformError: the
                store cannot be used.
        """
        if self.activator is not None:
            await self.activator.start(self.home.sockets / "activator.sock", self._call_waits)
        for stored in self.store.deployments():
            self._deploying(stored.key).stored = stored
        for key in self.store.keys_with_revisions():
            self._deploying(key)
        adopted = await adoption.adopt(self.home, self.store, self.deployings)
        for one in self.deployings.values():
            try:
                one.settle()
            except Exception as error:
                one.fault(error, f"settling {one.key}")
        await self._keeper.start(is_detached)
        for one in list(self.deployings.values()):
            one.begin()
        self._spawn(self._keeper.run())
        self._spawn(self._ticking.run())
        return adopted

    async def stop(self) -> None:
        """Drain, end, and remove everything but what is desired."""
        await self._quiet()
        await asyncio.gather(*(one.stop() for one in list(self.deployings.values())))
        await self._close()
        await self.gateway.stop()
        self.store.close()
        self.home.remove()
        self._errors.close()

    async def let_go(self) -> None:
        """Stop to look after everything, and leave it running for the next controller."""
        await self._quiet()
        await asyncio.gather(*(one.let_go() for one in self.deployings.values()))
        self.store.close()
        self._errors.close()

    def kill(self) -> None:
        """End all processes at once; ``stop`` still has to tidy up."""
        for one in self.deployings.values():
            one.kill()

    async def _quiet(self) -> None:
        self.stopping.set()
        self._history.close()
        for handle in self._telling.values():
            handle.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.routing.stop()

    async def _close(self) -> None:
        if self.activator is not None:
            await self.activator.stop()
        if self.judge is not None:
            await self.judge.close()
        for launcher in self._launchers:
            await launcher.close()

    # -- Platform: changes ---------------------------------------------------------------------------------

    async def apply(
        self,
        sources: Sequence[Source],
        *,
        dry_run: bool = False,
        managed_by: str = "",
        trust: bool = False,
        domain: str = "",
        resource_version: int | None = None,
    ) -> list[Applied]:
        read = await self.read(sources, trust=trust, domain=domain)
        if dry_run:
            return self.plan(read)
        return await self.commit(read, managed_by=managed_by, resource_version=resource_version)

    async def read(
        self, sources: Sequence[Source], *, trust: bool = False, domain: str = "", separate: bool = False
    ) -> applying.Read:
        """What sources hold, with services described; raises SpecError.

        ``separate``: services run apart from those they depend on, where a file says nothing of that.
        """
        known = applying.resources_of(self.store)
        domain = domain or routes.DOMAIN
        return await applying.read(sources, known, self.home.data, domain=domain, trust=trust, separate=separate)

    def fit(self, read: applying.Read) -> applying.Read:
        """Names that fit with what is desired; raises SpecError."""
        return applying.fit(read, self.store.deployments())

    def plan(self, read: applying.Read) -> list[Applied]:
        """What ``commit`` would do."""
        before = {one.key: one for one in self.store.deployments()}
        fitted = self.fit(read)
        return [
            answers.applied(candidate.deployment, before.get(candidate.deployment.key), shared)
            for candidate, shared in zip(fitted.candidates, answers.to_first(fitted), strict=True)
        ]

    async def commit(
        self, read: applying.Read, *, managed_by: str = "", resource_version: int | None = None
    ) -> list[Applied]:
        """Make it desired, all or nothing."""
        async with self._writing:
            before = {one.key: one for one in self.store.deployments()}
            fitted = self.fit(read)
            with self.store.together():
                applying.keep_resources(self.store, fitted.resources, managed_by)
                written = [
                    self._write(candidate, before.get(candidate.deployment.key), managed_by, resource_version)
                    for candidate in fitted.candidates
                ]
            return [
                self._begin(candidate, stored, before.get(stored.key), shared)
                for candidate, stored, shared in zip(
                    fitted.candidates, written, answers.to_first(fitted), strict=True
                )
            ]

    def _begin(
        self,
        candidate: applying.Candidate,
        stored: Stored,
        before: Stored | None,
        shared: Sequence[SpecWarning],
    ) -> Applied:
        deploying = self._deploying(stored.key)
        deploying.stored = stored
        deploying.warnings = tuple(str(warning) for warning in stored.deployment.warnings)
        deploying.error = candidate.error
        done = answers.applied(stored.deployment, before, shared, version=stored.version)
        if done.action != "unchanged":
            deploying.tell(done.action.capitalize(), answers.written(done, stored.deployment))
        deploying.begin_or_wake()
        if before is None or before.version != stored.version:
            self._history.add("ADDED" if before is None else "MODIFIED", deploying)
        return done

    def _write(
        self, candidate: applying.Candidate, before: Stored | None, managed_by: str, expected: int | None
    ) -> Stored:
        # What was applied to stay does not become what ends with an `up`.
        owner = "" if before is not None and not before.managed_by else managed_by
        return self.store.put(
            candidate.deployment,
            candidate.document,
            managed_by=owner,
            problem=candidate.problem,
            expected=expected,
        )

    async def delete(self, key: str, *, resource_version: int | None = None) -> None:
        async with self._writing:
            self.store.delete(key, expected=resource_version)
            deploying = self._deploying(key)
            self._history.add("DELETED", deploying)
            deploying.stored = None
            deploying.tell("Deleted", "its replicas finish their calls and end")
            deploying.begin_or_wake()

    async def scale(self, key: str, component: str, minimum: int | None, maximum: int | None) -> None:
        async with self._writing:
            stored = self.store.get(key)
            after = answers.scaled(stored.deployment, component, minimum, maximum)
            written = self.store.put(after, stored.document, managed_by=stored.managed_by, problem=stored.problem)
            deploying = self._deploying(key)
            deploying.stored = written
            deploying.tell("Scaled", "; ".join(diff(stored.deployment, after)[1]) or f"{component}: as it was")
            deploying.wake()
            self._history.add("MODIFIED", deploying)

    async def rollout(
        self, key: str, action: Literal["promote", "undo", "pause", "resume"], to: int | None
    ) -> str:
        deploying = self._known(key)
        return await self._ticking.steer(deploying, action, to)

    async def set_canary(self, deploying: Deploying, percent: float | None) -> None:
        """Change the canary's percentage, as if the file said so."""
        async with self._writing:
            stored = self.store.get(deploying.key)
            after = msgspec.structs.replace(stored.deployment, canary_percent=percent)
            self._rewrite(deploying, stored, after)

    def restore(self, deploying: Deploying, revision: Revision) -> str:
        """Make an old revision the desired one again; what was done, as a sentence."""
        stored = self.store.get(deploying.key)
        bounds = {part.name: part.scaling for part in stored.deployment.components}
        components = tuple(
            msgspec.structs.replace(part, scaling=bounds.get(part.name, part.scaling))
            for part in revision.components
        )
        after = msgspec.structs.replace(
            stored.deployment, components=components, protocol=revision.protocol, canary_percent=None
        )
        self._rewrite(deploying, stored, after)
        sentence = f"{deploying.key} goes back to what {revision.name} was"
        deploying.tell("Undone", sentence)
        return sentence

    def _rewrite(self, deploying: Deploying, stored: Stored, after: Deployment) -> None:
        deploying.stored = self.store.put(after, stored.document, managed_by=stored.managed_by)
        self._history.add("MODIFIED", deploying)
        deploying.begin_or_wake()

    async def shutdown(self) -> None:
        self.stopping.set()

    # -- Platform: questions -------------------------------------------------------------------------------

    def objects(self, namespace: str | None = None) -> tuple[list[Object], int]:
        found = [self._object(one) for one in self._in_order() if one.stored is not None]
        return [one for one in found if namespace in (None, one.metadata.namespace)], self._history.version

    def get(self, key: str) -> Object:
        return self._object(self._known(key))

    async def watch(self, resource_version: int | None, namespace: str | None = None) -> AsyncIterator[Watched]:
        since = resource_version
        if since is None:
            found, since = self.objects(namespace)
            for one in found:
                yield Watched(type="ADDED", object=one)
        async for change in self._history.follow(since):
            if namespace in (None, change.object.metadata.namespace):
                yield change

    def events(self, key: str | None = None) -> list[Event]:
        return self.store.events(key)

    def revisions(self, key: str) -> list[Revision]:
        return sorted(self._known(key).revisions.values(), key=lambda revision: revision.number)

    async def logs(
        self, key: str, *, replica: str | None = None, follow: bool = False, lines: int = 100
    ) -> AsyncIterator[tuple[str, str]]:
        deploying = self._known(key)
        chosen = {one.name: one.log for one in deploying.replicas.values() if replica in (None, one.name, one.id)}
        if not chosen:
            chosen = self._old_logs(deploying, replica)
        if replica is not None and not chosen:
            names = ", ".join(one.name for one in deploying.replicas.values()) or "none"
            raise CallError(f"{key} has no replica {replica}", hint=f"there is {names}")

        def now() -> dict[str, Path]:
            current = {
                one.name: one.log for one in deploying.replicas.values() if replica in (None, one.name, one.id)
            }
            return {**chosen, **current}

        async for pair in following.follow(now, lines=lines, is_endless=follow, stopping=self.stopping):
            yield pair

    async def top(self) -> list[ReplicaUse]:
        return self._ticking.uses()

    def native(self, key: str) -> dict[str, Any]:
        return answers.native(self.get(key))

    def report(self, key: str) -> dict[str, Any]:
        self._known(key)
        if self.judge is None:
            raise CallError(f"{key} has no rollout and no shadow to report of")
        return dict(self.judge.report(key))

    async def replay(
        self, key: str, against: str, limit: int | None, *, recorded_speed: bool = False
    ) -> dict[str, Any]:
        deploying = self._known(key)
        deployment = deploying.deployment
        if self.judge is None or deployment is None:
            raise CallError(f"{key} has no recording")
        revision = self._revision(deploying, against)
        endpoints = [
            one.endpoint
            for one in deploying.replicas.values()
            if one.revision.number == revision.number and one.component.name == deployment.entry and one.is_ready
        ]
        if not endpoints:
            raise CallError(f"{revision.name} has no replica that is ready", hint="`tiffin describe` tells more")
        found = await self.judge.replay(deployment, revision, endpoints, limit, recorded_speed=recorded_speed)
        return dict(found)

    def resources(self) -> ResourceListing:
        found = applying.resources_of(self.store)
        return ResourceListing(
            runtimes=tuple(map(answers.shown_runtime, (*runtimes.RUNTIMES.values(), *found.runtimes))),
            secrets=tuple(f"{one.namespace}/{one.name}" for one in found.secrets),
            service_accounts=tuple(f"{one.namespace}/{one.name}" for one in found.service_accounts),
        )

    # -- what every deployment shares ----------------------------------------------------------------------

    def launcher_of(self, component: Component) -> Launcher:
        for launcher in self._launchers:
            if launcher.takes(component):
                return launcher
        what = component.source.image if isinstance(component.source, ContainerSource) else component.name
        raise ProcessError(f"nothing here can run {what}")

    def setting(self, revision: Revision, component: Component, artefact: Path, fetch_seconds: float) -> Setting:
        environment = {}
        deployment = self._deploying(revision.key).deployment
        base = addresses.base_url(*self.gateway.address)
        if component.calls:
            own = base.removeprefix("http://")
            environment["PREDICTOR_HOST"] = own + called_at(deployment, revision, component.calls)
        if isinstance(component.source, ServiceSource):
            environment["TIFFIN_GATEWAY"] = base
        spool = None
        if self.judge is not None and deployment is not None:
            spool = self.judge.spool(deployment, revision, component)
        return Setting(
            launcher=self.launcher_of(component),
            orders=self.home.orders,
            sockets=self.home.sockets,
            logs=self.home.logs,
            slots=self.slots,
            artefact=artefact,
            environment=environment,
            recording=spool,
            dependencies={
                service: base + dependency_at(revision, name, self.dependency_key)
                for service, name in component.dependencies.items()
            },
            fetch_seconds=fetch_seconds,
        )

    async def prepare(self, revision: Revision) -> preparing.Prepared:
        return await preparing.prepare(revision.components, self.home.data, progress=self._progress)

    def room_for(self, revision: Revision, component: Component) -> Problem | None:
        running = [
            replica.component
            for one in self.deployings.values()
            for replica in one.replicas.values()
            # The revision it takes over from will go.
            if replica.phase != "Draining" and (one.key != revision.key or replica.revision == revision)
        ]
        return machine.room_for(self.machine, component, running)

    def changed(self, deploying: Deploying) -> None:
        """Tell whoever watches, once, of changes that come together."""
        if deploying.key not in self._telling and not self.stopping.is_set():
            loop = asyncio.get_running_loop()
            self._telling[deploying.key] = loop.call_later(TELL_SECONDS, partial(self._tell, deploying))

    def forget(self, deploying: Deploying) -> None:
        if self.deployings.get(deploying.key) is deploying and deploying.stored is None:
            del self.deployings[deploying.key]
            if self.judge is not None:
                self.judge.forget(deploying.key)
            self._spawn(deploying.let_go())

    def say(self, text: str) -> None:
        self._say(text)

    # -- inside --------------------------------------------------------------------------------------------

    def _tell(self, deploying: Deploying) -> None:
        self._telling.pop(deploying.key, None)
        if deploying.stored is not None:
            self._history.tell(deploying)

    def _deploying(self, key: str) -> Deploying:
        found = self.deployings.get(key)
        if found is None:
            found = self.deployings[key] = Deploying(key, self)
            found.load()
        return found

    def _known(self, key: str) -> Deploying:
        found = self.deployings.get(key)
        if found is None or found.stored is None:
            raise no_such(key)
        return found

    def _in_order(self) -> list[Deploying]:
        return sorted(
            self.deployings.values(), key=lambda one: one.stored.created if one.stored is not None else 0.0
        )

    def _revision(self, deploying: Deploying, name: str) -> Revision:
        """A revision by its name, its number, or a tag."""
        tags = {tag: number for found in deploying.aims.values() for tag, number in found.tags.items()}
        for revision in deploying.revisions.values():
            if name in (revision.name, str(revision.number)) or tags.get(name) == revision.number:
                return revision
        names = ", ".join(revision.name for revision in deploying.revisions.values())
        raise CallError(f"{deploying.key} has no revision {name}", hint=f"there is {names}")

    def _object(self, deploying: Deploying) -> Object:
        assert deploying.stored is not None
        return answers.shown(deploying.stored, self.status(deploying), deploying.version)

    def status(self, deploying: Deploying) -> DeploymentStatus:
        """What a deployment is like now, with its addresses."""
        deployment = deploying.deployment
        if deployment is None:
            return deploying.status()
        base = addresses.base_url(*self.gateway.address)
        settled = self.settled(deployment)
        urls = addresses.urls(settled, base)
        main = addresses.main_urls(settled, base)
        ready = [one for one in deploying.replicas.values() if one.is_ready]
        # What callers reach is the transformer, where there is one.
        examples = (one.example for one in ready if one.component.name == settled.entry)
        example = next((one for one in examples if one is not None), None)
        return deploying.status(urls, main[0] if main else "", addresses.curl(settled, base, example) or "")

    def settled(self, deployment: Deployment) -> Deployment:
        """The deployment with the addresses it has, beside the others."""
        every = [one.deployment for one in self._in_order() if one.deployment is not None]
        return self._settling.of(deployment, every)

    def _old_logs(self, deploying: Deploying, replica: str | None) -> dict[str, Path]:
        """Logs of replicas that run no more, of the newest revision that has any."""
        for revision in sorted(deploying.revisions.values(), key=lambda one: -one.number):
            found = {path.stem: path for path in self.home.logs.glob(f"{revision.name}-*.log")}
            chosen = {name: path for name, path in found.items() if replica in (None, name)}
            if chosen:
                return chosen
        return {}

    def _ready(self) -> dict[str, list[str]]:
        """By pool, where its ready replicas listen."""
        found: dict[str, list[str]] = {}
        for one in self.deployings.values():
            for replica in one.replicas.values():
                if replica.is_ready:
                    pool = replica.revision.pool(replica.component.name)
                    found.setdefault(pool, []).append(replica.endpoint)
        return found

    def _wake_all(self) -> None:
        for one in self.deployings.values():
            one.wake()

    def _call_waits(self, pool: str) -> None:
        for one in self.deployings.values():
            try:
                one.call_waits(pool)
            except Exception as error:
                one.note_fault(one.fault(error, f"starting a replica for a call of {one.key}"))
                # The next look goes on from what is there.
                one.wake()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

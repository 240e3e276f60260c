"""A method for each operation of the API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from threading import Event as Waiting
from typing import Any, Literal, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from tiffin.client import sse, transport
from tiffin.client.places import Place, place
from tiffin.client.transport import NoController
from tiffin.errors import DecodeError, Expired, NoSuchDeployment, PlatformError
from tiffin.plan import objects
from tiffin.plan.objects import (
    Applied,
    Compared,
    LogLine,
    Object,
    ReplicaUse,
    ResourceListing,
    RevisionSummary,
    Source,
    Watched,
)
from tiffin.plan.state import Event

LONG_SECONDS = 900.0
"""Applying a service imports it, which may take minutes; so may a replay."""
RECORDED_SPEED_SECONDS = 86_400.0
"""Calls of a day, sent again as far apart as they came."""
SILENCE_SECONDS = 45.0
"""A controller sends a sign of life every 15 seconds."""
RECONNECTS = 10
RECONNECT_SECONDS = 0.3

Kind = TypeVar("Kind")


def connect(environment: Mapping[str, str] | None = None) -> Client:
    """The client of the controller that ``TIFFIN_API`` names, else of this machine's; connects when it is used."""
    return Client(place(environment))


class Client:
    """Calls of one controller. Every method raises NoController, or what the controller raised."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.namespace = "default"
        """Where what names no namespace belongs."""

    def is_running(self) -> bool:
        """Whether a controller answers."""
        try:
            transport.ask(self.place, "GET", "/healthz", seconds=5)
        except NoController:
            return False
        return True

    def list(self, namespace: str | None = None) -> objects.Listing:
        """All deployments, of one namespace or of all."""
        return self._get("/v1/deployments", objects.Listing, namespace=namespace)

    def get(self, key: str) -> Object:
        """One deployment; raises NoSuchDeployment."""
        return self._get(_path(key), Object)

    def native(self, key: str) -> dict[str, Any]:
        """The object and its status in the words of the system its file was written for."""
        return self._get(_path(key, "native"), dict[str, Any])

    def keys(self, sources: Sequence[Source]) -> tuple[str, ...]:
        """``namespace/name`` of the deployments in some files, as ``apply`` places them; raises SpecError."""
        from tiffin import dialects

        written, _ = dialects.read_all(sources)
        return tuple(deployment.key for deployment, _ in written)

    def compare(self, sources: Sequence[Source], *, domain: str = "") -> tuple[Compared, ...]:
        """The deployments of some files as they are and as they would be; raises SpecError, PlatformError."""
        from tiffin import dialects
        from tiffin.client import comparing
        from tiffin.dialects import routes

        known = self.apply(sources, dry_run=True, domain=domain)
        written, _ = dialects.read_all(sources, domain=domain or routes.DOMAIN)
        found = []
        for (spec, _), one in zip(written, known, strict=False):
            try:
                live = self.get(one.key)
            except NoSuchDeployment:
                live = None
            found.append(comparing.compared(one.key, spec, live))
        return tuple(found)

    def apply(
        self,
        sources: Sequence[Source],
        *,
        dry_run: bool = False,
        force: bool = False,
        managed_by: str = "",
        trust: bool = False,
        domain: str = "",
        resource_version: int | None = None,
    ) -> tuple[Applied, ...]:
        """Make these desired, all or none; raises SpecError, Conflict."""
        wanted = objects.ApplyRequest(
            sources=tuple(sources),
            dry_run=dry_run,
            force=force,
            managed_by=managed_by,
            trust=trust,
            domain=domain,
            resource_version=resource_version,
        )
        return self._post("/v1/apply", wanted, objects.AppliedListing, seconds=LONG_SECONDS).items

    def delete(self, key: str, *, resource_version: int | None = None) -> None:
        """Desire it no longer; raises NoSuchDeployment, Conflict."""
        transport.ask(self.place, "DELETE", _path(key) + _query(resourceVersion=resource_version))

    def events(self, key: str | None = None, *, namespace: str | None = None) -> tuple[Event, ...]:
        """What happened, the newest last."""
        if key is None:
            return self._get("/v1/events", objects.EventListing, namespace=namespace).items
        return self._get(_path(key, "events"), objects.EventListing).items

    def watch_events(self, key: str | None = None, *, namespace: str | None = None) -> Iterator[Event]:
        """What happened, then what happens, until the controller stops."""
        path = "/v1/events" if key is None else _path(key, "events")
        for message in self._messages(path + _query(watch="true", namespace=namespace)):
            yield _decode(message.data.encode(), Event)

    def watch(self, resource_version: int | None = None, *, namespace: str | None = None) -> Iterator[Watched]:
        """Changes since a version (``None``: all objects first), each once, without an end.

        A connection that breaks is made again. Where the controller no longer knows the changes since then, they
        are found by comparing with what was told before. Raises NoController when it is gone for good.
        """
        seen: dict[str, Object] = {}
        failures = 0
        while True:
            try:
                path = "/v1/deployments" + _query(
                    watch="true", resourceVersion=resource_version, namespace=namespace
                )
                for message in self._messages(path):
                    failures = 0
                    change = _decode(message.data.encode(), Watched)
                    resource_version = max(resource_version or 0, change.object.metadata.resource_version)
                    if _note(seen, change):
                        yield change
            except Expired:
                listing = self.list(namespace)
                resource_version = listing.resource_version
                for change in _missed(seen, listing.items):
                    _note(seen, change)
                    yield change
                continue
            except NoController:
                if failures >= RECONNECTS:
                    raise
            failures += 1
            if failures > RECONNECTS:
                raise NoController(f"the controller at {self.place} has stopped", hint="start one: tiffin up -d")
            Waiting().wait(RECONNECT_SECONDS)

    def revisions(self, key: str) -> tuple[RevisionSummary, ...]:
        """Those that are still known, the oldest first."""
        return self._get(_path(key, "revisions"), objects.RevisionListing).items

    def logs(
        self, key: str, *, replica: str = "", follow: bool = False, tail: int | None = None
    ) -> Iterator[LogLine]:
        """What its replicas wrote, and with ``follow`` what they write."""
        path = _path(key, "logs") + _query(follow="true" if follow else None, replica=replica or None, tail=tail)
        silence = SILENCE_SECONDS
        with transport.stream(self.place, path, accept="application/x-ndjson", seconds=silence) as lines:
            for line in lines:
                if not line.strip():
                    continue
                if b'"code"' in line and b'"replica"' not in line:
                    raise transport.failure(500, line)
                yield _decode(line, LogLine)

    def rollout(
        self, key: str, action: Literal["promote", "undo", "pause", "resume"], *, to: int | None = None
    ) -> str:
        """Steer its rollout; what was done, as a sentence."""
        wanted = objects.RolloutRequest(action=action, to=to)
        return self._post(_path(key, "rollout"), wanted, objects.Done).message

    def scale(
        self,
        key: str,
        *,
        component: str = "",
        replicas: int | None = None,
        minimum: int | None = None,
        maximum: int | None = None,
    ) -> str:
        """Change how many replicas there may be; what was done, as a sentence."""
        wanted = objects.ScaleRequest(component=component, replicas=replicas, min=minimum, max=maximum)
        return self._post(_path(key, "scale"), wanted, objects.Done).message

    def report(self, key: str) -> dict[str, Any]:
        """What the judge of its rollout and shadow says."""
        return self._get(_path(key, "shadow-report"), dict[str, Any])

    def replay(
        self, key: str, against: str, *, limit: int | None = None, recorded_speed: bool = False
    ) -> dict[str, Any]:
        """Send recorded requests to a revision, as far apart as they came if asked; how its answers differ."""
        wanted = objects.ReplayRequest(against=against, limit=limit, recorded_speed=recorded_speed)
        seconds = RECORDED_SPEED_SECONDS if recorded_speed else LONG_SECONDS
        return self._post(_path(key, "replay"), wanted, dict[str, Any], seconds=seconds)

    def top(self) -> tuple[ReplicaUse, ...]:
        """What runs and what it uses."""
        return self._get("/v1/top", objects.UseListing).items

    def resources(self) -> ResourceListing:
        """What deployments can refer to."""
        return self._get("/v1/resources", ResourceListing)

    def shutdown(self) -> None:
        """Stop the controller and everything it runs; returns when that has begun."""
        transport.ask(self.place, "POST", "/v1/shutdown")

    def _get(self, path: str, kind: type[Kind], **query: object) -> Kind:
        return _decode(transport.ask(self.place, "GET", path + _query(**query)), kind)

    def _post(self, path: str, body: object, kind: type[Kind], *, seconds: float = transport.SECONDS) -> Kind:
        return _decode(transport.ask(self.place, "POST", path, msgspec.json.encode(body), seconds=seconds), kind)

    def _messages(self, path: str) -> Iterator[sse.Message]:
        silence = SILENCE_SECONDS
        with transport.stream(self.place, path, accept="text/event-stream", seconds=silence) as lines:
            for message in sse.messages(lines):
                if message.event == "ERROR":
                    raise transport.failure(500, message.data.encode())
                yield message


def _path(key: str, part: str = "") -> str:
    namespace, separator, name = key.partition("/")
    if not separator or not name:
        raise DecodeError(f"expected namespace/name, found {key!r}")
    path = f"/v1/namespaces/{quote(namespace, safe='')}/deployments/{quote(name, safe='')}"
    return f"{path}/{part}" if part else path


def _query(**parameters: object) -> str:
    given = {name: str(value) for name, value in parameters.items() if value is not None}
    return f"?{urlencode(given)}" if given else ""


def _decode(data: bytes, kind: type[Kind]) -> Kind:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise PlatformError(
            f"the controller's answer is not understood: {error}",
            hint="it may be of another version of Tiffin: stop it with `tiffin down` and start it again",
        ) from error


def _key(found: Object) -> str:
    return f"{found.metadata.namespace}/{found.metadata.name}"


def _note(seen: dict[str, Object], change: Watched) -> bool:
    """Remember a change; whether it says anything new."""
    key = _key(change.object)
    if change.type == "DELETED":
        seen.pop(key, None)
        return True
    known = seen.get(key)
    seen[key] = change.object
    return known is None or known != change.object


def _missed(seen: dict[str, Object], now: Sequence[Object]) -> list[Watched]:
    """What must have happened between what was seen and what is."""
    there = {_key(found): found for found in now}
    gone = [Watched(type="DELETED", object=found) for key, found in seen.items() if key not in there]
    new = [
        Watched(type="MODIFIED" if key in seen else "ADDED", object=found)
        for key, found in there.items()
        if seen.get(key) != found
    ]
    return gone + new

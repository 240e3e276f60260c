"""The edge to an API server: requests for objects as plain JSON values.

lightkube brings what connecting takes (kubeconfig, service accounts, plugins for credentials, TLS); objects
stay plain, since typed ones would need the models of every kind in memory. Everything is awaited.

Errors are told apart by what can be done: ``NotFound``, ``Conflict`` (somebody else changed it: look again),
``Expired`` (a watch missed too much: list again), ``Refused`` (the object is wrong, or rights are missing), and
``Unreachable`` for the rest, which another attempt may not meet.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tiffin.errors import MissingExtra, PlatformError
from tiffin.kube import discovered
from tiffin.kube.manifests import Manifest
from tiffin.kube.names import FIELD_MANAGER

PAGE = 500
"""Objects of one answer to a list."""
LONGEST_MESSAGE = 400
"""Characters of a server's message that are passed on."""
WATCH_SECONDS = 300
"""How long the server keeps one watch open; another follows it."""
SECONDS = 30.0

_MANAGER = {"fieldManager": FIELD_MANAGER}


class ApiError(PlatformError):
    """What the API server answers instead of what was asked for. ``status`` is its HTTP status, 0 for none."""

    code = "kubernetes"
    status = 0


class NotFound(ApiError):
    """There is no such object, or no such kind."""

    status = 404


class Conflict(ApiError):
    """Somebody else changed the object meanwhile, or owns a field of it."""

    status = 409


class Expired(ApiError):
    """What happened since a version is no longer known."""

    status = 410


class Refused(ApiError):
    """The object is not valid, or whoever asks may not."""

    status = 422


class Unreachable(ApiError):
    """No answer, or one that says to come back later."""

    status = 503
    retryable = True


class Kind(NamedTuple):
    """A kind as addresses name it. ``group`` is empty for the core."""

    group: str
    version: str
    kind: str
    plural: str
    is_namespaced: bool = True

    @property
    def api_version(self) -> str:
        """As ``apiVersion`` has it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", part: str = "") -> str:
        """The address below the server's; ``part`` is a subresource."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        within = f"/namespaces/{namespace}" if self.is_namespaced and namespace else ""
        return f"{root}{within}/{self.plural}" + (f"/{name}" if name else "") + (f"/{part}" if part else "")


class Listing(NamedTuple):
    """All objects at one moment; a watch from ``version`` on misses nothing."""

    items: list[Manifest]
    version: str


class Event(NamedTuple):
    """One line of a watch; a ``BOOKMARK`` has nothing but the version it speaks of."""

    type: str
    object: Manifest


class Api:
    """One API server. ``close`` it, or use it as an asynchronous context manager."""

    def __init__(self, http: Any, *, namespace: str = "default") -> None:
        self._http = http
        self.namespace = namespace
        self.writes = 0
        """Requests that changed something, or meant to."""
        self.reads = 0

    async def __aenter__(self) -> Api:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        kind: str = "application/json",
        accept: str = "application/json",
        query: Mapping[str, str | int | bool | None] | None = None,
    ) -> Any:
        """One request; the decoded answer. Raises ApiError."""
        if method == "GET":
            self.reads += 1
        else:
            self.writes += 1
        content = None if body is None else msgspec.json.encode(body)
        headers = {"Accept": accept} | ({"Content-Type": kind} if content is not None else {})
        answer = await self._send(method, path, content=content, headers=headers, params=_query(query or {}))
        if answer.status_code >= 400:
            raise _error(answer.status_code, answer.content, f"{method} {path}")
        if not accept.startswith("application/json"):
            return answer.text
        try:
            return msgspec.json.decode(answer.content) if answer.content else None
        except msgspec.DecodeError as error:
            raise Unreachable(f"{method} {path}: the answer is no JSON: {error}") from None

    async def _send(self, method: str, path: str, **rest: Any) -> Any:
        import httpx2

        try:
            return await self._http.request(method, path, timeout=SECONDS, **rest)
        except httpx2.HTTPError as error:
            raise Unreachable(
                f"{method} {path}: {type(error).__name__} {error}".rstrip(),
                hint="is the API server up, and the context the right one? `kubectl version` tells",
            ) from None

    # ---- objects

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest:
        """One object; raises NotFound."""
        found: Manifest = await self.ask("GET", kind.path(namespace, name))
        return found

    async def metadata(self, kind: Kind, namespace: str, name: str) -> Manifest:
        """Only the metadata of one object; raises NotFound."""
        accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
        found: Manifest = await self.ask("GET", kind.path(namespace, name), accept=accept)
        return found

    async def list(self, kind: Kind, namespace: str = "", *, labels: str = "") -> Listing:
        """All objects of a kind, of one namespace or of all; of a listing that expires half way, from anew."""
        while True:
            try:
                return await self._listed(kind, namespace, labels)
            except Expired:
                continue

    async def _listed(self, kind: Kind, namespace: str, labels: str) -> Listing:
        items: list[Manifest] = []
        more = ""
        while True:
            page = await self.ask(
                "GET",
                kind.path(namespace),
                query={"limit": PAGE, "labelSelector": labels or None, "continue": more or None},
            )
            for item in page["items"] or ():
                # Lists leave out what every item has in common.
                item.setdefault("apiVersion", kind.api_version)
                item.setdefault("kind", kind.kind)
                items.append(item)
            more = page["metadata"].get("continue", "")
            if not more:
                return Listing(items, page["metadata"].get("resourceVersion", ""))

    async def watch(
        self, kind: Kind, namespace: str = "", *, version: str, labels: str = ""
    ) -> AsyncIterator[Event]:
        """What happens from a version on, until the server ends it, which it does after minutes.

        Raises:
            Expired: what happened since ``version`` is no longer known.
            ApiError: as usual.
        """
        import httpx2

        query = _query(
            {
                "watch": True,
                "allowWatchBookmarks": True,
                "resourceVersion": version,
                "timeoutSeconds": WATCH_SECONDS,
                "labelSelector": labels or None,
            }
        )
        path = kind.path(namespace)
        # A server that is gone without a word is noticed a little after it should have ended the watch.
        timeout = httpx2.Timeout(SECONDS, read=WATCH_SECONDS + SECONDS)
        self.reads += 1
        try:
            async with self._http.stream("GET", path, params=query, timeout=timeout) as answer:
                if answer.status_code >= 400:
                    raise _error(answer.status_code, await answer.aread(), f"GET {path}")
                async for line in whole_lines(answer.aiter_bytes()):
                    said = msgspec.json.decode(line)
                    if said["type"] == "ERROR":
                        status = said["object"]
                        raise _error(int(status.get("code") or 500), msgspec.json.encode(status), f"watch {path}")
                    yield Event(said["type"], said["object"])
        except (httpx2.HTTPError, msgspec.DecodeError) as error:
            raise Unreachable(f"watch {path}: {type(error).__name__} {error}".rstrip()) from None

    async def lines(self, path: str, query: Mapping[str, str | int | bool | None]) -> AsyncIterator[str]:
        """The lines of a text as they come, without an end where the server has none. Raises ApiError."""
        import httpx2

        self.reads += 1
        timeout = httpx2.Timeout(SECONDS, read=None)
        try:
            async with self._http.stream("GET", path, params=_query(query), timeout=timeout) as answer:
                if answer.status_code >= 400:
                    raise _error(answer.status_code, await answer.aread(), f"GET {path}")
                async for line in answer.aiter_lines():
                    yield line
        except httpx2.HTTPError as error:
            raise Unreachable(f"GET {path}: {type(error).__name__} {error}".rstrip()) from None

    async def apply(
        self,
        kind: Kind,
        manifest: Manifest,
        *,
        force: bool = True,
        dry_run: bool = False,
        part: str = "",
        manager: str = FIELD_MANAGER,
    ) -> Manifest:
        """Server-side apply: make the fields of ``manifest`` so, and remove those that it had the last time.

        ``manager`` is who owns them then.

        Raises:
            Conflict: without ``force``, another manager owns one of them.
            Refused: it is not valid.
        """
        metadata = manifest["metadata"]
        found: Manifest = await self.ask(
            "PATCH",
            kind.path(metadata.get("namespace", ""), metadata["name"], part),
            body=manifest,
            kind="application/apply-patch+yaml",
            query={"fieldManager": manager, "force": force, "dryRun": "All" if dry_run else None},
        )
        return found

    async def patch(
        self, kind: Kind, namespace: str, name: str, change: Mapping[str, Any], *, part: str = ""
    ) -> Manifest:
        """Merge ``change`` into an object, if it has the ``resourceVersion`` in it; raises NotFound, Conflict."""
        found: Manifest = await self.ask(
            "PATCH",
            kind.path(namespace, name, part),
            body=change,
            kind="application/merge-patch+json",
            query=_MANAGER,
        )
        return found

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Raises Conflict when it is there already."""
        namespace = manifest["metadata"].get("namespace", "")
        found: Manifest = await self.ask("POST", kind.path(namespace), body=manifest, query=_MANAGER)
        return found

    async def replace(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Write a whole object over that of its ``resourceVersion``; raises Conflict when there is a newer one."""
        metadata = manifest["metadata"]
        found: Manifest = await self.ask(
            "PUT",
            kind.path(metadata.get("namespace", ""), metadata["name"]),
            body=manifest,
            query=_MANAGER,
        )
        return found

    async def delete(
        self, kind: Kind, namespace: str, name: str, *, uid: str = "", propagation: str = "Background"
    ) -> None:
        """Delete it, or with ``uid`` just that one; what is not there (any more) is no error."""
        body: dict[str, Any] = {"propagationPolicy": propagation}
        if uid:
            body["preconditions"] = {"uid": uid}
        try:
            await self.ask("DELETE", kind.path(namespace, name), body=body)
        except NotFound:
            return
        except Conflict:
            if not uid:
                raise

    async def scale(self, kind: Kind, namespace: str, name: str, replicas: int) -> None:
        """Write the ``scale`` subresource; raises NotFound, Conflict."""
        await self.patch(kind, namespace, name, {"spec": {"replicas": replicas}}, part="scale")

    # ---- what there is

    async def kinds(self) -> dict[tuple[str, str], Kind]:
        """What is served, by group and kind: each in the version the server prefers, or in the first that has it.

        A group's versions need not have the same kinds.
        """
        whole, core = await asyncio.gather(
            self.ask("GET", "/apis", accept=discovered.ACCEPT), self.ask("GET", "/api", accept=discovered.ACCEPT)
        )
        if discovered.is_aggregated(whole) and discovered.is_aggregated(core):
            told = discovered.kinds_in(whole) | discovered.kinds_in(core)
            return {key: Kind(*one) for key, one in told.items()}
        return await self.kinds_one_by_one()

    async def kinds_one_by_one(self) -> dict[tuple[str, str], Kind]:
        """The same of a server that only knows a list for each version of each group."""
        groups = (await self.ask("GET", "/apis"))["groups"]
        wanted = [("", "v1")]
        for group in groups:
            preferred = group["preferredVersion"]["version"]
            versions = [one["version"] for one in group["versions"]]
            wanted += [(group["name"], one) for one in sorted(versions, key=lambda one: one != preferred)]
        found: dict[tuple[str, str], Kind] = {}
        for answer in await asyncio.gather(*(self.kinds_of(*one) for one in wanted), return_exceptions=True):
            if isinstance(answer, NotFound | Unreachable):
                # An aggregated API whose server is down hides nobody else's.
                continue
            if isinstance(answer, BaseException):
                raise answer
            found = answer | found
        return found

    async def kinds_of(self, group: str, version: str) -> dict[tuple[str, str], Kind]:
        """The kinds of one version of a group; raises NotFound."""
        path = f"/apis/{group}/{version}" if group else f"/api/{version}"
        listed = await self.ask("GET", path)
        return {
            (group, each["kind"]): Kind(group, version, each["kind"], each["name"], bool(each["namespaced"]))
            for each in listed["resources"]
            if "/" not in each["name"]
        }

    async def minor(self) -> int:
        """The server's minor version."""
        text = str((await self.ask("GET", "/version")).get("minor", "0"))
        return int("".join(letter for letter in text if letter.isdigit()) or 0)


def connect(*, kubeconfig: str | Path = "", context: str = "") -> Api:
    """The API server of a kubeconfig's context; without one, that of the pod this runs in, ``KUBECONFIG`` or
    ``~/.kube/config``. Nothing is sent yet.

    Raises:
        MissingExtra: the extra ``kubernetes`` is not installed.
        PlatformError: there is no such configuration.
    """
    try:
        import httpx2
        from lightkube.config.client_adapter import ConnectionParams
        from lightkube.config.kubeconfig import KubeConfig
        from lightkube.core.exceptions import ConfigError
    except ImportError as error:
        hint = "pip install 'tiffin[kubernetes]'"
        raise MissingExtra(f"lightkube, the client of Kubernetes, is not installed: {error}", hint=hint) from None
    hint = "name one with --kubeconfig FILE, or set KUBECONFIG; `kubectl config get-contexts` lists its contexts"
    try:
        configuration = KubeConfig.from_file(str(kubeconfig)) if kubeconfig else KubeConfig.from_env()
        chosen = configuration.get(context_name=context or None)
    except (ConfigError, OSError, ValueError, KeyError) as error:
        raise PlatformError(f"no cluster is known: {error}", hint=hint) from None
    if chosen is None or chosen.user is None:
        what = "the configuration names none" if chosen is None else "the context names no user"
        raise PlatformError(f"no cluster is known: {what}", hint=hint)
    # Each watch keeps a connection: there are as many as kinds, times namespaces.
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=20)
    http = httpx2.AsyncClient(**ConnectionParams().httpx_params(chosen), limits=limits)
    return Api(http, namespace=chosen.namespace or "default")


async def whole_lines(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Lines with something in them, whole ones only: what a server that ends cuts off is no event."""
    rest: list[bytes] = []
    async for chunk in chunks:
        first, *more = chunk.split(b"\n")
        rest.append(first)
        for part in more:
            line, rest = b"".join(rest), [part]
            if line.strip():
                yield line


def _query(given: Mapping[str, str | int | bool | None]) -> dict[str, str]:
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in given.items()
        if value is not None
    }


_ERRORS = {404: NotFound, 409: Conflict, 410: Expired, 400: Refused, 401: Refused, 403: Refused, 422: Refused}


def _readable(message: str) -> str:
    """Without the middle of what is long: whole objects are repeated there, and the reason stands at the end."""
    if len(message) <= LONGEST_MESSAGE:
        return message
    return f"{message[: LONGEST_MESSAGE // 2]} ... {message[-LONGEST_MESSAGE // 2 :]}"


def _error(status: int, content: bytes, what: str) -> ApiError:
    try:
        said = msgspec.json.decode(content)
        message = str(said.get("message") or said.get("reason") or "")
    except (msgspec.DecodeError, AttributeError):
        message = content[:200].decode(errors="replace")
    found = _ERRORS.get(status, Unreachable if status in (408, 429) or status >= 500 else Refused)
    hints = {401: "the credentials are not accepted", 403: "whoever this runs as needs that right (RBAC)"}
    error = found(f"{what}: {_readable(message) or f'HTTP {status}'}", hint=hints.get(status))
    error.status = status
    return error

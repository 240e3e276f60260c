"""What a deployment refers to on a cluster, as its readers take it: runtimes, accounts, annotations of secrets.

Runtimes are watched. Service accounts and secrets are asked for when they are needed, and secrets without their
data (as ``PartialObjectMetadata``): only the pods that fetch see it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tiffin.dialects import live
from tiffin.dialects.resources import Resources, Secret, ServiceAccount
from tiffin.errors import SpecError
from tiffin.kube.client import Api, ApiError, Kind
from tiffin.kube.manifests import Manifest
from tiffin.operator.cache import Cache
from tiffin.operator.discovery import REFERRED, GroupKind

log = logging.getLogger(__name__)

KEPT_SECONDS = 60.0
"""How long an account or a secret's annotations are taken to be as they were."""
SECRET = Kind("", "v1", "Secret", "secrets")
ACCOUNT = Kind("", "v1", "ServiceAccount", "serviceaccounts")
_ACCOUNT_FIELDS = ("serviceAccountName", "serviceAccount")


class References:
    """Looks things up, and remembers them for a while."""

    def __init__(self, api: Api, cache: Cache, kinds: Callable[[], Mapping[GroupKind, Kind]]) -> None:
        self._api = api
        self._cache = cache
        self._kinds = kinds
        self._known: dict[tuple[str, str, str], tuple[float, Manifest | None]] = {}
        self._runtimes: dict[str, tuple[str, Resources]] = {}

    async def of(self, document: Manifest) -> Resources:
        """What an object may refer to. Raises ApiError when that cannot be learnt now."""
        found = Resources(on_cluster=True)
        if document.get("kind") != "InferenceService":
            return found
        for runtime in self._all_runtimes():
            found |= runtime
        namespace = document["metadata"]["namespace"]
        names = {"default", *_named(document.get("spec"))}
        accounts = await asyncio.gather(*(self._account(namespace, name) for name in sorted(names)))
        secrets = {name for account in accounts if account is not None for name in account.secrets}
        chosen = (document["metadata"].get("annotations") or {}).get("serving.kserve.io/storageSecretName")
        if isinstance(chosen, str) and chosen:
            secrets.add(chosen)
        marked = await asyncio.gather(*(self._secret(namespace, name) for name in sorted(secrets)))
        return found | Resources(
            service_accounts=tuple(one for one in accounts if one is not None),
            secrets=tuple(one for one in marked if one is not None),
        )

    def _all_runtimes(self) -> Iterable[Resources]:
        for pair in REFERRED:
            kind = self._kinds().get(pair)
            for manifest in self._cache.all(kind) if kind is not None else ():
                metadata = manifest["metadata"]
                uid, version = metadata["uid"], metadata["resourceVersion"]
                known = self._runtimes.get(uid)
                if known is None or known[0] != version:
                    known = (version, _runtime(manifest))
                    self._runtimes[uid] = known
                yield known[1]

    async def _account(self, namespace: str, name: str) -> ServiceAccount | None:
        manifest = await self._get(ACCOUNT, namespace, name)
        if manifest is None:
            return None
        secrets = [one.get("name") for one in manifest.get("secrets") or () if isinstance(one, dict)]
        return ServiceAccount(
            name=name,
            namespace=namespace,
            secrets=tuple(one for one in secrets if isinstance(one, str)),
            annotations=dict(manifest["metadata"].get("annotations") or {}),
        )

    async def _secret(self, namespace: str, name: str) -> Secret | None:
        manifest = await self._get(SECRET, namespace, name)
        if manifest is None:
            return None
        return Secret(
            name=name, namespace=namespace, annotations=dict(manifest["metadata"].get("annotations") or {})
        )

    async def _get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        now = asyncio.get_running_loop().time()
        key = (kind.kind, namespace, name)
        known = self._known.get(key)
        if known is not None and now - known[0] < KEPT_SECONDS:
            return known[1]
        found: Manifest | None
        try:
            ask = self._api.metadata if kind is SECRET else self._api.get
            found = await ask(kind, namespace, name)
        except ApiError as error:
            if error.status not in (403, 404):
                raise
            if error.status == 403:
                log.warning(
                    "%s %s/%s may not be read, so what it says is not honoured", kind.kind, namespace, name
                )
            found = None
        if len(self._known) > 10_000:
            self._known.clear()
        self._known[key] = (now, found)
        return found


def _runtime(manifest: Manifest) -> Resources:
    try:
        return live.read_resource(manifest)
    except SpecError as error:
        name = manifest["metadata"]["name"]
        log.warning("%s %s is not understood, and not used: %s", manifest["kind"], name, error)
        return Resources()


def _named(spec: Any) -> Iterable[str]:
    """Service accounts that the components of an InferenceService name."""
    if isinstance(spec, dict):
        for key, value in spec.items():
            if key in _ACCOUNT_FIELDS and isinstance(value, str) and value:
                yield value
            elif isinstance(value, dict | list):
                yield from _named(value)
    elif isinstance(spec, list):
        for value in spec:
            yield from _named(value)

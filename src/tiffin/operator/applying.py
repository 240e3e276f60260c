"""Makes objects of a cluster as they are rendered, and writes nothing where they are so already.

    rendered ── digest differs from annotation tiffin.dev/applied ──> apply
        │
        └── the same, but fields of it are others on the server ────> apply (somebody changed them)

What the server makes of a manifest (defaults, amounts in other units) is no difference: it is remembered from the
answer to the last apply. After a restart, when nothing is remembered, equal values are taken as such, and only an
object where something looks different is applied once more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from tiffin.kube import names
from tiffin.kube.client import Api, Kind, NotFound, Refused
from tiffin.kube.manifests import Id, Manifest, identify
from tiffin.operator import claims
from tiffin.operator.cache import Cache, place

LEFT = "tiffin-left"
"""Who owns a number of replicas that is somebody else's to change from now on."""
_OWN_KEYS = ("name", "containerPort", "port", "mountPath", "key", "ip", "type", "uid")
"""By which items of lists are told apart, as the server merges them."""


def digest(manifest: Manifest) -> str:
    """Of everything that is rendered."""
    return hashlib.sha256(msgspec.json.encode(manifest, order="sorted")).hexdigest()[:16]


def marked(manifest: Manifest) -> Manifest:
    """The manifest with its digest as an annotation."""
    metadata = manifest["metadata"]
    annotations = {**(metadata.get("annotations") or {}), names.APPLIED: digest(manifest)}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def projected(there: Any, rendered: Any) -> Any:
    """What an object has at the places that are rendered, in their order; ``None`` where it has nothing."""
    if isinstance(rendered, dict):
        found = there if isinstance(there, dict) else {}
        return {key: projected(found.get(key), value) for key, value in rendered.items()}
    if isinstance(rendered, list | tuple):
        items = there if isinstance(there, list) else []
        key = _key_of(rendered)
        if not key:
            # Objects without a name are told apart by their place; a list of plain values is one value.
            if len(items) != len(rendered) or not all(isinstance(one, dict) for one in rendered):
                return items
            return [projected(one, wanted) for one, wanted in zip(items, rendered, strict=True)]
        by_key = {one.get(key): one for one in items if isinstance(one, dict)}
        return [projected(by_key.get(one[key]), one) for one in rendered]
    return there


def _key_of(items: Sequence[Any]) -> str:
    """By what the items of a list are told apart; empty for a list that is one value."""
    if not items or not all(isinstance(one, dict) for one in items):
        return ""
    return next((key for key in _OWN_KEYS if all(key in one for one in items)), "")


class Applier:
    """Remembers what the server made of each manifest."""

    def __init__(self, api: Api, cache: Cache) -> None:
        self._api = api
        self._cache = cache
        self._made: dict[Id, tuple[str, str]] = {}

    async def apply(self, kind: Kind, manifest: Manifest) -> bool:
        """See that an object is as rendered; whether that took a write. Raises ApiError, NameTaken."""
        wanted = digest(manifest)
        there = self._cache.get(kind, place(manifest))
        if there is not None and not self._differs(manifest, wanted, there):
            return False
        wanted_now = marked(manifest)
        if there is not None and "replicas" in (manifest.get("spec") or {}):
            # The number was decided from what is cached. Where somebody wrote another one meanwhile, as the
            # activator does, this is a conflict, and it is decided again.
            wanted_now["metadata"]["resourceVersion"] = there["metadata"].get("resourceVersion")
        if there is None:
            await self._see_whose(kind, manifest)
        elif there is not None:
            await self._leave_number(kind, there)
        made = await self._written(kind, wanted_now, is_there=there is not None)
        self._made[identify(manifest)] = (wanted, digest(projected(made, manifest)))
        self._cache.put(kind, made)
        return True

    async def _see_whose(self, kind: Kind, manifest: Manifest) -> None:
        """An object that is not known to be ours may be somebody else's: theirs is left as it is.

        What KServe made of the same InferenceService has its owner already, and is taken over. Raises NameTaken.
        """
        metadata = manifest["metadata"]
        owners = metadata.get("ownerReferences") or ()
        if not owners:
            return
        try:
            found = await self._api.metadata(kind, metadata.get("namespace", ""), metadata["name"])
        except NotFound:
            return
        if not any(is_owned(found, one["uid"]) for one in owners):
            raise claims.occupied(manifest)

    async def _leave_number(self, kind: Kind, there: Manifest) -> None:
        """Let ``replicas`` be as they are when they are rendered no more, for whoever scales it from now on.

        What nobody owns any more is set to its default, so the number would be 1 until an autoscaler had looked.
        """
        number = (there.get("spec") or {}).get("replicas")
        if number is None or kind.kind != "Deployment":
            return
        metadata = there["metadata"]
        try:
            found = await self._api.metadata(kind, metadata.get("namespace", ""), metadata["name"])
        except NotFound:
            return
        if not any(_owns_number(one) for one in found["metadata"].get("managedFields") or ()):
            return
        kept = {key: metadata[key] for key in ("name", "namespace", "resourceVersion") if key in metadata}
        number_alone = {"apiVersion": there["apiVersion"], "kind": there["kind"], "metadata": kept}
        number_alone["spec"] = {"replicas": number}
        made = await self._api.apply(kind, number_alone, force=False, manager=LEFT)
        self._cache.put(kind, made)

    async def _written(self, kind: Kind, manifest: Manifest, *, is_there: bool) -> Manifest:
        try:
            return await self._api.apply(kind, manifest)
        except Refused:
            if not is_there:
                raise
        # Lists are merged by a key of their items. Where somebody changed that key, what they wrote and what is
        # applied stand side by side, and may not: then the lists are set as a whole.
        metadata = manifest["metadata"]
        whole = {name: value for name, value in manifest.items() if name not in ("apiVersion", "kind", "metadata")}
        await self._api.patch(kind, metadata.get("namespace", ""), metadata["name"], whole)
        return await self._api.apply(kind, manifest)

    def _differs(self, manifest: Manifest, wanted: str, there: Manifest) -> bool:
        if there["metadata"].get("deletionTimestamp"):
            return False  # it goes; the change that tells so brings us back
        annotations = there["metadata"].get("annotations") or {}
        if annotations.get(names.APPLIED) != wanted:
            return True
        found = projected(there, manifest)
        known = self._made.get(identify(manifest))
        if known is not None and known[0] == wanted:
            return known[1] != digest(found)
        if found != manifest:
            return True
        self._made[identify(manifest)] = (wanted, digest(found))
        return False

    async def prune(self, owned: Iterable[tuple[Kind, Manifest]], keep: Sequence[Manifest], uid: str) -> int:
        """Delete what belongs to the object of that uid and is not rendered any more; how many."""
        wanted = {identify(manifest) for manifest in keep}
        count = 0
        for kind, manifest in owned:
            metadata = manifest["metadata"]
            if metadata.get("deletionTimestamp") or not is_owned(manifest, uid) or identify(manifest) in wanted:
                continue
            await self._api.delete(kind, metadata.get("namespace", ""), metadata["name"], uid=metadata["uid"])
            self._made.pop(identify(manifest), None)
            count += 1
        return count

    def forget(self, manifest: Manifest) -> None:
        """An object that is gone."""
        self._made.pop(identify(manifest), None)


def _owns_number(entry: Mapping[str, Any]) -> bool:
    """Whether an entry of ``managedFields`` says that ``replicas`` are what we applied."""
    is_ours = entry.get("manager") == names.FIELD_MANAGER and entry.get("operation") == "Apply"
    return is_ours and "f:replicas" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})


def is_owned(manifest: Manifest, uid: str) -> bool:
    """Whether an object goes when the one of that uid goes."""
    return any(one.get("uid") == uid for one in manifest["metadata"].get("ownerReferences") or ())


def difference(before: Any, after: Any) -> Any:
    """A merge patch (RFC 7396) that makes ``after`` of ``before``."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return after
    found: dict[str, Any] = {key: None for key in before if key not in after}
    for key, value in after.items():
        if key not in before or before[key] != value:
            found[key] = difference(before.get(key), value) if isinstance(value, dict) else value
    return found

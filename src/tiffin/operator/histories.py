"""All revisions of one deployment and what is remembered of them: read from the cluster; what to write. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from tiffin.errors import SpecError
from tiffin.kube import names
from tiffin.kube.manifests import Manifest
from tiffin.operator import revisions
from tiffin.operator.assigning import known_only
from tiffin.operator.observing import Observed, number_of, seconds, see
from tiffin.operator.revisions import Kept, Known
from tiffin.plan.revision import Revision
from tiffin.plan.share import Standing
from tiffin.rollout.machine import RolloutState
from tiffin.spec import Deployment, Variant

PERSIST_SECONDS = 10.0
"""How old what is written down of a judge may be; everything else is written at once."""


@dataclass(frozen=True)
class History:
    """Attributes:
    known: The ControllerRevisions there are.
    revisions: By number, those that can be read, and those that are made now.
    kept: By variant; also of variants that were removed and still serve.
    """

    known: tuple[Known, ...] = ()
    revisions: dict[int, Revision] = field(default_factory=dict)
    kept: dict[str, Kept] = field(default_factory=dict)


def read(deployment: Deployment, observed: Observed) -> History:
    """What was written down, with what is derived where nothing was."""
    known = tuple(
        sorted(
            (
                revisions.decode(one, created=seconds(one["metadata"].get("creationTimestamp")))
                for one in observed.revisions
            ),
            key=lambda one: one.number,
        )
    )
    there = {
        one.number: one.revision for one in known if one.revision is not None and one.revision.number == one.number
    }
    kept: dict[str, Kept] = {}
    for one in known:  # The newest of a variant is the last, and the only one that counts.
        kept.pop(one.variant, None)
        if one.kept is not None:
            kept[one.variant] = one.kept
    for name, remembered in observed.remembered.items():
        before = kept.get(name)
        if before is not None and before.standing.current == remembered.standing.current:
            judged = msgspec.structs.replace(before.standing, judged=remembered.standing.judged)
            if before.standing.override == remembered.standing.override:
                kept[name] = msgspec.structs.replace(before, standing=judged)
    for variant in deployment.all_variants:
        if variant.name not in kept:
            derived = _derived(deployment, observed, variant, there)
            if derived is not None:
                kept[variant.name] = derived
    return History(known, there, kept)


class Unreadable(SpecError):
    """A revision that gets calls was written by a version of Tiffin that this one does not understand."""


def see_readable(deployment: Deployment, observed: Observed) -> None:
    """That what serves beside the newest revision is understood. Raises Unreadable.

    The newest one is in the spec, too. Of an older one nothing else is known, and without it a canary would get
    all calls in its place.
    """
    known = [revisions.decode(one) for one in observed.revisions]
    newest = {one.variant: one.kept for one in sorted(known, key=lambda one: one.number)}
    used = frozenset(_mentioned(deployment, observed))
    for one in known:
        kept = newest.get(one.variant)
        if one.revision is None and one.number in used and (kept is None or kept.standing.current != one.number):
            raise Unreadable(
                f"expected a revision that this version of Tiffin reads, found {one.name}, which serves",
                hint="go back to the operator that wrote it, and end the rollout or the canary there; "
                "what serves stays as it is meanwhile",
            )


def _derived(
    deployment: Deployment, observed: Observed, variant: Variant, there: Mapping[int, Revision]
) -> Kept | None:
    """What its stable pods say where nothing was written down: the annotation of a Deployment is enough."""
    seen = see(deployment, observed, variant.name, "stable", variant.components)
    number = seen.revision
    if number not in there or not seen.has_ready():
        return None
    standing = Standing(
        current=number, rolled_out=number, latest_ready=number, proven=(number,), serving={number: 100.0}
    )
    return Kept(standing=standing, weights={"stable": 100.0}, residents={"stable": number}, share=variant.weight)


def revised(deployment: Deployment, observed: Observed, history: History) -> History:
    """With a revision for what each variant is now."""
    there, kept = dict(history.revisions), dict(history.kept)
    last = max([0, *there, *(one.number for one in history.known), *_mentioned(deployment, observed)])
    for variant in deployment.all_variants:
        before = kept.get(variant.name, Kept())
        current = there.get(before.standing.current)
        if current is not None and revisions.is_of(current, variant, deployment.protocol):
            continue
        number = _going_back_to(deployment, variant, before.standing, there)
        if number is None:
            number = last = last + 1
            there[number] = revisions.make(deployment, variant, number)
        standing = msgspec.structs.replace(
            before.standing, current=number, override=None, mirror=0.0, rejected=0, paused=False, judged=b""
        )
        kept[variant.name] = msgspec.structs.replace(before, standing=standing)
    return History(history.known, there, kept)


def _mentioned(deployment: Deployment, observed: Observed) -> list[int]:
    """Numbers that Deployments name: none is given again, also when somebody deleted its ControllerRevision."""
    found = []
    for one in observed.deployments:
        said = (one["metadata"].get("annotations") or {}).get(names.REVISION, "")
        found.append(number_of(said, deployment.name))
    return found


def _going_back_to(
    deployment: Deployment, variant: Variant, standing: Standing, there: Mapping[int, Revision]
) -> int | None:
    """A revision that serves and is the same: going back to it needs no new one, unless calls are split."""
    if variant.name == deployment.variant and deployment.canary_percent is not None:
        return None
    for number in (standing.rolled_out, *standing.serving):
        revision = there.get(number)
        if revision is not None and revisions.is_of(revision, variant, deployment.protocol):
            return number
    return None


def to_write(deployment: Deployment, observed: Observed, history: History, now: float) -> tuple[Manifest, ...]:
    """The ControllerRevisions that are not there yet, or do not say what they should."""
    owner = owner_reference(observed)
    there = {one["metadata"]["name"]: one for one in observed.revisions}
    gone = set(to_delete(history))
    newest: dict[str, int] = {}
    for number, revision in sorted(history.revisions.items()):
        newest[revision.variant] = number
    for one in history.known:
        newest[one.variant] = max(newest.get(one.variant, 0), one.number)
    found = []
    for number, revision in sorted(history.revisions.items()):
        name = names.fitting(revision.name)
        kept = history.kept.get(revision.variant) if newest[revision.variant] == number else None
        manifest = there.get(name)
        if manifest is None:
            found.append(revisions.encode(deployment, revision, kept, owner))
        elif name not in gone and not _is_written(revisions.decode(manifest).kept, kept, now):
            found.append(revisions.again(manifest, deployment, kept, owner))
    return tuple(found)


def _is_written(before: Kept | None, after: Kept | None, now: float) -> bool:
    if before is None or after is None or before == after:
        return before == after

    if _unjudged(before) != _unjudged(after):
        return False
    old, new = _judged(before), _judged(after)
    # One that is paused and that nobody calls is looked at, and stays as it is: for days, perhaps.
    is_same = msgspec.structs.replace(old, looked=new.looked) == new
    return is_same or new.looked - old.looked < PERSIST_SECONDS


def _judged(kept: Kept) -> RolloutState:
    """What the judge remembers; an empty one where nobody can read it."""
    try:
        return msgspec.json.decode(kept.standing.judged or b"{}", type=RolloutState)
    except msgspec.MsgspecError:
        return RolloutState()


def _unjudged(kept: Kept) -> Kept:
    return msgspec.structs.replace(kept, standing=msgspec.structs.replace(kept.standing, judged=b""))


def to_delete(history: History) -> tuple[str, ...]:
    """Names of the ControllerRevisions that are kept no longer."""
    needed = {
        number
        for kept in history.kept.values()
        for number in (
            kept.standing.current,
            kept.standing.rolled_out,
            kept.standing.previous,
            kept.standing.latest_ready,
            *kept.standing.serving,
            *kept.residents.values(),
        )
    }
    for one in history.known:
        if one.kept is not None:
            needed.add(one.number)
    return revisions.superfluous(history.known, needed)


def lasting(history: History) -> History:
    """Without a word of revisions that are about to be deleted, so that no later look has that to write."""
    gone = set(to_delete(history))
    if not gone:
        return history
    known = history.revisions.keys() - {one.number for one in history.known if one.name in gone}
    kept = {
        name: msgspec.structs.replace(one, standing=known_only(one.standing, known))
        for name, one in history.kept.items()
    }
    return History(history.known, history.revisions, kept)


def owner_reference(observed: Observed) -> dict[str, object]:
    """Of the object that a deployment was written as; empty while it has no uid."""
    metadata = observed.metadata
    if not metadata.get("uid"):
        return {}
    return {
        "apiVersion": observed.object["apiVersion"],
        "kind": observed.object["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }

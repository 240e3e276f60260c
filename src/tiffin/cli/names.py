"""What the words after ``get``, ``describe`` and others mean: a kind, names, a bundle's tag."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Literal, NamedTuple

from tiffin.client import Client
from tiffin.errors import NoSuchDeployment, SpecError
from tiffin.plan.objects import Object

Kind = Literal["deployments", "revisions", "replicas", "events", "runtimes", "bundles"]

_WORDS: dict[str, tuple[Kind, str]] = {
    **dict.fromkeys(("deployments", "deployment", "deploy", "deployments.tiffin.dev", "all"), ("deployments", "")),
    **dict.fromkeys(
        ("inferenceservices", "inferenceservice", "isvc", "inferenceservice.serving.kserve.io",
         "inferenceservices.serving.kserve.io"), ("deployments", "kserve"),
    ),
    **dict.fromkeys(
        ("seldondeployments", "seldondeployment", "sdep", "seldondeployment.machinelearning.seldon.io",
         "seldondeployments.machinelearning.seldon.io"), ("deployments", "seldon"),
    ),
    **dict.fromkeys(("revisions", "revision", "rev"), ("revisions", "")),
    **dict.fromkeys(("replicas", "replica", "pods", "pod", "po"), ("replicas", "")),
    **dict.fromkeys(("events", "event", "ev"), ("events", "")),
    **dict.fromkeys(
        ("runtimes", "runtime", "servingruntimes", "servingruntime", "clusterservingruntimes",
         "clusterservingruntime"), ("runtimes", ""),
    ),
    **dict.fromkeys(("bundles", "bundle", "bentos"), ("bundles", "")),
}  # fmt: skip


class Asked(NamedTuple):
    """``dialect`` narrows deployments to those of one system; ``named_kind``: whether a kind was written."""

    kind: Kind
    names: tuple[str, ...]
    dialect: str = ""
    named_kind: bool = False


def asked(words: Sequence[str]) -> Asked:
    """``[KIND] [NAME...]``, ``KIND/NAME...`` or nothing; a name with a ``:`` is a bundle's tag.

    Raises:
        SpecError: names of several kinds in one line.
    """
    if not words:
        return Asked("deployments", ())
    if words[0].lower() in _WORDS:
        kind, dialect = _WORDS[words[0].lower()]
        return Asked(kind, tuple(words[1:]), dialect, True)
    found = [_split(word) for word in words]
    kinds = {(kind, dialect) for kind, dialect, _, _ in found}
    if len(kinds) > 1:
        raise SpecError("expected names of one kind", hint="ask for deployments and bundles one after another")
    kind, dialect, _, named = found[0]
    return Asked(kind, tuple(name for _, _, name, _ in found), dialect, named)


def _split(word: str) -> tuple[Kind, str, str, bool]:
    first, slash, rest = word.partition("/")
    if slash and ":" not in word and first.lower() in _WORDS:
        kind, dialect = _WORDS[first.lower()]
        return kind, dialect, rest, True
    if ":" in word:
        return "bundles", "", word, False
    return "deployments", "", word, False


def key(name: str, namespace: str, usual: str = "default") -> str:
    """``namespace/name`` of what a user wrote: NAME, NAMESPACE/NAME, or KIND/NAME.

    ``namespace`` is what ``-n`` says (empty: nothing), ``usual`` where what names none belongs.
    """
    _, _, name, _ = _split(name)
    if "/" in name:
        own, _, rest = name.partition("/")
        if namespace and namespace != own:
            raise SpecError(f"expected one namespace, found {namespace!r} and that of {name!r}")
        return f"{own}/{rest}"
    return f"{namespace or usual}/{name}"


def find(client: Client, name: str, namespace: str, dialect: str = "") -> Object:
    """The deployment of that name; raises NoSuchDeployment with the nearest ones."""
    wanted = key(name, namespace, client.namespace)
    try:
        found = client.get(wanted)
    except NoSuchDeployment as error:
        raise missing(wanted, [item.spec.key for item in client.list().items]) from error
    if dialect and found.spec.dialect != dialect:
        raise NoSuchDeployment(f"{wanted} is no {dialect} deployment but one of {found.spec.dialect}")
    return found


def missing(wanted: str, known: Sequence[str]) -> NoSuchDeployment:
    """The error for a deployment that is not there, with a hint at what could be meant."""
    namespace, _, name = wanted.partition("/")
    elsewhere = sorted(key for key in known if key.partition("/")[2] == name)
    close = difflib.get_close_matches(name, [key.partition("/")[2] for key in known], n=1)
    if elsewhere:
        hint = f"there is {elsewhere[0]}: add `-n {elsewhere[0].partition('/')[0]}`"
    elif close:
        hint = f"did you mean {next(key for key in known if key.endswith(f'/{close[0]}'))}?"
    elif known:
        hint = "`tiffin get -A` lists what there is"
    else:
        hint = "there are no deployments yet; `tiffin apply -f FILE` makes one"
    return NoSuchDeployment(f"there is no deployment {name} in namespace {namespace}", hint=hint)

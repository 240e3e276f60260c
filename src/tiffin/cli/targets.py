"""Which target a command is about: this machine's controller, or a cluster.

``--target``, ``--context`` and ``--kubeconfig`` may stand anywhere on the line of a command that can do both.
They are taken out before the command reads the rest, so that commands need not know of them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from tiffin.errors import SpecError

if TYPE_CHECKING:
    from tiffin.client import Client

LOCAL, KUBERNETES = "local", "kubernetes"
_NAMES = {LOCAL: LOCAL, KUBERNETES: KUBERNETES, "kube": KUBERNETES, "k8s": KUBERNETES}
VARIABLE = "TIFFIN_TARGET"

COMMANDS = frozenset(
    ("apply", "delete", "scale", "plan", "diff", "get", "describe", "logs", "events", "wait", "rollout", "deploy")
)
"""Those that know clusters."""


class Target(NamedTuple):
    """``context`` and ``kubeconfig`` are empty for the usual ones."""

    name: str = LOCAL
    context: str = ""
    kubeconfig: str = ""


_chosen = Target()


def taken(
    command: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None
) -> tuple[Target, list[str]]:
    """The target that a command line names, and the line without that.

    Naming a context or a kubeconfig means a cluster. ``TIFFIN_TARGET`` is the target where the line names none.

    Raises:
        SpecError: the target is not known, or an option has no value.
    """
    if command not in COMMANDS:
        return Target(), list(arguments)
    environment = os.environ if environment is None else environment
    found: dict[str, str] = {}
    rest: list[str] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word == "--":
            rest += [word, *words]
            break
        option, equals, value = word.partition("=")
        if option not in ("--target", "--context", "--kubeconfig"):
            rest.append(word)
            continue
        if not equals:
            if not words:
                raise SpecError("expected a value, found nothing", at=option)
            value = words.pop(0)
        found[option] = value
    means_cluster = "--context" in found or "--kubeconfig" in found
    usual = KUBERNETES if means_cluster else environment.get(VARIABLE) or LOCAL
    written = found.get("--target", usual)
    if written not in _NAMES:
        place = "--target" if "--target" in found else VARIABLE
        raise SpecError(f"expected local or kubernetes, found {written!r}", at=place)
    if _NAMES[written] == LOCAL and means_cluster:
        raise SpecError("expected kubernetes beside --context or --kubeconfig, found local", at="--target")
    return Target(_NAMES[written], found.get("--context", ""), found.get("--kubeconfig", "")), rest


def choose(target: Target) -> None:
    """What ``connect`` connects to from now on."""
    global _chosen
    _chosen = target


def as_cluster() -> Target:
    """The chosen target, for a command that knows clusters alone."""
    return _chosen._replace(name=KUBERNETES)


def connect() -> Client:
    """The client of the chosen target; raises MissingExtra, or PlatformError when a cluster cannot be reached."""
    if _chosen.name == LOCAL:
        from tiffin import client

        return client.connect()
    from tiffin.cli.clusters import calls

    return calls.connect(_chosen.context, _chosen.kubeconfig)

"""What is wrong with a deployment's traffic, told when it is applied: later it would be in everybody's way."""

from __future__ import annotations

from tiffin.gateway import tokens
from tiffin.gateway.router import Choice, Pool, Routed, Share, Snapshot
from tiffin.gateway.routes import render
from tiffin.spec import Deployment


def check(deployment: Deployment) -> None:
    """Raises SpecError when the gateway could not route it: headers, patterns, cookies, keys, paths."""
    pools = [Pool(f"{deployment.key}/{part.name}", part) for part in deployment.components]
    # Two shares, since what makes callers keep theirs is only read where there is a choice.
    split = [Share(pool.name) for pool in (pools[0], pools[-1])]
    choices = [*(Choice(split, rule.matches) for rule in deployment.traffic.rules), Choice(split)]
    routed = Routed(deployment, pools, {part.name: choices for part in deployment.components})
    if deployment.traffic.jwt is not None:
        tokens.read(deployment.traffic.jwt, deployment.key)
    render(Snapshot((routed,)))

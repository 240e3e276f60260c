"""Several deployments that are to run together: their names and addresses made to fit."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from tiffin.dialects import routes
from tiffin.errors import SpecError
from tiffin.spec import Deployment, Route, SpecWarning

_Address = tuple[str, str, bool]


def combine(deployments: Iterable[Deployment]) -> tuple[list[Deployment], list[SpecWarning]]:
    """The deployments as they can run together, in their order, and what was changed to make them fit.

    A name that nobody wrote gives way to an equal one and gets ``-bento`` at its end. An address that several
    want and may share goes to the first.

    Raises:
        SpecError: two deployments have the same namespace and name, or want the same unshared address.
    """
    named, warnings = _rename(list(deployments))
    settled, more = _settle(named)
    return settled, warnings + more


def _rename(deployments: list[Deployment]) -> tuple[list[Deployment], list[SpecWarning]]:
    warnings: list[SpecWarning] = []
    taken: dict[str, Deployment] = {}
    for deployment in deployments:
        if deployment.derived_name:
            continue
        other = taken.setdefault(deployment.key, deployment)
        if other is not deployment:
            raise _twice(f'the name "{deployment.key}"', other, deployment)
    result = []
    for deployment in deployments:
        found = deployment
        if deployment.derived_name and deployment.key in taken:
            other = taken[deployment.key]
            found = routes.renamed(deployment, f"{deployment.name}-bento")
            if found.key in taken:
                raise _twice(f'the name "{deployment.key}"', other, deployment)
            message = f'the name "{deployment.key}" is that of {_place(other)}; this one is called "{found.key}"'
            warnings.append(SpecWarning(_place(deployment), message))
        if deployment.derived_name:
            taken[found.key] = found
        result.append(found)
    return result, warnings


def _settle(deployments: list[Deployment]) -> tuple[list[Deployment], list[SpecWarning]]:
    owners: dict[_Address, Deployment] = {}
    for deployment in deployments:
        for route in deployment.routes:
            for address in () if route.shared else _addresses(route):
                other = owners.setdefault(address, deployment)
                if other is not deployment:
                    raise _twice(f"the address {_show(address)}", other, deployment)
    result, warnings = [], []
    for deployment in deployments:
        lost: dict[str, list[str]] = {}
        kept = []
        for route in deployment.routes:
            if not route.shared:
                kept.append(route)
                continue
            # A shared route with several hosts may keep some of them.
            hosts = []
            for address in _addresses(route):
                owner = owners.setdefault(address, deployment)
                if owner is deployment:
                    hosts.append(address[0])
                else:
                    lost.setdefault(f"{owner.key} ({_place(owner)})", []).append(_show(address))
            if hosts:
                kept.append(msgspec.structs.replace(route, hosts=tuple(host for host in hosts if host)))
        for owner_name, addresses in lost.items():
            text = f"{', '.join(addresses)} {'goes' if len(addresses) == 1 else 'go'} to {owner_name}"
            own = f"it answers below /{deployment.namespace}/{deployment.name}"
            warnings.append(SpecWarning(f"{deployment.key} ({_place(deployment)})", f"{text}; {own}"))
        result.append(msgspec.structs.replace(deployment, routes=tuple(kept)))
    return result, warnings


def _addresses(route: Route) -> list[_Address]:
    return [(host, route.path, route.exact) for host in route.hosts or ("",)]


def _show(address: _Address) -> str:
    host, path, exact = address
    return f"{host}{path}" if exact or path == "/" else f"{host}{path}/"


def _place(deployment: Deployment) -> str:
    file = deployment.file or "an unnamed file"
    return f"{file}, document {deployment.document + 1}" if deployment.document else file


def _twice(what: str, first: Deployment, second: Deployment) -> SpecError:
    return SpecError(
        f"{what} is wanted twice: by {_place(first)} and by {_place(second)}",
        hint="change the name or the namespace of one of them",
    )

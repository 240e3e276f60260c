"""A service and the services it depends on: which run in this process, which apart, and how they hang together."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tiffin.errors import ServiceError

if TYPE_CHECKING:
    from tiffin.service.definition import Service
    from tiffin.service.dependency import Dependency
    from tiffin.spec.description import ServiceDescription


def services_here(service: Service[Any]) -> list[Service[Any]]:
    """The service and those it depends on in this process, each once, itself first."""
    found: dict[int, Service[Any]] = {}

    def walk(one: Service[Any]) -> None:
        if id(one) not in found:
            found[id(one)] = one
            for dependency in one.dependencies.values():
                if dependency.on is not None and not dependency.is_remote:
                    walk(dependency.on)

    walk(service)
    return list(found.values())


def dependencies_of(service: Service[Any]) -> Iterator[Dependency]:
    """What it and the services in this process depend on."""
    for one in services_here(service):
        yield from one.dependencies.values()


def calls_others(service: Service[Any]) -> bool:
    """Whether anything in this process calls a service elsewhere."""
    return any(dependency.is_remote for dependency in dependencies_of(service))


def connect(service: Service[Any], addresses: Mapping[str, str]) -> None:
    """Have the services named in ``addresses`` called there instead of made here.

    Raises:
        ServiceError: an address that cannot be read, or a service that depends on itself.
    """
    from tiffin.service.remote import RemoteService

    made: dict[str, RemoteService] = {}

    def walk(one: Service[Any]) -> None:
        for dependency in one.dependencies.values():
            if dependency.on is None or dependency.is_elsewhere:
                continue
            name = dependency.on.name
            if name in addresses and dependency.on is not service:
                if name not in made:
                    made[name] = RemoteService(dependency.on, addresses[name])
                    dependency.on.served_at = addresses[name]
                dependency.remote = made[name]
            else:
                walk(dependency.on)

    check(service)
    if addresses:
        walk(service)


def wait(service: Service[Any], seconds: float) -> list[str]:
    """Wait until those that run apart are ready; the names of those that are not by then."""
    deadline = time.monotonic() + seconds
    own = (one for one in dependencies_of(service) if one.remote is not None and not one.is_elsewhere)
    remotes = {id(one.remote): one.remote for one in own}
    return [remote.name for remote in remotes.values() if not remote.wait(deadline)]


async def close(service: Service[Any]) -> None:
    """Close the connections to what runs elsewhere, those of this loop and of threads."""
    for dependency in dependencies_of(service):
        if dependency.remote is not None:
            await dependency.remote.disconnect()


def described(service: Service[Any], target: str) -> dict[str, ServiceDescription]:
    """What a service depends on, as a replica of its own would be told to serve it: ``module:Outer.inner``.

    Raises:
        ServiceError: a signature cannot be served, or something depends on itself.
    """
    check(service)
    if ":" not in target:
        module = sys.modules.get(service.inner.__module__)
        bound = (name for name, value in vars(module or object).items() if value is service)
        target = f"{target}:{next(bound, service.inner.__name__)}"
    return {
        name: dependency.on.describe(f"{target}.{name}")
        for name, dependency in service.dependencies.items()
        if dependency.on is not None and not dependency.is_elsewhere
    }


def check(service: Service[Any]) -> None:
    """That nothing depends on itself.

    Raises:
        ServiceError: it does; names the way around.
    """

    def walk(one: Service[Any], way: tuple[Service[Any], ...]) -> None:
        if one in way:
            names = " -> ".join(each.name for each in (*way[way.index(one) :], one))
            raise ServiceError(f"expected services that do not depend on themselves, found {names}")
        for dependency in one.dependencies.values():
            if dependency.on is not None:
                walk(dependency.on, (*way, one))

    walk(service, ())

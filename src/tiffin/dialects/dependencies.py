"""Services that a service depends on, as components of their own.

A file says only which: all of them (``ALL``), or some by name. What they are is known once the service's module
was imported elsewhere and described; then ``apart`` makes the components.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from tiffin.errors import SpecError
from tiffin.kits.names import snake_case
from tiffin.spec import Component, ServiceDescription, ServiceSource

ALL = "*"
"""In ``Component.dependencies`` in place of names: every service it depends on."""
LABEL = "tiffin.dev/dependencies"
"""A label that says ``separate``, for files that have no field for it."""

_TAKEN = ("predictor", "transformer", "explainer", "variant")


def component_name(service: str) -> str:
    """``image-encoder`` for ``ImageEncoder``: what addresses and replicas are called after."""
    name = snake_case(service, "service").replace("_", "-")[:40].strip("-")
    return f"{name}-service" if name in _TAKEN else name


def of_labels(labels: Mapping[str, str], place: str = "") -> dict[str, str]:
    """What labels wish for; raises SpecError for a word that is none."""
    wish = labels.get(LABEL, "in-process")
    if wish not in ("separate", "in-process"):
        raise SpecError(
            f"expected separate or in-process, found {wish!r}", at=f"labels[{LABEL!r}]", place=place or None
        )
    return {ALL: ""} if wish == "separate" else {}


def with_settings(component: Component, description: ServiceDescription) -> Component:
    """A service's component with what its decorator says, where the deployment's file says nothing."""
    resources = component.resources
    return msgspec.structs.replace(
        component,
        workers=_workers(description.workers) if component.workers == 1 else component.workers,
        threads=component.threads or description.threads,
        timeout_seconds=component.timeout_seconds or description.timeout_seconds,
        max_concurrency=component.max_concurrency or description.max_concurrency,
        resources=msgspec.structs.replace(
            resources,
            cpu=description.cpu if resources.cpu is None else resources.cpu,
            memory_bytes=description.memory_bytes if resources.memory_bytes is None else resources.memory_bytes,
            gpu=description.gpu if resources.gpu is None else resources.gpu,
        ),
        environment=description.environment | component.environment,
    )


def _workers(workers: int | str) -> int:
    return workers if isinstance(workers, int) else "cpu"  # type: ignore[return-value]  # or the word "cpu"


def apart(
    component: Component, written: Sequence[Component], description: ServiceDescription, *, place: str = ""
) -> tuple[Component, ...]:
    """The service's component, which knows what it calls, and those of the services that run apart.

    Args:
        component: Its ``dependencies`` name services, or are ``{ALL: ""}``.
        written: Components of dependencies that the file has settings for, by the names in ``dependencies``.
        description: The service's, with those of what it depends on.
        place: The file, for errors.

    Raises:
        SpecError: a name that is no service it depends on, or that two services have.
    """
    if not component.dependencies:
        return (component,)
    known: dict[str, ServiceDescription] = {}
    for one in _all(description):
        other = known.setdefault(one.name, one)
        if _what(other) != _what(one):
            raise SpecError(
                f"two services that {description.name} depends on are called {one.name}: "
                f"{other.target} and {one.target}",
                hint='give one another name, @service(name="...")',
                place=place or None,
            )
    wanted = set(known) if ALL in component.dependencies else set(component.dependencies)
    for name in sorted(wanted - known.keys()):
        others = ", ".join(sorted(known)) or "none"
        raise SpecError(
            f"{description.name} depends on no service {name!r}",
            hint=f"it depends on {others}",
            place=place or None,
        )
    names = _names(component, sorted(wanted, key=list(known).index))
    by_name = {part.name: part for part in written}
    parts = [_part(component, by_name.get(names[name]), names, known[name]) for name in names]
    entry = msgspec.structs.replace(component, dependencies=_reached(description, names))
    return (entry, *parts)


def _names(component: Component, wanted: Sequence[str]) -> dict[str, str]:
    """The component of each service; those the file names keep theirs."""
    names: dict[str, str] = {}
    for service in wanted:
        name = component.dependencies.get(service) or component_name(service)
        while name in names.values():
            name = f"{name}-2"
        names[service] = name
    return names


def _part(
    component: Component, written: Component | None, names: Mapping[str, str], description: ServiceDescription
) -> Component:
    source = component.source
    assert isinstance(source, ServiceSource)
    found = written or Component(name=names[description.name], source=source, is_dependency=True)
    found = with_settings(found, description)
    return msgspec.structs.replace(
        found,
        source=msgspec.structs.replace(source, target=description.target),
        dependencies=_reached(description, names),
        # In one process they would share them.
        environment=component.environment | found.environment,
        secret_variables=tuple(dict.fromkeys((*component.secret_variables, *found.secret_variables))),
    )


def _all(description: ServiceDescription) -> Iterator[ServiceDescription]:
    for one in description.dependencies.values():
        yield one
        yield from _all(one)


def _reached(description: ServiceDescription, names: Mapping[str, str]) -> dict[str, str]:
    """What runs apart and is called from the process of a service: what it, and what is made in it, depend on."""
    found: dict[str, str] = {}
    for one in description.dependencies.values():
        if one.name in names:
            found[one.name] = names[one.name]
        else:
            found |= _reached(one, names)
    return found


def _what(description: ServiceDescription) -> ServiceDescription:
    return msgspec.structs.replace(description, target="", dependencies={})

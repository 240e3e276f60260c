"""The further ways to reach a service, beside a POST for each of its methods."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from tiffin.runtime.exchange import Endpoint

if TYPE_CHECKING:
    from tiffin.runtime.service_application import ServiceApplication


class Facet(Protocol):
    """One of them, made before the service's instance is.

    A path of a method, or of a facet before it, is not taken over. ``start`` runs on the loop after the start-up
    hooks, ``stop`` before the shut-down hooks.
    """

    def endpoints(self) -> Iterable[Endpoint]:
        """What it adds."""

    async def start(self) -> None:
        """Begin."""

    async def stop(self) -> None:
        """Let go of what it holds."""


def facets_of(application: ServiceApplication) -> list[Facet]:
    """Those a service needs; a facet's module is imported only for services that have one."""
    from tiffin.runtime.service_pages import ServicePages

    found: list[Facet] = []
    if application.spec.component.is_dependency:
        from tiffin.runtime.service_frames import ServiceFrames

        found.append(ServiceFrames(application))
    settings = application.service.settings
    if application.service.path_prefix or settings.live_path or settings.ready_path:
        from tiffin.runtime.service_health import ServiceHealth

        found.append(ServiceHealth(application))
    if application.service.mounts:
        from tiffin.runtime.service_mounts import ServiceMounts

        found.append(ServiceMounts(application))  # before the pages: an application may have a page of its own
    if any(method.is_task for method in application.service.apis.values()):
        from tiffin.runtime.service_tasks import ServiceTasks

        found.append(ServiceTasks(application))
    return [*found, ServicePages(application)]

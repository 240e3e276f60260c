"""Follows what a cluster serves: watches begin when a kind appears and end when it goes.

Optional parts (Gateway API, KEDA, Knative, the Prometheus operator) are used from then on, without a restart; the
operator's own definitions may come after it too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping

from tiffin.kube import capabilities, names
from tiffin.kube.capabilities import Capabilities
from tiffin.kube.client import Api, ApiError, Kind, NotFound, Refused
from tiffin.operator.cache import Cache
from tiffin.operator.reflector import Reflector

log = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
"""Between two looks at the groups that are served."""
THOROUGH_LOOKS = 6
"""Every so many looks all kinds are asked for: one may have come to a group that was there before."""
FIRST_SECONDS = 30.0

GroupKind = tuple[str, str]

WRITTEN: tuple[GroupKind, ...] = (
    ("serving.kserve.io", "InferenceService"),
    ("machinelearning.seldon.io", "SeldonDeployment"),
    ("tiffin.dev", "Deployment"),
)
"""What people write, and the operator looks after."""

UNSERVED: tuple[GroupKind, ...] = (("serving.kserve.io", "InferenceGraph"),)
"""What people write and no version serves yet; their status says so."""

REFERRED: tuple[GroupKind, ...] = (
    ("serving.kserve.io", "ServingRuntime"),
    ("serving.kserve.io", "ClusterServingRuntime"),
)

RENDERED: tuple[GroupKind, ...] = (
    ("apps", "Deployment"),
    ("apps", "ControllerRevision"),
    ("", "Service"),
    ("discovery.k8s.io", "EndpointSlice"),
    ("autoscaling", "HorizontalPodAutoscaler"),
    ("policy", "PodDisruptionBudget"),
    ("networking.k8s.io", "Ingress"),
    ("networking.k8s.io", "NetworkPolicy"),
    ("gateway.networking.k8s.io", "HTTPRoute"),
    ("gateway.networking.k8s.io", "GRPCRoute"),
    ("keda.sh", "ScaledObject"),
    ("serving.knative.dev", "Service"),
    ("monitoring.coreos.com", "PodMonitor"),
    ("monitoring.coreos.com", "ServiceMonitor"),
)
"""What the operator makes of them, found by its label."""

POD: GroupKind = ("", "Pod")

FOREIGN: dict[GroupKind, tuple[str, str]] = {
    ("serving.kserve.io", "InferenceService"): ("kserve", "kserve-controller-manager"),
    ("serving.kserve.io", "InferenceGraph"): ("kserve", "kserve-controller-manager"),
    ("machinelearning.seldon.io", "SeldonDeployment"): ("seldon-system", "seldon-controller-manager"),
}
"""By kind: the Deployment (namespace, name) of the system that else looks after it."""

SELECTORS: dict[GroupKind, str] = dict.fromkeys(RENDERED, f"{names.MANAGED}=tiffin") | {POD: names.DEPLOYMENT}


class Discovery:
    """What is served now, and the watches of it. ``changed`` is called when any of it changed."""

    def __init__(
        self, api: Api, cache: Cache, *, watched: tuple[str, ...] = (), changed: Callable[[], None]
    ) -> None:
        self._api = api
        self._cache = cache
        self._namespaces = watched or ("",)
        self._changed = changed
        self._running: dict[Kind, list[asyncio.Task[None]]] = {}
        self._groups: object = None
        self._minor = 0
        self.kinds: Mapping[GroupKind, Kind] = {}
        self.capabilities = Capabilities()
        self.foreign: frozenset[GroupKind] = frozenset()
        """Kinds that another system in this cluster looks after."""

    async def run(self) -> None:
        """Look again and again until this is cancelled; then all watches end."""
        try:
            count = 0
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                count += 1
                try:
                    await self.look(is_thorough=count % THOROUGH_LOOKS == 0)
                except ApiError as error:
                    log.warning("what the cluster serves cannot be seen: %s", error)
        finally:
            await self.close()

    async def close(self) -> None:
        """End all watches."""
        tasks = [task for tasks in self._running.values() for task in tasks]
        self._running.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def look(self, *, is_thorough: bool = True) -> None:
        """Look once. Raises ApiError."""
        groups = await self._api.ask("GET", "/apis")
        if not is_thorough and groups == self._groups:
            return
        self._minor = self._minor or await self._api.minor()
        kinds = await self._api.kinds()
        foreign = frozenset([kind for kind in FOREIGN if kind in kinds and await self._is_there(*FOREIGN[kind])])
        self._groups = groups
        found = capabilities.found(kinds.keys(), minor=self._minor)
        wanted = {pair: kinds[pair] for pair in (*WRITTEN, *UNSERVED, *REFERRED, *RENDERED, POD) if pair in kinds}
        if (found, wanted, foreign) == (self.capabilities, self.kinds, self.foreign):
            return
        self.capabilities, self.kinds, self.foreign = found, wanted, foreign
        await self._follow(wanted)
        self._changed()

    async def _is_there(self, namespace: str, name: str) -> bool:
        with contextlib.suppress(NotFound, Refused):
            await self._api.get(Kind("apps", "v1", "Deployment", "deployments"), namespace, name)
            return True
        return False

    async def _follow(self, wanted: Mapping[GroupKind, Kind]) -> None:
        for kind in [kind for kind in self._running if kind not in wanted.values()]:
            log.info("%s is not served any more", kind.plural)
            tasks = self._running.pop(kind)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._cache.forget(kind)
        new: list[Reflector] = []
        for pair, kind in wanted.items():
            if kind in self._running:
                continue
            own = [self._reflector(pair, kind, namespace) for namespace in self._where(kind)]
            self._running[kind] = [asyncio.create_task(one.run(), name=f"watch {kind.plural}") for one in own]
            new += own
        # What is decided before all is known would be decided anew at once.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_SECONDS):
                await asyncio.gather(*(one.listed.wait() for one in new))

    def _where(self, kind: Kind) -> tuple[str, ...]:
        return self._namespaces if kind.is_namespaced else ("",)

    def _reflector(self, pair: GroupKind, kind: Kind, namespace: str) -> Reflector:
        labels = SELECTORS.get(pair, "")
        return Reflector(self._api, self._cache, kind, namespace=namespace, labels=labels)

"""The operator as a whole: watches, workers, settings and the pages for whoever looks after it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec

from tiffin.errors import PlatformError
from tiffin.kube import names
from tiffin.kube.client import Api, ApiError, Kind, NotFound
from tiffin.kube.manifests import Manifest
from tiffin.kube.settings import Settings
from tiffin.operator.activator import targets
from tiffin.operator.autoscaler import Autoscaler
from tiffin.operator.cache import Cache, Change
from tiffin.operator.discovery import REFERRED, WRITTEN, Discovery
from tiffin.operator.fetches import Fetches
from tiffin.operator.judging import Judge, looks_of
from tiffin.operator.queue import Queue, Workers
from tiffin.operator.reconciling import Key, Reconciler, keys_for, keys_of
from tiffin.operator.reflector import Reflector
from tiffin.operator.scaled import SLICE, Scaled
from tiffin.spec import Deployment

log = logging.getLogger(__name__)

WORKERS = 8
POD = Kind("", "v1", "Pod", "pods")
SERVICE = Kind("", "v1", "Service", "services")
CONFIG = Kind("", "v1", "ConfigMap", "configmaps")
SETTINGS = "tiffin-settings"
"""The ConfigMap with the settings, below the key ``settings.yaml``, in the operator's namespace."""
ACTIVATOR = "app.kubernetes.io/name=tiffin-activator"
NEAR_SECONDS = 0.05
"""How long a change waits for those that come with it: what is applied comes back as an event for each object."""


class Operator:
    """``run`` it until it is cancelled."""

    def __init__(self, api: Api, settings: Settings) -> None:
        self._api = api
        self.settings = settings
        self.cache = Cache(self._changed)
        self.discovery = Discovery(api, self.cache, watched=settings.watched, changed=self._all)
        self.queue: Queue[Key] = Queue()
        self.workers: Workers[Key] = Workers(self.queue, self._look, self._failed)
        self._activator_pods = Cache(lambda change: self._all())
        self._configs = Cache(self._configured)
        self.scaled = Scaled(api, self.cache, lambda: self.reconciler.looks, self._activators)
        self.autoscaler = Autoscaler(self.scaled)
        self._fetches = Fetches(api)
        self.reconciler = Reconciler(
            api,
            self.cache,
            self.discovery,
            settings=lambda: self.settings,
            activators=self._activators,
            scales=self.scaled.scales,
            evidence=lambda key: self.judge.evidence(key),
        )
        self.judge = Judge(lambda: looks_of(self.reconciler.looks))
        self.looks = 0
        self.failures = 0
        self.is_ready = False

    async def run(self) -> None:
        """Follow the cluster and make it as it should be."""
        await self._first_look()
        for manifest in self._services():
            self._found_port(manifest)
        self.is_ready = True
        async with asyncio.TaskGroup() as group:
            namespace = self.settings.namespace
            pods = Reflector(self._api, self._activator_pods, POD, namespace=namespace, labels=ACTIVATOR)
            configs = Reflector(self._api, self._configs, CONFIG, namespace=namespace)
            group.create_task(pods.run())
            group.create_task(configs.run())
            slices = [
                Reflector(self._api, self.scaled.slices, SLICE, namespace=one, labels=f"{names.MANAGED}=tiffin")
                for one in self.settings.watched or ("",)
            ]
            for reflector in slices:
                group.create_task(reflector.run())
            group.create_task(self._scale(slices))
            group.create_task(self.judge.run())
            group.create_task(self._fetches.run())
            group.create_task(self.discovery.run())
            group.create_task(self.workers.run(WORKERS))

    async def read(self, document: Manifest) -> Deployment | None:
        """An object for the webhook; ``None`` where another system's it is, or nothing is known yet.

        Raises:
            SpecError: it is not served.
            ApiError: what it refers to cannot be learnt now.
        """
        metadata = document["metadata"]
        group = document["apiVersion"].rpartition("/")[0]
        key = Key((group, document["kind"]), metadata.get("namespace", ""), metadata.get("name", ""))
        if not self.is_ready or not self.reconciler.is_ours(key, document):
            return None
        self.reconciler.see_name(key, document)
        return await self.reconciler.read(document)

    async def _first_look(self) -> None:
        pause = 0.5
        while True:
            try:
                await self.discovery.look()
                return
            except ApiError as error:
                log.warning("the cluster cannot be seen yet: %s", error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, 15.0)

    async def _scale(self, slices: list[Reflector]) -> None:
        """Change numbers once it is known which pods are ready."""
        for one in slices:
            await one.listed.wait()
        await self.autoscaler.run()

    async def _look(self, key: Key) -> float | None:
        self.looks += 1
        return await self.reconciler.look(key)

    def _failed(self, key: Key, error: Exception, pause: float) -> None:
        self.failures += 1
        if isinstance(error, ApiError):
            log.warning("%s: %s; trying again in %.3g s", key, error, pause)
        else:
            log.error("%s: failed; trying again in %.3g s", key, pause, exc_info=error)

    def _changed(self, change: Change) -> None:
        if change.kind == SERVICE or change.kind.kind == "Service":
            self._serviced(change)
        pair = (change.kind.group, change.kind.kind)
        if pair in REFERRED:
            self._all()
            return
        if change.kind == POD:
            self._fetches.see(change)
            self._of_pod(change)
            return
        for key in keys_for(change.object, change.kind):
            self.workers.add(key, after=NEAR_SECONDS)
            if pair in WRITTEN and change.after is None:
                self._freed(key)

    def _freed(self, gone: Key) -> None:
        """Its name is free for one of another kind."""
        for pair in WRITTEN:
            if pair != gone.kind:
                self.workers.add(gone._replace(kind=pair), after=NEAR_SECONDS)

    def _of_pod(self, change: Change) -> None:
        """A pod is its ReplicaSet's, and that its Deployment's: its label says whose that is."""
        metadata = change.object["metadata"]
        name = (metadata.get("labels") or {}).get(names.DEPLOYMENT)
        for key in self._called(metadata.get("namespace", ""), name or ""):
            self.workers.add(key, after=NEAR_SECONDS)

    def _called(self, namespace: str, name: str) -> list[Key]:
        found = {
            key
            for _, manifest in self.cache.of(namespace, name)
            for key in keys_for(manifest, Kind("", "", "", ""))
        }
        return sorted(found)

    def _all(self) -> None:
        for key in keys_of(self.cache, self.discovery):
            self.workers.add(key, after=NEAR_SECONDS)

    # ---- Services have ports of the activator

    def _services(self) -> list[Manifest]:
        return list(self.cache.all(SERVICE))

    def _serviced(self, change: Change) -> None:
        metadata = change.object["metadata"]
        if change.after is None:
            self.reconciler.ports.forget(f"{metadata.get('namespace', '')}/{metadata['name']}")
        else:
            self._found_port(change.after)

    def _found_port(self, manifest: Manifest) -> None:
        target = targets.target_of(manifest)
        if target is not None:
            self.reconciler.ports.found(target.key, target.port)

    def _activators(self) -> tuple[str, ...]:
        return tuple(sorted(ip for pod in self._activator_pods.all(POD) if (ip := ready_address(pod))))

    # ---- settings

    def _configured(self, change: Change) -> None:
        if change.object["metadata"]["name"] != SETTINGS or change.after is None:
            return
        found = settings_of(change.after, self.settings, log.error)
        if found != self.settings:
            log.info("the settings have changed")
            self.settings = found
            self._all()


def ready_address(pod: Manifest) -> str:
    """A pod's address when it is ready to be called, else nothing."""
    status = pod.get("status") or {}
    conditions = {one.get("type"): one.get("status") for one in status.get("conditions") or ()}
    if pod["metadata"].get("deletionTimestamp") or conditions.get("Ready") != "True":
        return ""
    return str(status.get("podIP") or "")


class SettingsError(PlatformError):
    """The ConfigMap with the settings says something that this version does not understand."""


def settings_of(manifest: Manifest, before: Settings, say: Callable[..., None]) -> Settings:
    """The settings of a ConfigMap; those before, and a word about it, where they are not understood."""
    try:
        return _understood(manifest, before)
    except SettingsError as error:
        say("%s, and those before stay", error.message)
        return before


def _understood(manifest: Manifest, plain: Settings) -> Settings:
    text = (manifest.get("data") or {}).get("settings.yaml", "")
    try:
        found = msgspec.yaml.decode(text or "{}", type=Settings)
    except msgspec.MsgspecError as error:
        told = " ".join(str(error).split())  # A parser of YAML says it in several lines.
        raise SettingsError(
            f"the settings in ConfigMap {SETTINGS} are not understood: {told}",
            hint="apply what `tiffin install` of this version prints, or mend them by hand; "
            "what serves goes on, and is left alone until then",
        ) from None
    # Where it runs and what it watches were decided when it was started.
    return msgspec.structs.replace(found, namespace=plain.namespace, watched=plain.watched)


async def read_settings(api: Api, namespace: str, watched: tuple[str, ...]) -> Settings:
    """The settings there are when the operator starts.

    Raises:
        ApiError: they cannot be asked for.
        SettingsError: they are not understood. With others in their place every host name and every pod of a saved
            model would change.
    """
    plain = Settings(namespace=namespace, watched=watched)
    try:
        manifest = await api.get(CONFIG, namespace, SETTINGS)
    except NotFound:
        return plain
    return _understood(manifest, plain)

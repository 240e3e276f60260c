"""How a pod gets its artefacts: an init container that fetches them, a claim, or an image that is mounted."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from tiffin.dialects import pods, secret_uses
from tiffin.errors import SpecError
from tiffin.kube import names
from tiffin.kube.capabilities import Capabilities
from tiffin.kube.placement import Slot
from tiffin.kube.render.replica import MODELS, RESTRICTED, SCRATCH, escaped
from tiffin.kube.settings import Settings
from tiffin.spec import Component, ContainerSource, ModelSource
from tiffin.spec.policy import is_pem

INITIALIZER = "storage-initializer"
"""The init container's name, which KServe's users look at."""
LOCATION = "kserve-provision-location"
CLAIM = "kserve-pvc-source"
IMAGE = "tiffin-model-image"
MODELCAR = "modelcar"
MODELCAR_USER = 1010
"""A process sees another's files in ``/proc`` when both are the same user's."""
_CACHE = "tiffin-model-cache"
_IMAGE_SCHEMES = ("oci://", "oci+native://")
_PASSED = re.compile(
    r"(AWS|S3|AZURE|AZ|HF|HDFS|STORAGE_ALLOW|STORAGE_IGNORE)_.*|(HTTPS?|NO|ALL)_PROXY", re.IGNORECASE
)
"""Variables of the main container that concern whoever fetches for it."""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What a pod needs for its artefacts. ``mounts`` are the main container's; ``user`` it must run as."""

    containers: list[dict[str, Any]] = []
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = []
    shares_processes: bool = False
    user: int | None = None


def delivery(slot: Slot, settings: Settings, capabilities: Capabilities) -> Delivery:
    """How the artefacts of a slot's component come to its pods.

    Raises:
        SpecError: an address leads nowhere from a cluster.
    """
    component = slot.component
    _check_signatures(component)
    fetched: dict[str, str] = {}
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = []
    containers: list[dict[str, Any]] = []
    car = False
    for path, uri in artefacts(component).items():
        if uri.startswith("pvc://"):
            volume, mount = _claim(component, uri, path, index=len(volumes))
            volumes.append(volume)
            mounts.append(mount)
        elif uri.startswith(_IMAGE_SCHEMES):
            image = uri.partition("://")[2]
            if capabilities.image_volumes:
                name = IMAGE + (f"-{len(volumes)}" if volumes else "")
                volumes.append({"name": name, "image": {"reference": image, "pullPolicy": "IfNotPresent"}})
                mounts.append({"name": name, "mountPath": path, "subPath": "models", "readOnly": True})
                continue
            if uri.startswith("oci+native://") or car:
                raise _impossible(component, uri)
            car = True
            containers.append(_car(image, path))
            volumes.append({"name": MODELCAR, "emptyDir": {}})
            mounts.append({"name": MODELCAR, "mountPath": posixpath.dirname(path)})
        elif not _is_mounted(component, uri):
            fetched[path] = _address(component, uri)
    if fetched:
        volumes.append({"name": LOCATION, "emptyDir": {}})
        own = _shared(fetched)
        mounts += [mount | ({"readOnly": True} if component.pod.is_read_only else {}) for mount in own]
        container, needed = _initializer(component, fetched, own, settings)
        containers.insert(0, container)
        volumes += needed
    return Delivery(
        containers=containers,
        volumes=volumes,
        mounts=mounts,
        shares_processes=car,
        user=MODELCAR_USER if car else None,
    )


def artefacts(component: Component) -> dict[str, str]:
    """The addresses of a component's artefacts, by where in the container they are wanted."""
    source = component.source
    if isinstance(source, ModelSource):
        return {MODELS: source.artefact.uri}
    if isinstance(source, ContainerSource):
        return {path: artefact.uri for path, artefact in source.mounts.items()}
    return {}


# ---- addresses


def _address(component: Component, uri: str) -> str:
    scheme = uri.partition("://")[0] if "://" in uri else ""
    if scheme not in ("", "file", "model"):
        return uri
    what = "a model of this machine's store" if scheme == "model" else "a path of this machine"
    raise SpecError(
        f"expected an address that the cluster reaches, found {uri or 'nothing'}, {what}",
        hint="put the files into a bucket (s3://, gs://, ...), a volume claim (pvc://claim/path) or an image "
        "(oci://registry/name:tag) and name that",
        at=f"{component.name}.storageUri",
    )


def _is_mounted(component: Component, uri: str) -> bool:
    """Whether a local path is one that the file itself mounts into the container."""
    path = uri.removeprefix("file://")
    if not path.startswith("/"):
        return False
    own = pods.named(component.pod.spec, component.pod.main)
    places = [one.get("mountPath", "") for one in own.get("volumeMounts") or () if isinstance(one, dict)]
    return any(path == place or path.startswith(f"{place.rstrip('/')}/") for place in places if place)


def _impossible(component: Component, uri: str) -> SpecError:
    return SpecError(
        f"{uri}: this cluster's pods cannot mount images",
        hint="write oci+fetch://, which copies the files; or use Kubernetes 1.35 or newer",
        at=f"{component.name}.storageUri",
    )


def _claim(component: Component, uri: str, path: str, *, index: int) -> tuple[dict[str, Any], dict[str, Any]]:
    claim, _, below = uri.removeprefix("pvc://").partition("/")
    if not claim:
        raise SpecError(
            f"expected pvc://claim/path, found {uri}",
            hint="name a PersistentVolumeClaim of the namespace",
            at=f"{component.name}.storageUri",
        )
    is_read_only = component.pod.is_read_only
    name = CLAIM + (f"-{index}" if index else "")
    mount: dict[str, Any] = {"name": name, "mountPath": path}
    if below.strip("/"):
        mount["subPath"] = below.strip("/")
    if is_read_only:
        mount["readOnly"] = True
    return {"name": name, "persistentVolumeClaim": {"claimName": claim}}, mount


# ---- images


def _car(image: str, path: str) -> dict[str, Any]:
    """A container of the model's own image that lends its files, as KServe's modelcars.

    It starts before the others and runs beside them. It leaves a link to its files, which the others see because
    all containers of the pod see each other's processes.
    """
    script = f"ln -sfn /proc/$$/root/models {path} && exec sleep infinity"
    return {
        "name": MODELCAR,
        "image": image,
        "restartPolicy": "Always",
        "command": ["sh", "-c", escaped(script)],
        "startupProbe": {"exec": {"command": ["sh", "-c", f"test -e {path}/"]}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "10m", "memory": "15Mi"}, "limits": {"memory": "15Mi"}},
        "securityContext": {**RESTRICTED, "runAsUser": MODELCAR_USER},
        "volumeMounts": [{"name": MODELCAR, "mountPath": posixpath.dirname(path)}],
    }


# ---- fetching


def _shared(fetched: Mapping[str, str]) -> list[dict[str, Any]]:
    """Where one volume is mounted: at every path that is not below another one, and nowhere else.

    A place above them might have files of the image.
    """
    outer = [
        path for path in sorted(fetched) if not any(path.startswith(f"{other.rstrip('/')}/") for other in fetched)
    ]
    if len(outer) == 1:
        return [{"name": LOCATION, "mountPath": outer[0]}]
    return [{"name": LOCATION, "mountPath": path, "subPath": str(index)} for index, path in enumerate(outer)]


def _initializer(
    component: Component, fetched: Mapping[str, str], mounts: list[dict[str, Any]], settings: Settings
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The container that fetches, and the volumes it needs beside the one that it fills."""
    own, volumes, env = list(mounts), [], _environment(component)
    own.append({"name": SCRATCH, "mountPath": "/tmp"})
    for name in _secrets(component):
        volume = names.fitting(f"tiffin-secret-{name}")
        volumes.append({"name": volume, "secret": {"secretName": name}})
        path = f"{secret_uses.DIRECTORY}/{name}"
        own.append({"name": volume, "mountPath": path, "readOnly": True})
    if settings.model_cache:
        kept = {"path": settings.model_cache, "type": "DirectoryOrCreate"}
        volumes.append({"name": _CACHE, "hostPath": kept})
        own.append({"name": _CACHE, "mountPath": settings.model_cache})
        env.append({"name": "TIFFIN_MODEL_CACHE", "value": escaped(settings.model_cache)})
        if settings.model_cache_size:
            env.append({"name": "TIFFIN_MODEL_CACHE_BYTES", "value": str(settings.model_cache_bytes)})
    container = {
        "name": INITIALIZER,
        "image": settings.runtime_image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["python", "-m", "tiffin.models.delivery"],
        "args": [escaped(word) for path, uri in fetched.items() for word in (uri, path)],
        "env": env,
        "resources": {
            "requests": {"cpu": settings.fetch_cpu, "memory": settings.fetch_memory},
            "limits": {"memory": settings.fetch_memory_limit},
        },
        "securityContext": {**RESTRICTED, "readOnlyRootFilesystem": True},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": own,
    }
    return container, volumes


def _environment(component: Component) -> list[dict[str, Any]]:
    """Variables of the init container; values of secrets are never among them."""
    written = pods.named(component.pod.spec, component.pod.main).get("env") or ()
    found = {
        name: {"name": name, "value": escaped(value)}
        for name, value in component.environment.items()
        if _PASSED.fullmatch(name) and name not in component.secret_variables
    }
    for one in written:
        name = one.get("name") if isinstance(one, dict) else None
        if isinstance(name, str) and _PASSED.fullmatch(name):
            found[name] = one
    own = {"HOME": "/tmp", **_credentials(component)}
    if keys := _keys(component):
        own["TIFFIN_REQUIRE_SIGNATURE"] = keys
    return [*found.values(), *({"name": name, "value": escaped(value)} for name, value in own.items())]


def _credentials(component: Component) -> dict[str, str]:
    """The names of the secrets that are needed, and how each is understood; values are refused."""
    source = component.source
    assert isinstance(source, ModelSource | ContainerSource)
    values = sorted(set(source.credentials) - {secret_uses.VARIABLE})
    if values:
        raise SpecError(
            f"expected Secrets of the cluster as credentials, found values ({', '.join(values)})",
            hint="apply the Secret and its ServiceAccount to the cluster; the pods read it there",
            at=f"{component.name}.credentials",
        )
    return dict(source.credentials)


def _secrets(component: Component) -> list[str]:
    source = component.source
    assert isinstance(source, ModelSource | ContainerSource)
    try:
        uses = secret_uses.read(source.credentials)
    except ValueError as error:
        raise SpecError(str(error), at=f"{component.name}.credentials") from None
    return list(dict.fromkeys(use.secret for use in uses if use.secret))


def _keys(component: Component) -> str:
    """Public keys of which one must have signed what is fetched, as PEM."""
    return "\n".join(component.policy.keys) if component.policy.require_signature else ""


def _check_signatures(component: Component) -> None:
    """Refuse what nobody would compare: files are looked at where they are fetched, and by keys that are there."""
    policy = component.policy
    if not policy.require_signature:
        return
    at = f"{component.name}.policy"
    if not policy.keys or not all(map(is_pem, policy.keys)):
        found = next((key for key in policy.keys if not is_pem(key)), "none")
        raise SpecError(
            f"expected public keys written out as PEM, found {found}",
            hint="a cluster has no files of yours: write the key itself into the file",
            at=at,
        )
    mounted = ("pvc://", *_IMAGE_SCHEMES)
    addresses = artefacts(component).values()
    found = next((uri for uri in addresses if uri.startswith(mounted)), "" if addresses else "an image")
    if found:
        raise SpecError(
            f"expected an artefact that is fetched, whose signature is compared then, found {found}",
            hint="write s3://, https:// or oci+fetch://; signatures of images are for the cluster's admission",
            at=at,
        )

"""What a release of the operator wrote into a cluster, as text for people, and how it gets into another cluster.

A file has a document for each object and each of those who wrote fields of it, by ``managedFields``::

    {by: tiffin, how: Apply, wrote: {apiVersion: apps/v1, kind: Deployment, ...}}
    {by: tiffin, how: Update, part: status, wrote: {...}}

What others write (the server's defaults, the controllers of Kubernetes) is not in it: it comes anew. The object
that all belongs to keeps its uid: the operator writes it into every other one, and a digest of all it wrote.
"""

from __future__ import annotations

import base64
import datetime
import itertools
import json
import re
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from tiffin.kube import names
from tiffin.operator.revisions import STANDING

WRITERS = ("kubectl", "tiffin", "tiffin-left")
MOMENT = "2026-01-01T00:00:00Z"
"""Stands for every time."""
SECONDS = 1767225600
"""The same, since 1970."""
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
_JUDGED = re.compile(r'"judged":"([A-Za-z0-9+/=]+)"')
_GIVEN = {
    "InferenceService": "serving.kserve.io/inferenceservices",
    "SeldonDeployment": "machinelearning.seldon.io/seldondeployments",
    "Deployment": "tiffin.dev/tiffindeployments",
}
"""Where etcd has the objects that people write."""

Write = dict[str, Any]


class Plain(yaml.SafeDumper):
    """Without anchors, which people do not like to read."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def is_given(manifest: dict[str, Any]) -> bool:
    """Whether it is an object that people write, and all else belongs to."""
    return manifest["kind"] in _GIVEN and not manifest["apiVersion"].startswith("apps/")


def owned(found: Any, fields: dict[str, Any]) -> Any:
    """The part of an object that an entry of ``managedFields`` (its ``fieldsV1``) is about."""
    named = {key: inner for key, inner in fields.items() if key != "."}
    if not named:
        return {} if fields and isinstance(found, dict) else found
    if isinstance(found, dict):
        return {key[2:]: owned(found[key[2:]], inner) for key, inner in named.items() if key[2:] in found}
    kept = []
    for key, inner in named.items():
        wanted = json.loads(key[2:])
        if key.startswith("v:"):
            kept += [one for one in found if one == wanted]
        else:
            kept += [owned(one, inner) for one in found if wanted.items() <= one.items()]
    return sorted(kept, key=found.index) if key.startswith("v:") else kept


def writes(manifest: dict[str, Any]) -> Iterator[Write]:
    """What each of ``WRITERS`` wrote of an object; those who apply come first."""
    metadata = manifest["metadata"]
    entries = [one for one in metadata.get("managedFields") or () if one["manager"] in WRITERS]
    for entry in sorted(entries, key=lambda one: (one["operation"], one["manager"])):
        wrote = timeless(owned(manifest, entry["fieldsV1"]))
        own = {"name": metadata["name"]}
        if is_given(manifest) and not entry.get("subresource") and entry["operation"] == "Apply":
            own |= {"uid": metadata["uid"], "generation": metadata["generation"]}
        annotations = wrote.get("metadata", {}).get("annotations", {})
        if names.APPLIED in annotations and '"judged":"e' in annotations.get(STANDING, ""):
            annotations[names.APPLIED] = "0" * 16  # It counts the times of the judge, which are others here.
        head = {"apiVersion": manifest["apiVersion"], "kind": manifest["kind"]}
        rest = {"metadata": own | wrote.pop("metadata", {})} | wrote
        part = {"part": entry["subresource"]} if entry.get("subresource") else {}
        yield {"by": entry["manager"], "how": entry["operation"]} | part | {"wrote": head | rest}


def timeless(value: Any) -> Any:
    """With ``MOMENT`` for every time, also within what a judge remembers."""
    if isinstance(value, dict):
        found = {key: timeless(inner) for key, inner in value.items()}
        return found | ({"created": SECONDS} if found.get("created") else {})
    if isinstance(value, list):
        return [timeless(inner) for inner in value]
    if isinstance(value, str):
        return _JUDGED.sub(lambda match: f'"judged":"{_judged(match[1])}"', _MOMENT.sub(MOMENT, value))
    return value


def _judged(text: str) -> str:
    found = json.loads(base64.b64decode(text))
    found |= {key: float(SECONDS) for key in ("looked", "started", "ended") if found.get(key)}
    found["elapsed"] = float(round(found.get("elapsed", 0.0)))
    return base64.b64encode(json.dumps(found, separators=(",", ":")).encode()).decode()


def save(file: Path, about: str, manifests: Iterable[dict[str, Any]]) -> None:
    """Write a file; the object that somebody wrote comes first."""
    ordered = sorted(manifests, key=lambda one: (not is_given(one), one["kind"], one["metadata"]["name"]))
    found = [one for manifest in ordered for one in writes(manifest)]
    file.write_text(f"# {about}\n" + yaml.dump_all(found, Dumper=Plain, sort_keys=False, width=110))


def read(file: Path) -> list[Write]:
    return list(yaml.safe_load_all(file.read_text()))


# ---- into a cluster


def load_all(cluster: Any, namespace: str, stored: list[Write]) -> None:
    """A whole file: the object that somebody wrote with the uid it had, and its status at the end."""
    given, *others = stored
    load(cluster, namespace, [given])
    metadata = given["wrote"]["metadata"]
    rewrite(cluster, namespace, given["wrote"], uid=metadata["uid"], generation=metadata["generation"])
    load(cluster, namespace, [one for one in others if one.get("part") != "status"])
    for one in others:
        if one.get("part") == "status":
            load(cluster, namespace, [_born(cluster, namespace, one)])


def _born(cluster: Any, namespace: str, one: Write) -> Write:
    """A status with the times at which this server made the revisions it names."""
    found = json.loads(json.dumps(one))
    for revision in found["wrote"]["status"].get("revisions") or ():
        there = cluster.get("controllerrevision", revision["name"], "-n", namespace)
        moment = datetime.datetime.fromisoformat(there["metadata"]["creationTimestamp"].replace("Z", "+00:00"))
        revision["created"] = int(moment.timestamp())
    return dict(found)


def load(cluster: Any, namespace: str, stored: Iterable[Write]) -> None:
    """Write it all again, in the names of those who did. Raises AssertionError with what the server said."""
    for (by, how), several in itertools.groupby(stored, lambda one: (one["by"], one["how"])):
        words = ["-n", namespace, f"--field-manager={by}"]
        if how == "Update":
            for one in several:
                _update(cluster, words, one.get("part", ""), one["wrote"])
            continue
        given = [_without(one["wrote"], "uid", "generation") for one in several]
        cluster.kubectl("apply", "--server-side", *words, "-f", "-", given="\n".join(map(json.dumps, given)))


def _update(cluster: Any, words: list[str], part: str, wrote: dict[str, Any]) -> None:
    group = wrote["apiVersion"].rpartition("/")[0]
    kind = f"{wrote['kind']}.{group}".rstrip(".").lower()
    change = json.dumps({key: value for key, value in wrote.items() if key not in ("apiVersion", "kind")})
    words = [*words, *([f"--subresource={part}"] if part else []), "--type=merge"]
    cluster.kubectl("patch", kind, wrote["metadata"]["name"], *words, "-p", change)


def _without(manifest: dict[str, Any], *left: str) -> dict[str, Any]:
    metadata = {key: value for key, value in manifest["metadata"].items() if key not in left}
    return manifest | {"metadata": metadata}


def rewrite(cluster: Any, namespace: str, manifest: dict[str, Any], **metadata: Any) -> None:
    """Give an object metadata that only the server gives, where it keeps it: a uid, a generation."""
    key = base64.b64encode(
        f"/registry/{_GIVEN[manifest['kind']]}/{namespace}/{manifest['metadata']['name']}".encode()
    )
    (found,) = _etcd(cluster, "range", key=key.decode())["kvs"]
    value = json.loads(base64.b64decode(found["value"]))
    value["metadata"] |= metadata
    _etcd(cluster, "put", key=key.decode(), value=base64.b64encode(json.dumps(value).encode()).decode())


def _etcd(cluster: Any, what: str, **body: str) -> Any:
    request = urllib.request.Request(f"{cluster.etcd_url}/v3/kv/{what}", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())

"""Resources on disk, where Envoy looks for them: written whole and renamed into place, as it wants them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from tiffin.gateway import filters
from tiffin.gateway.resources import TYPE, Resource, Resources
from tiffin.kits import files


def endpoints_file(cluster: str) -> str:
    """The file with a cluster's endpoints: Envoy takes only one cluster's from a file."""
    return f"eds-{hashlib.sha256(cluster.encode()).hexdigest()[:24]}.json"


class _Written(msgspec.Struct):
    version_info: str
    resources: msgspec.Raw


class ResourceFiles:
    """The files ``eds-*``, ``cds``, ``rds`` and ``tokens`` in a directory; what is written has a version."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._version = 0
        self._written: dict[str, tuple[bytes, str]] = {}

    def read(self) -> Resources | None:
        """What was written last, by whomever; versions go on from there. ``None`` when it is not whole."""
        written: dict[str, tuple[bytes, str]] = {}
        contents: dict[str, list[Resource]] = {}
        try:
            for path in self._directory.glob("*.json"):
                if not path.name.startswith(("eds-", "cds.", "rds.", "tokens.")):
                    continue
                document = msgspec.json.decode(path.read_bytes(), type=_Written)
                written[path.name] = (bytes(document.resources), document.version_info)
                contents[path.name] = msgspec.json.decode(document.resources)
            clusters = contents["cds.json"]
            endpoints = [
                contents[endpoints_file(found["name"])][0] for found in clusters if found["type"] == "EDS"
            ]
            found = Resources(
                clusters=tuple(clusters),
                endpoints=tuple(endpoints),
                routes=contents["rds.json"][0],
                tokens=contents["tokens.json"][0]["typed_config"],
            )
            self._version = max(int(version) for _, version in written.values())
        except (OSError, msgspec.MsgspecError, KeyError, IndexError, TypeError, ValueError):
            return None
        self._written = written
        return found

    def write_endpoints(self, resources: Resources) -> dict[str, str]:
        """Endpoints of all clusters; the versions that Envoy will report, by cluster."""
        return {
            entry["cluster_name"]: self._write(endpoints_file(entry["cluster_name"]), [entry])
            for entry in resources.endpoints
        }

    def remove_endpoints(self, resources: Resources) -> None:
        """Forget the endpoints of clusters that ``resources`` does not have."""
        wanted = {endpoints_file(entry["cluster_name"]) for entry in resources.endpoints}
        for name in [name for name in self._written if name.startswith("eds-") and name not in wanted]:
            (self._directory / name).unlink(missing_ok=True)
            del self._written[name]

    def write_clusters(self, resources: Resources) -> str:
        """Clusters; their endpoints must be written by now."""
        return self._write("cds.json", resources.clusters)

    def write_routes(self, resources: Resources) -> str:
        """Routes; Envoy must know the clusters they lead to by now."""
        return self._write("rds.json", [resources.routes])

    def write_tokens(self, resources: Resources) -> str:
        """What tokens are checked for; before the routes that ask for it."""
        extension = {
            "@type": TYPE + "envoy.config.core.v3.TypedExtensionConfig",
            "name": filters.TOKENS,
            "typed_config": resources.tokens,
        }
        return self._write("tokens.json", [extension])

    def _write(self, name: str, resources: Iterable[Resource]) -> str:
        content = msgspec.json.encode(list(resources))
        before = self._written.get(name)
        if before is not None and before[0] == content:
            return before[1]
        self._version += 1
        version = str(self._version)
        body = b'{"version_info":"%s","resources":%s}' % (version.encode(), content)
        files.write_atomic(self._directory / name, body)
        self._written[name] = (content, version)
        return version

"""Models of MLflow's registry, by its plain REST API: no package needed.

An address is ``mlflow://host:port/NAME/VERSION`` (``mlflow+http://`` and ``mlflow+https://`` choose the scheme;
this machine is asked in plain HTTP, any other by HTTPS), or ``models:/NAME/VERSION`` at ``MLFLOW_TRACKING_URI``.
VERSION is a number, ``latest``, or ``@ALIAS``. ``MLFLOW_TRACKING_USERNAME`` with ``_PASSWORD``, or ``_TOKEN``, say
who asks.
"""

from __future__ import annotations

import base64
import http.client
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any

import msgspec

from tiffin.errors import AuthorError, StorageError
from tiffin.models import storage
from tiffin.oci.reference import is_loopback

_SECONDS = 60.0
_SCHEMES = {"mlflow": "", "mlflow+http": "http", "mlflow+https": "https"}
_NAME = re.compile(r"[^/:@][^/:@]*")
_CHUNK = 1 << 20


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """A model of a server: ``version`` is a number, ``latest`` or empty; ``alias`` is another way to name one."""

    server: str
    name: str
    version: str = ""
    alias: str = ""

    def __str__(self) -> str:
        host = self.server.partition("://")[2]
        which = f"@{self.alias}" if self.alias else f"/{self.version}" if self.version else ""
        return f"mlflow://{host}/{self.name}{which}"


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a registered model, as the server has it; ``files`` is the address of its files."""

    address: Address
    version: str
    files: str
    run: str = ""
    tags: dict[str, str] = {}
    description: str = ""


def handles(text: str) -> bool:
    """Whether an address is one of MLflow's."""
    return text.startswith("models:/") or text.partition("://")[0] in _SCHEMES


def parse(text: str, environment: Mapping[str, str]) -> Address:
    """Read an address; raises AuthorError with what is wrong."""
    if text.startswith("models:/"):
        server = environment.get("MLFLOW_TRACKING_URI", "")
        if not server.startswith(("http://", "https://")):
            raise AuthorError(
                f"which server has {text} is not said: MLFLOW_TRACKING_URI is {server or 'not set'}",
                hint="set it to the server's address, http://host:port, or write mlflow://host:port/NAME/VERSION",
            )
        path = text.removeprefix("models:/").strip("/")
    else:
        scheme, _, rest = text.partition("://")
        host, _, path = rest.partition("/")
        if not host:
            raise _wrong(text)
        prefix = _SCHEMES[scheme] or ("http" if is_loopback(host) else "https")
        server, path = f"{prefix}://{host}", path.strip("/")
    name, at, alias = path.partition("@")
    name, _, version = name.partition("/")
    name = urllib.parse.unquote(name)
    if not _NAME.fullmatch(name) or (at and (version or not alias)) or "/" in version:
        raise _wrong(text)
    return Address(server=server.rstrip("/"), name=name, version=version, alias=alias)


class Server:
    """One MLflow server as one user sees it."""

    def __init__(self, address: str, environment: Mapping[str, str]) -> None:
        self.address = address
        self._environment = environment
        handlers: list[Any] = []
        if is_loopback(urllib.parse.urlsplit(address).netloc):
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)

    def version(self, address: Address) -> Version:
        """What an address leads to; raises StorageError when there is no such model or version."""
        found = self._version(address)
        name, number = address.name, str(found["version"])
        where = self._json("GET", "model-versions/get-download-uri", {"name": name, "version": number})
        tags = {str(tag["key"]): str(tag.get("value", "")) for tag in found.get("tags", ())}
        return Version(
            address=address,
            version=number,
            files=str(where["artifact_uri"]),
            run=str(found.get("run_id") or ""),
            tags=tags,
            description=str(found.get("description") or ""),
        )

    def download(self, version: Version, into: Path, *, cache: Path) -> None:
        """Write the version's files below a directory that exists; raises StorageError."""
        scheme = version.files.partition(":")[0]
        if scheme == "mlflow-artifacts":
            self._download(_proxied(version.files), into, _proxied(version.files))
        else:
            if scheme == "file" or "://" not in version.files:
                self._check_local(version)
            path = storage.fetch(version.files, base=Path("/"), cache=cache)
            shutil.copytree(path, into, dirs_exist_ok=True) if path.is_dir() else shutil.copy2(path, into)
        if not any(into.iterdir()):
            raise StorageError(f"{version.address} has no files at {version.files}")

    def _check_local(self, version: Version) -> None:
        """A path is the server's own; on another machine it would name somebody else's files."""
        if not is_loopback(urllib.parse.urlsplit(self.address).netloc):
            raise StorageError(
                f"{version.address} is kept at {version.files}, which is a path on its server",
                hint="start the server with --artifacts-destination: it then serves artefacts",
            )

    def register(
        self, address: Address, directory: Path, *, tags: Mapping[str, str], progress: Callable[[str], None]
    ) -> Version:
        """Upload the files of a directory and make them the next version of a model, which is made when needed.

        Raises:
            StorageError: the server refuses, or keeps artefacts where only its own client can write.
        """
        run = self._json(
            "POST", "runs/create", {"experiment_id": "0", "run_name": f"tiffin export of {address.name}"}
        )["run"]["info"]
        run_id, root = str(run["run_id"]), str(run["artifact_uri"])
        if not root.startswith("mlflow-artifacts:"):
            raise StorageError(
                f"{self.address} keeps artefacts at {root}, and does not take them itself",
                hint="start it with --artifacts-destination, or export with MLflow's own client",
            )
        for path in sorted(one for one in directory.rglob("*") if one.is_file()):
            relative = path.relative_to(directory).as_posix()
            progress(relative)
            with path.open("rb") as file:
                target = urllib.parse.quote(f"{_proxied(root)}/model/{relative}")
                self._ask("PUT", f"mlflow-artifacts/artifacts/{target}", file, size=path.stat().st_size).close()
        self._json("POST", "runs/update", {"run_id": run_id, "status": "FINISHED"})
        try:
            self._json("POST", "registered-models/create", {"name": address.name})
        except StorageError as error:
            if "RESOURCE_ALREADY_EXISTS" not in error.message:
                raise
        made = self._json(
            "POST",
            "model-versions/create",
            {
                "name": address.name,
                "source": f"{root}/model",
                "run_id": run_id,
                "tags": [{"key": key, "value": value} for key, value in sorted(tags.items())],
            },
        )["model_version"]
        return Version(address=address, version=str(made["version"]), files=f"{root}/model", run=run_id)

    def _version(self, address: Address) -> dict[str, Any]:
        name = address.name
        if address.alias:
            found = self._json("GET", "registered-models/alias", {"name": name, "alias": address.alias})
            return _mapping(found["model_version"])
        if address.version not in ("", "latest"):
            wanted = {"name": name, "version": address.version}
            return _mapping(self._json("GET", "model-versions/get", wanted)["model_version"])
        quoted = name.replace("'", "\\'")
        listed = self._json(
            "GET",
            "model-versions/search",
            {"filter": f"name='{quoted}'", "max_results": "1", "order_by": "version_number DESC"},
        )
        versions = listed.get("model_versions") or ()
        if not versions:
            raise StorageError(f"{self.address} has no version of the model {name}", hint="check the spelling")
        return _mapping(versions[0])

    def _download(self, path: str, into: Path, root: str) -> None:
        query = urllib.parse.urlencode({"path": path})
        listed = self._read("GET", f"mlflow-artifacts/artifacts?{query}").get("files") or ()
        for one in listed:
            name = PurePosixPath(str(one["path"])).name
            if name in ("", ".", ".."):
                raise StorageError(f"{self.address} lists a file that would land outside: {one['path']!r}")
            if one.get("is_dir"):
                (into / name).mkdir(exist_ok=True)
                self._download(f"{path}/{name}", into / name, root)
                continue
            url = f"mlflow-artifacts/artifacts/{urllib.parse.quote(f'{path}/{name}')}"
            with self._ask("GET", url) as answer, (into / name).open("wb") as file:
                shutil.copyfileobj(answer, file, _CHUNK)
            size = one.get("file_size")
            if size is not None and (into / name).stat().st_size != int(size):
                raise StorageError(f"{self.address} gave {name} in part", hint="try again")

    def _json(self, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        if method == "GET":
            return self._read("GET", f"mlflow/{path}?{urllib.parse.urlencode(body)}")
        return self._read(method, f"mlflow/{path}", msgspec.json.encode(body))

    def _read(self, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
        with self._ask(method, path, body) as answer:
            try:
                found = msgspec.json.decode(answer.read())
            except (msgspec.DecodeError, http.client.HTTPException) as error:
                raise StorageError(
                    f"expected JSON of MLflow from {self.address}, found something else",
                    hint="check the address: it is that of the tracking server",
                ) from error
            return _mapping(found)

    def _ask(
        self, method: str, path: str, body: bytes | IO[bytes] | None = None, *, size: int | None = None
    ) -> Any:
        headers = {"Content-Type": "application/json" if isinstance(body, bytes) else "application/octet-stream"}
        if size is not None:
            headers["Content-Length"] = str(size)
        if who := _authorization(self._environment):
            headers["Authorization"] = who
        request = urllib.request.Request(
            f"{self.address}/api/2.0/{path}", data=body, headers=headers, method=method
        )
        try:
            return self._opener.open(request, timeout=_SECONDS)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error) from error
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "reason", error)
            raise StorageError(
                f"{self.address} cannot be reached: {why}", hint="check the address and the network"
            ) from error

    def _refused(self, error: urllib.error.HTTPError) -> StorageError:
        try:
            said = _mapping(msgspec.json.decode(error.read(65536)))
        except (OSError, msgspec.DecodeError, StorageError):
            said = {}
        if error.code in (401, 403):
            return StorageError(
                f"{self.address} does not allow it ({error.code})",
                hint="set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
            )
        text = ": ".join(str(said[key]) for key in ("error_code", "message") if said.get(key))
        return StorageError(f"{self.address} answered {error.code}{f', {text[:300]}' if text else ''}")


def _authorization(environment: Mapping[str, str]) -> str:
    if token := environment.get("MLFLOW_TRACKING_TOKEN"):
        return f"Bearer {token}"
    user, password = environment.get("MLFLOW_TRACKING_USERNAME"), environment.get("MLFLOW_TRACKING_PASSWORD")
    if not (user and password):
        return ""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def _proxied(uri: str) -> str:
    """The path at the server of ``mlflow-artifacts:/1/...`` or ``mlflow-artifacts://host/1/...``."""
    return urllib.parse.urlsplit(uri).path.strip("/")


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise StorageError("expected an object of MLflow, found something else")
    return value


def _wrong(text: str) -> AuthorError:
    return AuthorError(
        f"expected mlflow://host:port/NAME/VERSION or models:/NAME/VERSION, found {text}",
        hint="VERSION is a number, `latest` or @ALIAS: models:/iris@champion",
    )

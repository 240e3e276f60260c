"""``tiffin client``: a typed Python client of a service, in one module that needs nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tiffin.errors import PlatformError, ServiceError, SpecError

SECONDS = 30.0
_NO_SERVICE = "give the address of a service, as http://host:port"


def client(
    target: Annotated[
        str, typer.Argument(help="MODULE:SERVICE, a directory, or the URL of a running service.")
    ] = ".",
    out: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write it; stdout when not given.")
    ] = None,
    directory: Annotated[Path, typer.Option(help="Where the target's files are.")] = Path(),
    force: Annotated[bool, typer.Option(help="Write over a file that was not written by this command.")] = False,
) -> None:
    """Write a Python client with a typed method for each endpoint.

    The module needs Python 3.11 and nothing else, and mypy --strict accepts it. From a URL it works for services
    of BentoML, too.
    """
    from tiffin.client import writing

    schema, docs = _asked(target) if target.startswith(("http://", "https://")) else _described(target, directory)
    try:
        text = writing.module(schema, docs)
    except (KeyError, TypeError, AttributeError) as error:
        raise SpecError(f"expected the schema of a service at {target}, found something else: {error}") from error
    if out is None:
        print(text, end="")
        return
    if out.exists() and not force and "Written by `tiffin client`" not in out.read_text("utf-8", "replace")[:300]:
        raise SpecError(
            f"{out} exists, and was not written by this command", hint="choose another name, or --force"
        )
    try:
        out.write_text(text, "utf-8")
    except OSError as error:
        raise PlatformError(
            f"cannot write {out}: {error.strerror}", hint="give -o a file in a directory"
        ) from error
    print(f"{out}: {len(schema['routes'])} endpoints of {schema['name']}")


def _described(target: str, directory: Path) -> tuple[dict[str, Any], dict[str, str]]:
    from tiffin.bundle import describing

    if ":" not in target and Path(target).is_dir():
        target, directory = ".", Path(target)
    found = describing.describe(target, directory, {})
    if not found.schema:
        raise ServiceError(f"{target} gave no schema", hint="a program of its own answers; write from its URL")
    return found.schema, {endpoint.name: endpoint.description for endpoint in found.endpoints}


def _asked(url: str) -> tuple[dict[str, Any], dict[str, str]]:
    schema = _json(f"{url.rstrip('/')}/schema.json")
    docs: dict[str, str] = {}
    for item in _json(f"{url.rstrip('/')}/docs.json").get("paths", {}).values():
        call = item.get("post", {}) if isinstance(item, dict) else {}
        if "x-bentoml-name" in call:
            docs[str(call["x-bentoml-name"])] = str(call.get("description") or "")
    return schema, docs


def _json(url: str) -> dict[str, Any]:
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as response:
            found = json.loads(response.read())
    except urllib.error.HTTPError as error:
        raise SpecError(
            f"{url} answered {error.code}",
            hint=_NO_SERVICE if error.code != 503 else "the service is not ready yet: ask again",
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise PlatformError(f"cannot read {url}: {reason}", hint="is the service running there?") from error
    if not isinstance(found, dict):
        raise SpecError(f"expected an object at {url}, found a {type(found).__name__}")
    return found

"""``tiffin check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tiffin import dialects
from tiffin.cli import output
from tiffin.dialects.dependencies import ALL
from tiffin.plan.objects import Source
from tiffin.spec import ContainerSource, Deployment, ModelSource


def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE|DIR...", help="Deployment files, or directories.")],
    domain: Annotated[str, typer.Option(help="What host names of deployments end in.")] = "example.com",
    as_json: Annotated[bool, typer.Option("--json", help="Print the deployments and warnings as JSON.")] = False,
) -> None:
    """Read deployment files and say what they mean; start nothing.

    No artefact is fetched and no code imported: what a BentoML service says in its decorator is not in here.
    """
    read, _ = dialects.read_all([Source(path=str(path)) for path in files], domain=domain)
    deployments, shared = dialects.combine(deployment for deployment, _ in read)
    if as_json:
        from tiffin.local.api.hiding import hidden

        shown = [hidden(deployment) for deployment in deployments]
        output.data({"deployments": shown, "warnings": _warnings(deployments, shared)})
        return
    for deployment in deployments:
        print(_text(deployment))
    for warning in _warnings(deployments, shared):
        output.warn(f"{warning['file']}{': ' if warning['file'] else ''}{warning['path']}: {warning['message']}")


def _warnings(deployments: list[Deployment], shared: list[Any]) -> list[dict[str, str]]:
    own = [(deployment.file, warning) for deployment in deployments for warning in deployment.warnings]
    return [
        {"file": file, "path": warning.path, "message": warning.message}
        for file, warning in [*own, *(("", warning) for warning in shared)]
    ]


def _text(deployment: Deployment) -> str:
    lines = [f"{deployment.key}  ({deployment.file}), called by {deployment.protocol}"]
    for component in deployment.components:
        source = component.source
        match source:
            case ModelSource():
                kind, place = f"{source.format or 'saved'} model", source.artefact.uri
            case ContainerSource():
                kind, place = "container", source.image
            case _ if component.is_dependency:
                # Which class it is says the module, once it was imported.
                kind, place = "a service that others depend on, code", source.artefact.uri
            case _:
                kind, place = f"code {source.target}", source.artefact.uri
        replicas = "1 replica" if component.replicas == 1 else f"{component.replicas} replicas"
        lines.append(f"  {component.name}: {kind.strip()} from {place}, {replicas}")
        if ALL in component.dependencies:
            lines.append("  each service that it depends on: a component of its own")
    for route in deployment.routes:
        where = ", ".join(f"{host}{route.path}" for host in route.hosts) or route.path
        lines.append(f"  {where}{'' if route.exact or where.endswith('/') else '/...'}")
    return "\n".join(lines)

"""``tiffin up``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from tiffin.cli import output
from tiffin.cli.frame import CouldNotStart
from tiffin.errors import PlatformError, SpecError
from tiffin.kits import paths
from tiffin.kits.names import is_domain
from tiffin.local import up as local


def up(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE|DIR...]", help="Deployment files, or directories.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 lets the system choose.")
    ] = 8080,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="In the background; returns when it is ready.")
    ] = False,
    api: Annotated[
        str, typer.Option("--api", metavar="HOST:PORT", help="Serve the API here too, to those with the token.")
    ] = "",
    domain: Annotated[str, typer.Option(help="What host names of deployments end in.")] = "example.com",
    trust: Annotated[bool, typer.Option("--trust", help="Open models that could run any code.")] = False,
    dependencies: Annotated[
        str,
        typer.Option(metavar="separate|in-process", help="Whether services run apart from those they depend on."),
    ] = "in-process",
    as_json: Annotated[bool, typer.Option("--json", help="Print what is served as JSON, once it is.")] = False,
    report_to: Annotated[
        int, typer.Option("--report-fd", min=-1, help="Write the report as JSON to this file descriptor too.")
    ] = -1,
) -> int:
    """Run deployments here, behind one gateway, until Ctrl-C.

    Reads KServe, Seldon, BentoML and Tiffin files, directories of them, and saved models: these end with this
    command. What `tiffin apply` made desired runs too, and is started again by the next `tiffin up`.
    """
    if not is_domain(domain):
        raise SpecError(
            f"expected the end of host names, found {domain!r}", at="--domain", hint="for example a.com"
        )
    if dependencies not in ("separate", "in-process"):
        raise SpecError(f"expected separate or in-process, found {dependencies!r}", at="--dependencies")
    given = [Path(os.path.abspath(file)) for file in files or ()]
    for file, path in zip(files or (), given, strict=True):
        if not path.exists():
            raise SpecError("expected a file or directory, found nothing", place=str(file))
    if detach:
        from tiffin.cli import detached

        arguments = ["--host", host, "--port", str(port), "--domain", domain]
        arguments += ["--trust"] if trust else []
        arguments += ["--dependencies", dependencies]
        arguments += ["--api", api] if api else []
        return detached.start([*map(str, given), *arguments], lambda report: tell(report, as_json, detached=True))
    downloads = output.Downloads()
    ready = _ready(as_json, report_to)
    reporter = local.Reporter(output.say, output.warn, downloads.show, ready)
    settings = local.Settings(
        host=host,
        port=port,
        domain=domain,
        trust=trust,
        separate=dependencies == "separate",
        api=api,
        is_detached=report_to >= 0,
    )
    work = local.up(given, settings, paths.data_directory(), reporter)
    try:
        asyncio.run(work)
    except PlatformError as error:
        raise CouldNotStart from error
    finally:
        downloads.close()
    return 0


def _ready(as_json: bool, report_to: int) -> Callable[[local.Report], None]:
    def ready(report: local.Report) -> None:
        if report_to < 0:
            tell(report, as_json, detached=False)
            return
        import msgspec

        with os.fdopen(report_to, "wb") as file:
            file.write(msgspec.json.encode(report))

    return ready


def tell(report: local.Report, as_json: bool, *, detached: bool) -> None:
    """Print a report."""
    if as_json:
        output.data(report)
    else:
        show(report, detached=detached)


def show(report: local.Report, *, detached: bool = False) -> None:
    """Print a report for people: what answers where on stdout, what does not on stderr."""
    for key, error in report.errors.items():
        output.say(f"error: {key} could not be started: {error}")
        if key in report.hints:
            output.say(f"\nhint: {report.hints[key]}")
    for served in report.served:
        print(f"\n{served.deployment}  ({served.file})")
        for url in served.main_urls:
            print(f"  {url}")
        if served.curl:
            print(f"\n  {served.curl}")
            if not served.curl_is_complete:
                print("  (its form is right; the values are yours to fill in)")
    if report.served:
        print(flush=True)
    else:
        output.say("nothing is served yet: `tiffin apply -f FILE` says what should be")
    ending = "`tiffin down` stops it" if detached else "Ctrl-C stops it"
    output.say(f"serving on {report.gateway}; logs are in {report.logs}; {ending}")

"""``tiffin up``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from tiffin.cli import output
from tiffin.cli.frame import CouldNotStart
from tiffin.errors import PlatformError
from tiffin.kits import paths
from tiffin.local import preparing
from tiffin.local import up as local


def up(
    files: Annotated[list[Path], typer.Argument(metavar="FILE|DIR...", help="Deployment files, or directories.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 lets the system choose.")
    ] = 8080,
    domain: Annotated[str, typer.Option(help="What host names of deployments end in.")] = "example.com",
    trust: Annotated[bool, typer.Option("--trust", help="Open models that could run any code.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what is served as JSON, once it is.")] = False,
) -> None:
    """Run deployment files here, behind one gateway, until Ctrl-C.

    Reads KServe, Seldon, BentoML and Tiffin files, directories of them, and saved models.
    """
    downloads = output.Downloads()
    reporter = local.Reporter(output.say, output.warn, downloads.show, output.data if as_json else show)
    settings = preparing.Settings(domain=domain, trust=trust)
    work = local.up(files, settings, paths.data_directory(), reporter, host=host, port=port)
    try:
        asyncio.run(work)
    except PlatformError as error:
        raise CouldNotStart from error
    finally:
        downloads.close()


def show(report: local.Report) -> None:
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
    print(flush=True)
    output.say(f"serving on {report.gateway}; logs are in {report.logs}; Ctrl-C stops it")

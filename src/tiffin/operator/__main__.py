"""``python -m tiffin.operator``: the controller of a cluster.

--namespace NAME     where it runs itself, its Lease and its settings are; that of the pod, or tiffin-system
--watch NAMESPACE    look after this namespace only; may be repeated
--kubeconfig FILE    the cluster; the one this runs in, or KUBECONFIG, where none is named
--context NAME       of the kubeconfig
--no-election        lead without a Lease: for one process that is alone
--lease-seconds N    how long others wait before they lead in its place; it is renewed three times as often
--webhook-port PORT  answer the API server's reviews of objects there, over HTTPS; not at all by default
--host, --port       where /metrics, /healthz and /readyz are; port 0 lets the system choose
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

from tiffin.errors import TiffinError
from tiffin.kits import logs
from tiffin.kube import client
from tiffin.kube.client import ApiError
from tiffin.kube.settings import NAMESPACE, Settings
from tiffin.operator import running
from tiffin.operator.election import LEASE_SECONDS, RETRY_SECONDS, Election, LostLease
from tiffin.operator.running import Operator

log = logging.getLogger("tiffin.operator")

FAILED, COULD_NOT_START = 1, 3
_OWN = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def main(arguments: list[str]) -> int:
    """Run until SIGTERM or SIGINT; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tiffin.operator", allow_abbrev=False)
    parser.add_argument("--namespace", default="")
    parser.add_argument("--watch", action="append", default=[])
    parser.add_argument("--kubeconfig", default="")
    parser.add_argument("--context", default="")
    parser.add_argument("--no-election", action="store_true")
    parser.add_argument("--lease-seconds", type=int, default=LEASE_SECONDS)
    parser.add_argument("--webhook-port", type=int, default=None)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8081)
    options = parser.parse_args(arguments)
    if options.lease_seconds < 3 * RETRY_SECONDS:
        parser.error(f"--lease-seconds: expected at least {3 * RETRY_SECONDS:g}, found {options.lease_seconds}")
    logs.install(os.environ.get("TIFFIN_LOG_LEVEL", "INFO").upper())
    for noisy in ("httpx2", "httpcore2"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        return asyncio.run(_run(options))
    except LostLease as error:
        log.error("%s; this process ends, and whoever started it may start it again", error)
        return FAILED
    except (TiffinError, OSError) as error:
        hint = getattr(error, "hint", None)
        log.error("could not start: %s%s", error, f"\nhint: {hint}" if hint else "")
        return COULD_NOT_START


async def _run(options: argparse.Namespace) -> int:
    from tiffin.operator import pages

    namespace = options.namespace or _namespace()
    async with client.connect(kubeconfig=options.kubeconfig, context=options.context) as api:
        settings = await _settings(api, namespace, tuple(options.watch))
        operator = Operator(api, settings)
        seconds = options.lease_seconds
        election = None if options.no_election else Election(api, namespace, _name(), seconds=seconds)
        application = pages.application(api, operator, lambda: election is None or election.is_leader)
        runner, port = await pages.serve(application, options.host, options.port)
        log.info("metrics and health at http://%s:%d", options.host, port)
        try:
            async with _webhook(api, operator, options):
                await _until_told(operator.run() if election is None else election.run(operator.run))
        finally:
            await runner.cleanup()
            if election is not None:
                await election.release()
    return 0


@contextlib.asynccontextmanager
async def _webhook(api: client.Api, operator: Operator, options: argparse.Namespace) -> AsyncIterator[None]:
    """The webhook, where one is asked for. One that does not lead takes every object: it knows too little."""
    if options.webhook_port is None:
        yield
        return
    from tiffin.operator.webhook import serving

    namespace = operator.settings.namespace
    async with serving.running(api, namespace, operator.read, options.host, options.webhook_port) as port:
        log.info("the webhook is at https://%s:%d", options.host, port)
        yield


async def _until_told(work: Coroutine[Any, Any, None]) -> None:
    """Run it until it ends or a signal comes."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    working = asyncio.ensure_future(work)
    waiting = asyncio.ensure_future(told.wait())
    await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if working.done():
        working.result()
        return
    log.info("ending")
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working


async def _settings(api: client.Api, namespace: str, watched: tuple[str, ...]) -> Settings:
    """The settings, however long it takes until the API server answers."""
    pause = 0.5
    while True:
        try:
            return await running.read_settings(api, namespace, watched)
        except ApiError as error:
            if error.status == 403:
                raise
            log.warning("the settings cannot be read yet: %s", error)
        await asyncio.sleep(pause)
        pause = min(2 * pause, 15.0)


def _name() -> str:
    """Whom the Lease names. A container that starts again in its pod takes over from itself: it has one name."""
    host = os.environ.get("HOSTNAME") or socket.gethostname()
    return host if _OWN.exists() else f"{host}_{secrets.token_hex(4)}"


def _namespace() -> str:
    try:
        return _OWN.read_text().strip() or NAMESPACE
    except OSError:
        return NAMESPACE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""``python -m tiffin.operator.activator``: one activator, until it is told to stop by SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import logging
import resource
import signal
import sys
from collections.abc import Callable

from tiffin.errors import TiffinError
from tiffin.kube.client import connect
from tiffin.operator.activator import pages as own_pages
from tiffin.operator.activator.asking import Asking
from tiffin.operator.activator.following import Asker, Following
from tiffin.operator.activator.holder import Holder, Settings
from tiffin.operator.activator.pages import Pages, metrics

LEAVE_SECONDS = 5.0
"""How long connections are still taken after SIGTERM, until every node has heard that they go elsewhere."""


def main(arguments: list[str] | None = None) -> int:
    """The exit code."""
    usual = Settings()
    parser = argparse.ArgumentParser(prog="python -m tiffin.operator.activator", description=__doc__)
    parser.add_argument("--namespace", action="append", default=[], help="look after this one (default: all)")
    parser.add_argument("--kubeconfig", default="")
    parser.add_argument("--context", default="")
    parser.add_argument("--host", default="", help="listen on this address only")
    parser.add_argument("--pages-port", type=int, default=own_pages.PORT, help="of /metrics, /healthz and /readyz")
    parser.add_argument("--seconds", type=float, default=usual.seconds, help="a call waits at most so long")
    parser.add_argument("--most", type=int, default=usual.most, help="calls that wait for one Service's port")
    parser.add_argument("--most-in-all", type=int, default=usual.most_in_all)
    parser.add_argument("--leave-seconds", type=float, default=LEAVE_SECONDS)
    parser.add_argument("--grace-seconds", type=float, default=usual.grace_seconds)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for noisy in ("httpx", "httpx2", "httpcore", "httpcore2"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    settings = Settings(
        host=given.host,
        most=given.most,
        most_in_all=given.most_in_all,
        seconds=given.seconds,
        grace_seconds=given.grace_seconds,
    )
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_run(given, settings))
    except TiffinError as error:
        print(f"activator: {error}" + (f"\n  {error.hint}" if error.hint else ""), file=sys.stderr)  # noqa: T201
        return 1
    return 0


async def _run(given: argparse.Namespace, settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, stop.set)
    async with connect(kubeconfig=given.kubeconfig, context=given.context) as api:
        asking = Asking(Asker(api))
        holder = Holder(asking, settings)
        following = Following(api, holder, tuple(given.namespace))

        def readiness() -> tuple[int, str]:
            if stop.is_set():
                return 503, "leaving\n"
            return (200, "ok\n") if following.is_complete else (503, "the cluster was not listed yet\n")

        pages = Pages(
            {
                "/metrics": lambda: (200, metrics(holder, asking)),
                "/healthz": lambda: (200, "ok\n"),
                "/readyz": readiness,
            }
        )
        port = await pages.start(given.host, given.pages_port)
        logging.getLogger(__name__).info("pages on port %d", port)
        follow = asyncio.create_task(following.run())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((follow, stopping), return_when=asyncio.FIRST_COMPLETED)
        if follow.done():
            stopping.cancel()
            await follow  # It never ends but by a defect, which is to be seen.
        await asyncio.wait((follow,), timeout=given.leave_seconds)
        await holder.close()
        follow.cancel()
        await asyncio.gather(follow, return_exceptions=True)
        await pages.close()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


if __name__ == "__main__":
    sys.exit(main())

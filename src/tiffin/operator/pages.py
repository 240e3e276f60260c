"""The operator's metrics and health over HTTP: ``/metrics``, ``/healthz``, ``/readyz``."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector

from tiffin.kube.client import Api
from tiffin.operator.running import Operator

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Collected:
    """Numbers of an operator, taken when they are asked for."""

    def __init__(self, api: Api, operator: Operator, is_leader: Callable[[], bool]) -> None:
        self._api = api
        self._operator = operator
        self._is_leader = is_leader

    def collect(self) -> Iterable[Metric]:
        """As ``prometheus_client`` wants them."""
        requests = CounterMetricFamily(
            "tiffin_operator_api_requests", "Requests to the API server.", labels=["kind"]
        )
        requests.add_metric(["read"], self._api.reads)
        requests.add_metric(["write"], self._api.writes)
        yield requests
        yield CounterMetricFamily(
            "tiffin_operator_reconciliations", "Looks at a deployment.", value=self._operator.looks
        )
        yield CounterMetricFamily(
            "tiffin_operator_failures", "Looks that failed and are repeated.", value=self._operator.failures
        )
        yield GaugeMetricFamily(
            "tiffin_operator_queue", "Deployments that wait to be looked at.", value=len(self._operator.queue)
        )
        yield GaugeMetricFamily(
            "tiffin_operator_deployments",
            "Deployments that are looked after.",
            value=len(self._operator.reconciler.looks),
        )
        yield GaugeMetricFamily(
            "tiffin_operator_leader", "Whether this process leads.", value=int(self._is_leader())
        )


def application(api: Api, operator: Operator, is_leader: Callable[[], bool]) -> web.Application:
    """The pages. One that does not lead is ready too: it waits for its turn."""
    registry = CollectorRegistry()
    registry.register(Collected(api, operator, is_leader))
    ProcessCollector(registry=registry)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"content-type": CONTENT_TYPE})

    async def healthy(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def ready(_: web.Request) -> web.Response:
        if operator.is_ready or not is_leader():
            return web.Response(text="ok")
        return web.Response(status=503, text="the cluster has not been listed yet")

    pages = web.Application()
    pages.add_routes([web.get("/metrics", metrics), web.get("/healthz", healthy), web.get("/readyz", ready)])
    return pages


async def serve(pages: web.Application, host: str, port: int) -> tuple[web.AppRunner, int]:
    """Serve them; the runner, to be cleaned up, and the port. Raises OSError when it is taken."""
    runner = web.AppRunner(pages, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    return runner, runner.addresses[0][1]

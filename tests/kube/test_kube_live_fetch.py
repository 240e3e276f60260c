"""How far a pod is with its model, as `kubectl describe pod` and `tiffin events` tell it, on a real node."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.kube import live_world as world

PIECES = 40
"""In which the model comes, one a second: longer than what nobody needs to be told of."""


class _Slow(http.server.BaseHTTPRequestHandler):
    """Sends the iris model as a slow network does."""

    gone = threading.Event()

    def do_HEAD(self) -> None:
        self._head(world.MODEL.stat().st_size)

    def do_GET(self) -> None:
        content = world.MODEL.read_bytes()
        self._head(len(content))
        piece = -(-len(content) // PIECES)
        with contextlib.suppress(OSError):
            for at in range(0, len(content), piece):
                self.wfile.write(content[at : at + piece])
                self.wfile.flush()
                if self.gone.wait(1.0):
                    return

    def _head(self, size: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        pass


@contextlib.contextmanager
def slow_server(address: str) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer((address, 0), _Slow)
    _Slow.gone.clear()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://{address}:{server.server_port}/model.joblib"
    finally:
        _Slow.gone.set()
        server.shutdown()
        thread.join()
        server.server_close()


def test_events_of_the_pod_say_how_far_it_is_and_that_it_came(live: Any, tmp_path: Path) -> None:
    with slow_server(live.address) as address:
        model = {"modelFormat": {"name": "sklearn"}, "storageUri": address}
        iris = {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": "slow"},
            "spec": {"predictor": {"model": model | {"resources": {"requests": {"cpu": "50m"}}}}},
        }
        live.cluster.kubectl("apply", "-n", "live", "-f", "-", given=json.dumps(iris))

        def told(reason: str) -> str:
            query = ("-n", "live", "--field-selector", f"involvedObject.kind=Pod,reason={reason}")
            found = (live.cluster.get("events", *query) or {"items": []})["items"]
            return found[0]["message"] if found else ""

        said = world.until(lambda: told("FetchingModel"), "how far it is", world.SECONDS)
        assert said.startswith(f"fetching {address}: ")
        assert said.endswith(" %)")
        live.cluster.kubectl("wait", "--for=condition=Ready", "isvc/slow", "-n", "live", "--timeout=110s")
        came = world.until(lambda: told("FetchedModel"), "that it came", world.SECONDS)
        assert came.startswith(f"{address} is at /mnt/models: ")
        pod = next(iter(live.pods("app=isvc.slow-predictor")))
        described = live.cluster.kubectl("describe", "pod", pod, "-n", "live").stdout
        assert "FetchingModel" in described
        listed = live.command("events", "slow", "--target", "kubernetes", home=tmp_path)
        assert f"Pod {pod}: fetching {address}" in listed.stdout, listed.stderr
        live.cluster.kubectl("delete", "isvc/slow", "-n", "live", "--timeout=60s")

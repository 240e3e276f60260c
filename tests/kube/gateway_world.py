"""A real gateway in front of a cluster without nodes: Contour, Envoy, and what plays the kubelet.

Contour reads routes, Services and EndpointSlices from the API server and tells Envoy. Pods get addresses of their
own on this machine's loopback device, of a range for measurements in closed networks (198.18.0.0/15, RFC 2544): an
API server takes no EndpointSlice with 127.0.0.1. Their programs run there: Tiffin's own as it is rendered, others
as an echo.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec

from tiffin.gateway import binary

RANGE = f"198.18.{os.getpid() % 256}."
HOW = "`make kube-peers` builds it (Go is needed; about five minutes of two cores)"


@contextlib.contextmanager
def addresses(first: int, count: int) -> Iterator[list[str]]:
    """Addresses of this machine that others may be told; raises OSError where they may not be added."""
    found = [f"{RANGE}{first + index}" for index in range(count)]
    try:
        for one in found:
            done = subprocess.run(["ip", "address", "replace", f"{one}/32", "dev", "lo"], capture_output=True)
            if done.returncode:
                raise OSError(done.stderr.decode(errors="replace").strip())
        yield found
    finally:
        for one in found:
            with contextlib.suppress(OSError):
                subprocess.run(["ip", "address", "delete", f"{one}/32", "dev", "lo"], capture_output=True)


class Echo:
    """The server of a pod that somebody wrote: answers with its name and what it was asked."""

    def __init__(self, pod: str, version: str, address: str, port: int) -> None:
        self.calls: list[str] = []
        self.version = version

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            echo = self

            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                if self.path == "/metrics":
                    count = f'tiffin_requests_total{{endpoint="/x"}} {len(self.echo.calls)}'
                    self.answer(f"{count}\ntiffin_in_flight 1\n".encode())  # the scrape itself
                    return
                self.echo.calls.append(self.path)
                if self.path.startswith("/slow"):
                    time.sleep(30)
                said = {
                    "pod": pod,
                    "version": version,
                    "path": self.path,
                    "headers": {key.lower(): value for key, value in self.headers.items()},
                }
                self.answer(json.dumps(said).encode())

            def answer(self, body: bytes) -> None:
                with contextlib.suppress(OSError):
                    self.send_response(200)
                    self.send_header("content-length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 512

        self._server = Server((address, port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Replica:
    """The server of a pod of Tiffin's own: the command that is rendered, with this machine's address and model."""

    def __init__(self, container: dict[str, Any], address: str, model: Path) -> None:
        said = [*container["command"], *container["args"]]
        said = [one.replace("0.0.0.0", address).replace("/mnt/models", str(model)) for one in said]
        self.calls: list[str] = []
        self._process = subprocess.Popen(said, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._url = f"http://{address}:{container['ports'][0]['containerPort']}/readyz"

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(self._url, timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)


class Kubelet(threading.Thread):
    """Gives each pod a node, an address, a server; says that it is ready; ends it when it is deleted."""

    def __init__(self, cluster: Any, namespace: str, given: list[str], model: Path) -> None:
        super().__init__(daemon=True)
        self.servers: dict[str, Echo | Replica] = {}
        self._cluster = cluster
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
        self._free = list(given)
        self._at: dict[str, str] = {}
        self._ready: set[str] = set()
        self._ends: dict[str, float] = {}
        self._model = model
        self._over = threading.Event()
        self.problem: BaseException | None = None
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "gatewayed"}}
        cluster.kubectl("apply", "-f", "-", given=json.dumps(node))

    def run(self) -> None:
        try:
            while not self._over.wait(0.2):
                self._look()
        except BaseException as error:
            self.problem = error
            raise

    def stop(self) -> None:
        self._over.set()
        self.join(60)
        for one in self.servers.values():
            one.stop()

    def _look(self) -> None:
        there = {one["metadata"]["name"]: one for one in ask(self._cluster, "GET", self._pods)["items"]}
        for name, pod in there.items():
            if pod["metadata"].get("deletionTimestamp"):
                self._end(name, pod)
            elif name not in self._at:
                self._begin(name, pod)
            elif name not in self._ready:
                server = self.servers.get(name)
                if not isinstance(server, Replica) or server.is_ready():
                    self._say_ready(name)
        for name in [name for name in self._at if name not in there]:
            self._free.append(self._at.pop(name))
            self._ready.discard(name)

    def _begin(self, name: str, pod: dict[str, Any]) -> None:
        container = pod["spec"]["containers"][0]
        labels = pod["metadata"].get("labels") or {}
        if labels.get("app.kubernetes.io/name") == "tiffin-activator":
            return
        self._at[name] = address = self._free.pop(0)
        if "tiffin.runtime" in (container.get("command") or ()):
            self.servers[name] = Replica(container, address, self._model)
        else:
            told = {one["name"]: one.get("value", "") for one in container.get("env") or ()}
            port = container["ports"][0]["containerPort"]
            self.servers[name] = Echo(name, told.get("VERSION", ""), address, port)
        target = {"apiVersion": "v1", "kind": "Node", "name": "gatewayed"}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
        ask(self._cluster, "POST", f"{self._pods}/{name}/binding", binding)

    def _say_ready(self, name: str) -> None:
        conditions = [{"type": one, "status": "True"} for one in ("Initialized", "ContainersReady", "Ready")]
        address = self._at[name]
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": conditions}
        ask(self._cluster, "PATCH", f"{self._pods}/{name}/status", {"status": status})
        self._ready.add(name)

    def _end(self, name: str, pod: dict[str, Any]) -> None:
        """As a kubelet: first the hook that is rendered, then the end of the program."""
        hook = ((pod["spec"]["containers"][0].get("lifecycle") or {}).get("preStop") or {}).get("sleep") or {}
        if time.monotonic() < self._ends.setdefault(name, time.monotonic() + float(hook.get("seconds", 0))):
            return
        server = self.servers.pop(name, None)
        if server is not None:
            server.stop()
        ask(self._cluster, "DELETE", f"{self._pods}/{name}", {"gracePeriodSeconds": 0})


def ask(cluster: Any, method: str, path: str, given: dict[str, Any] | None = None) -> dict[str, Any]:
    """One request to the API server; ``{}`` where it is not there."""
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    headers = {"Authorization": f"Bearer {cluster.token}", "Content-Type": kind}
    body = None if given is None else json.dumps(given).encode()
    request = urllib.request.Request(cluster.url + path, method=method, headers=headers, data=body)
    try:
        with urllib.request.urlopen(request, timeout=20, context=ssl._create_unverified_context()) as answer:
            return dict(json.loads(answer.read()))
    except urllib.error.HTTPError as error:
        if error.code in (404, 409):
            return {}
        raise AssertionError(f"{method} {path}: {error.read().decode()}") from error


class Gateway:
    """Contour and the Envoy it tells. ``is_plain``: no Gateway API, only Ingresses of the class ``contour``."""

    def __init__(
        self, cluster: Any, contour: Path, directory: Path, port_of: Callable[[], int], *, is_plain: bool = False
    ) -> None:
        self.port, self._xds = port_of(), port_of()
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        config = directory / "contour.json"
        reference = {"gateway": {"gatewayRef": {"name": "tiffin", "namespace": "default"}}}
        config.write_text(json.dumps({} if is_plain else reference))
        local, ports = "127.0.0.1", [str(port_of()) for _ in range(4)]
        serve = [str(contour), "serve", "--kubeconfig", str(cluster.kubeconfig), "--config-path", str(config)]
        serve += ["--insecure", "--xds-address", local, "--xds-port", str(self._xds), "--disable-leader-election"]
        serve += ["--http-address", local, "--http-port", ports[0], "--health-address", local]
        serve += ["--health-port", ports[1], "--debug-http-address", local, "--debug-http-port", ports[2]]
        serve += ["--stats-address", local, "--stats-port", ports[3], "--envoy-service-http-address", local]
        serve += ["--envoy-service-http-port", str(self.port), "--ingress-class-name", "contour"]
        bootstrap = directory / "envoy.json"
        made = [str(contour), "bootstrap", str(bootstrap), "--xds-address", local, "--xds-port", str(self._xds)]
        made += ["--admin-address", str(directory / "admin.sock")]
        subprocess.run(made, check=True, capture_output=True)
        front = [str(binary.find_binary()), "--config-path", str(bootstrap), "--disable-hot-restart"]
        front += ["--service-cluster", "default", "--service-node", "gateway", "--log-level", "warning"]
        self._processes = []
        for name, command in (("contour", serve), ("envoy", front)):
            with (directory / f"{name}.log").open("ab") as log:
                self._processes.append(subprocess.Popen(command, stdout=log, stderr=log))

    def objects(self) -> list[dict[str, Any]]:
        """The GatewayClass and the Gateway that routes attach to."""
        version = "gateway.networking.k8s.io/v1"
        # Contour's Envoy listens 8000 higher, for no container may have the ports that everybody knows.
        listener = {"name": "http", "port": self.port - 8000, "protocol": "HTTP"}
        listener["allowedRoutes"] = {"namespaces": {"from": "Same"}}
        spec = {"gatewayClassName": "contour", "listeners": [listener]}
        controller = {"controllerName": "projectcontour.io/gateway-controller"}
        return [
            {"apiVersion": version, "kind": "GatewayClass", "metadata": {"name": "contour"}, "spec": controller},
            {"apiVersion": version, "kind": "Gateway", "metadata": {"name": "tiffin"}, "spec": spec},
        ]

    def call(
        self, host: str, path: str = "/", given: object = None, seconds: float = 40.0, **headers: str
    ) -> tuple[int, Any]:
        """The status and the answer; 0 where there was none."""
        sent = {"host": host} | {name.replace("_", "-"): value for name, value in headers.items()}
        body = None if given is None else msgspec.json.encode(given)
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=body, headers=sent)
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        except OSError as error:
            return 0, str(error)
        with contextlib.suppress(ValueError):
            return status, json.loads(text)
        return status, text.decode(errors="replace")

    def log(self) -> str:
        files = sorted(self._directory.glob("*.log"))
        return "".join(f"\n--- {one.name}\n{one.read_text(errors='replace')[-3000:]}" for one in files)

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)

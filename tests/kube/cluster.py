"""A real Kubernetes API server for tests: etcd, kube-apiserver, and on demand what makes objects live.

Binaries come from ``KUBEBUILDER_ASSETS``, or from where ``make kube`` keeps them. Everything listens on
loopback, on ports that were free, in a directory that is gone afterwards; for pods of a real node the API server
listens on an address that they reach.

By hand: ``python tests/kube/cluster.py`` starts one with all parts, prints its KUBECONFIG, and stops at Ctrl-C.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_MODULE = (Path(__file__).parent / "servers" / "kubernetes" / "go.mod").read_text()
# Such as v1.35.4: what `make kube` builds.
VERSION = re.findall(r"^require k8s\.io/kubernetes (v\S+)", _MODULE, re.MULTILINE)[0]
NEEDED = ("etcd", "kube-apiserver", "kubectl")
START_SECONDS = 90.0
LOOPBACK = "127.0.0.1"
HOW = "`make kube` gets them (Go is needed), or set KUBEBUILDER_ASSETS to a directory that has them"


class Missing(Exception):
    """The binaries are not there; says how to get them."""


def home() -> Path:
    """Where `make kube` keeps what it built (``bin``) and the files of others (``shipped``)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tiffin" / "kube" / VERSION


def assets() -> Path:
    """Where the binaries are; raises Missing."""
    named = os.environ.get("KUBEBUILDER_ASSETS")
    directory = Path(named) if named else home() / "bin"
    if all(os.access(directory / name, os.X_OK) for name in NEEDED):
        return directory
    where = f"KUBEBUILDER_ASSETS={named}" if named else str(directory)
    raise Missing(f"{', '.join(NEEDED)} are not in {where}: {HOW}")


def program(name: str, binaries: Path) -> Path:
    """A program of ``binaries``, or of what `make kube` built: others have no kwok and no helm. Raises Missing."""
    installed = shutil.which(name) if name == "containerd" else None
    if installed:
        return Path(installed)
    for directory in (binaries, home() / "bin"):
        if os.access(directory / name, os.X_OK):
            return directory / name
    raise Missing(f"{name} is not in {binaries}: `make kube` builds it (Go is needed)")


def free_port(address: str = LOOPBACK) -> int:
    with socket.socket() as sock:
        sock.bind((address, 0))
        return int(sock.getsockname()[1])


class Cluster:
    """One control plane. ``kubeconfig`` is of a member of ``system:masters``."""

    def __init__(self, directory: Path, binaries: Path, address: str = LOOPBACK) -> None:
        self.directory = directory
        self.binaries = binaries
        self.port = free_port(address)
        self.address = address
        self.url = f"https://{address}:{self.port}"
        self.token = secrets.token_hex(16)
        self.kubeconfig = directory / "kubeconfig"
        self._etcd = (free_port(), free_port())
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def is_reached_by_pods(self) -> bool:
        """Whether it listens where pods of a real node reach it."""
        return self.address != LOOPBACK

    @property
    def etcd_url(self) -> str:
        """Where its etcd takes calls over HTTP."""
        return f"http://127.0.0.1:{self._etcd[0]}"

    # ---- life

    def start(self) -> None:
        (self.directory / "tokens.csv").write_text(f'{self.token},admin,admin,"system:masters"\n')
        key = self.directory / "sa.key"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        client, peer = self._etcd
        self.run(
            "etcd",
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{client}",
            f"--advertise-client-urls=http://127.0.0.1:{client}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster=default=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        )
        self._write_kubeconfig()
        self.start_server()

    def start_server(self) -> None:
        """Start the API server, also after ``stop_server``; returns when it is ready."""
        self.run(
            "kube-apiserver",
            f"--etcd-servers={self.etcd_url}",
            f"--secure-port={self.port}",
            f"--bind-address={self.address}",
            f"--advertise-address={self.address}",
            f"--cert-dir={self.directory / 'certificates'}",
            f"--token-auth-file={self.directory / 'tokens.csv'}",
            f"--service-account-key-file={self.directory / 'sa.key'}",
            f"--service-account-signing-key-file={self.directory / 'sa.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=RBAC",
            "--allow-privileged",
            # Pods that reach it find it at the Service `kubernetes`, and have tokens to ask with.
            *([] if self.is_reached_by_pods else ["--disable-admission-plugins=ServiceAccount"]),
            f"--endpoint-reconciler-type={'lease' if self.is_reached_by_pods else 'none'}",
            # A real node is named localhost: its kubelet listens on loopback alone.
            "--kubelet-preferred-address-types=Hostname",
        )
        self.until_ready()

    def stop_server(self) -> None:
        self.stop_part("kube-apiserver")

    def start_controllers(self) -> None:
        """What makes pods of Deployments and EndpointSlices of Services, and collects garbage."""
        self.run(
            "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig}",
            f"--service-account-private-key-file={self.directory / 'sa.key'}",
            # The server's own file has the authority that signed it, too.
            *([f"--root-ca-file={self.directory}/certificates/apiserver.crt"] if self.is_reached_by_pods else []),
            "--leader-elect=false",
            "--secure-port=0",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            "--concurrent-gc-syncs=20",
        )

    def start_scheduler(self) -> None:
        config = self.directory / "scheduler.yaml"
        config.write_text(
            "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"
            f"clientConnection: {{kubeconfig: {self.kubeconfig}, qps: 500, burst: 1000}}\n"
            "leaderElection: {leaderElect: false}\n"
        )
        self.run("kube-scheduler", f"--config={config}", "--secure-port=0")

    def start_kwok(self) -> None:
        """What plays the kubelet: nodes of ``add_nodes`` are Ready, and pods on them run and are Ready at once."""
        stages = home() / "shipped" / "kwok"
        if not stages.is_dir():
            raise Missing(f"what kwok plays is not in {stages}: {HOW}")
        self.run(
            "kwok",
            f"--kubeconfig={self.kubeconfig}",
            "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
            "--node-lease-duration-seconds=40",
            *[f"--config={file}" for file in sorted(stages.glob("*.yaml"))],
        )

    def add_nodes(self, count: int) -> None:
        """Nodes that are only played, with room for 1000 pods each. Returns when they are Ready."""
        room = {"cpu": "1000", "memory": "1000Gi", "pods": "1000", "ephemeral-storage": "1000Gi"}
        nodes = [
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": f"played-{index}", "annotations": {"kwok.x-k8s.io/node": "fake"}},
                "status": {"allocatable": room, "capacity": room},
            }
            for index in range(count)
        ]
        self.kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": nodes}))
        self.kubectl("wait", "--for=condition=Ready", "--timeout=60s", *[f"node/played-{i}" for i in range(count)])

    def add_kinds(self, name: str) -> None:
        """The CustomResourceDefinitions of gateway-api, keda, knative, prometheus-operator or cert-manager.

        Raises Missing.
        """
        directory = home() / "shipped" / name
        if not directory.is_dir():
            raise Missing(f"the kinds of {name} are not in {directory}: {HOW}")
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(directory))
        self.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(directory))

    def has(self, name: str) -> bool:
        try:
            return bool(program(name, self.binaries))
        except Missing:
            return False

    def is_running(self, name: str) -> bool:
        process = self._processes.get(name)
        return process is not None and process.poll() is None

    def run(self, name: str, *arguments: str) -> None:
        if self.is_running(name):
            return
        path = program(name, self.binaries)
        with (self.directory / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [path, *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def stop_part(self, name: str) -> None:
        process = self._processes.pop(name, None)
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)

    def stop(self) -> None:
        """End every part, the youngest first, and see it gone."""
        for name in reversed(list(self._processes)):
            self.stop_part(name)

    def log(self, name: str) -> str:
        path = self.directory / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    # ---- talking to it

    def until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            for name, process in self._processes.items():
                if process.poll() is not None:
                    raise RuntimeError(f"{name} ended:\n{self.log(name)[-3000:]}")
            with contextlib.suppress(OSError):
                if self.ask("/readyz") == "ok":
                    return
            time.sleep(0.1)
        raise RuntimeError(f"the API server is not ready:\n{self.log('kube-apiserver')[-3000:]}")

    def until(self, what: Callable[[], object], seconds: float, problem: str) -> None:
        """Ask again until it is true; raises RuntimeError with the ends of the logs of what ended."""
        deadline = time.monotonic() + seconds
        while not what():
            ended = [name for name, process in self._processes.items() if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                tails = "".join(f"\n--- {name}\n{self.log(name)[-3000:]}" for name in ended or self._processes)
                raise RuntimeError(f"{problem}; ended: {ended or 'nothing'}{tails}")
            time.sleep(0.2)

    def ask(self, path: str) -> str:
        """The text of a GET, as the administrator."""
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {self.token}"})
        context = ssl._create_unverified_context()
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            return answer.read().decode()

    def kubectl(
        self, *arguments: str, given: str = "", check: bool = True, seconds: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """The real kubectl; ``given`` is its standard input. Raises with what it said when it fails."""
        done = subprocess.run(
            [self.binaries / "kubectl", "--kubeconfig", self.kubeconfig, *arguments],
            input=given,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr or done.stdout}")
        return done

    def get(self, *arguments: str) -> Any:
        """``kubectl get ... -o json``; ``None`` when it is not there."""
        done = self.kubectl("get", *arguments, "-o", "json", "--ignore-not-found")
        return json.loads(done.stdout) if done.stdout.strip() else None

    @contextlib.contextmanager
    def namespace(self) -> Iterator[str]:
        """A namespace of its own, deleted afterwards without waiting."""
        name = f"t-{secrets.token_hex(4)}"
        self.kubectl("create", "namespace", name)
        try:
            yield name
        finally:
            self.kubectl("delete", "namespace", name, "--wait=false", check=False)

    def environment(self) -> dict[str, str]:
        """For a process that talks to it."""
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig)}

    def _write_kubeconfig(self) -> None:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url, "insecure-skip-tls-verify": True}}],
            "users": [{"name": "admin", "user": {"token": self.token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        }
        self.kubeconfig.write_text(json.dumps(config))
        self.kubeconfig.chmod(0o600)


@contextlib.contextmanager
def running(directory: Path | None = None, address: str = LOOPBACK) -> Iterator[Cluster]:
    """A cluster with nothing but its API, at an address of this machine; raises Missing."""
    binaries = assets()
    with tempfile.TemporaryDirectory(prefix="tiffin-kube-") as temporary:
        cluster = Cluster(directory or Path(temporary), binaries, address)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # through all that has to be stopped
    with running() as found:
        found.start_controllers()
        found.start_scheduler()
        print(f"export KUBECONFIG={found.kubeconfig}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()

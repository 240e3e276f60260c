"""A real node on this machine, joined to the API server of cluster.py: kubelet, kube-proxy, containerd, runc, CNI.

Pods run as they do anywhere: their images are imported, or pulled from a registry of this machine; their addresses
are of a bridge of this machine, so that it reaches them. Addresses of Services lead to pods, from pods and from
this machine, through rules of nftables. There is no DNS: pods are asked at addresses. Needs root, Debian's
containerd, runc, nftables and CNI plugins.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.kube.cluster import Cluster, Missing, free_port, program

NAME = "localhost"
PAUSE = "tiffin.dev/tests/pause:1"
BRIDGE = "tiffin0"
SUBNET, GATEWAY = "10.213.0.0/24", "10.213.0.1"
RULES = "kube-proxy"
"""The table of nftables that kube-proxy writes."""
PLUGINS = Path("/usr/lib/cni")
START_SECONDS = 120.0


def check() -> None:
    """Raises Missing where this machine can be no node, with what to install."""
    if os.geteuid() != 0:
        raise Missing("a node needs root: namespaces, cgroups and mounts are its work")
    for name in ("containerd", "ctr", "runc", "nft", "iptables", "ip", "sysctl"):
        if shutil.which(name) is None:
            raise Missing(f"{name} is not installed: `make system-packages`")
    for name in ("bridge", "host-local", "loopback"):
        if not (PLUGINS / name).exists():
            raise Missing(f"the CNI plugin {name} is not in {PLUGINS}: `make system-packages`")


class Node:
    """One node; its parts are processes of the cluster's table, so they end with it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.directory = cluster.directory / "node"
        self.socket = self.directory / "containerd.sock"

    def start(self) -> None:
        """Returns when the node is Ready; raises Missing."""
        check()
        self.directory.mkdir()
        self._start_containerd()
        self.load(_pause(program("pause", self.cluster.binaries), self.directory / "pause.tar"))
        self._start_proxy()
        self._start_kubelet()
        self.cluster.until(self._is_ready, START_SECONDS, "the node is not Ready")

    def ctr(self, *arguments: str) -> str:
        """What containerd's own client says; raises with what it said when it fails."""
        command = ["ctr", "--address", str(self.socket), "--namespace", "k8s.io", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if done.returncode:
            raise AssertionError(f"{' '.join(command)}: {done.stderr}")
        return done.stdout

    def load(self, archive: Path) -> None:
        """Import a `docker save` archive."""
        self.ctr("images", "import", str(archive))
        with tarfile.open(archive) as opened:
            member = opened.extractfile("manifest.json")
            assert member is not None
            names = [name for image in json.loads(member.read()) for name in image["RepoTags"]]
        for name in names:
            # The kubelet asks for the full name of what has no host in its name.
            if "." not in name.split("/")[0]:
                self.ctr("images", "tag", "--force", name, f"docker.io/{name}")

    def trust(self, registry: str) -> None:
        """Let it pull from a registry (``host:port``) in plain HTTP; also while it runs."""
        directory = self.directory / "registries" / registry
        directory.mkdir(parents=True)
        (directory / "hosts.toml").write_text(
            f'server = "http://{registry}"\n[host."http://{registry}"]\ncapabilities = ["pull", "resolve"]\n'
        )

    def stop(self) -> None:
        """End pods, then the parts; take down what they left in the kernel."""
        self.cluster.stop_part("kubelet")
        if self.cluster.is_running("containerd"):
            with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
                for task in self.ctr("tasks", "list", "-q").split():
                    self.ctr("tasks", "kill", "--signal", "SIGKILL", task)
                deadline = time.monotonic() + 20
                while "RUNNING" in self.ctr("tasks", "list") and time.monotonic() < deadline:
                    time.sleep(0.2)
                for task in self.ctr("tasks", "list", "-q").split():
                    self.ctr("tasks", "delete", task)
        self.cluster.stop_part("containerd")
        self.cluster.stop_part("kube-proxy")
        for family in ("ip", "ip6"):
            subprocess.run(["nft", "delete", "table", family, RULES], check=False, capture_output=True)
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in reversed([each for each in mounts if each.startswith(str(self.directory))]):
            subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)
        for group in [Path("/sys/fs/cgroup/k8s.io"), *Path("/sys/fs/cgroup").glob("*/k8s.io")]:
            # containerd makes it for pods, and leaves it; one with pods of another node is not empty.
            with contextlib.suppress(OSError):
                group.rmdir()

    # ---- parts

    def _start_containerd(self) -> None:
        network = self.directory / "cni"
        network.mkdir()
        bridge = {
            "type": "bridge",
            "bridge": BRIDGE,
            "isGateway": True,
            "ipMasq": False,
            "hairpinMode": True,  # a pod may be sent to itself by a Service
            "ipam": {
                "type": "host-local",
                "dataDir": str(self.directory / "addresses"),
                "ranges": [[{"subnet": SUBNET, "gateway": GATEWAY}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
        listed = {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]}
        (network / "10-pods.conflist").write_text(json.dumps(listed))
        config = self.directory / "containerd.toml"
        # A sandbox may be forbidden to lower scores of the OOM killer: restrict_oom_score_adj.
        config.write_text(f"""
version = 2
root = "{self.directory}/containerd"
state = "{self.directory}/state"
[grpc]
  address = "{self.socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{self.directory}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{PLUGINS}"
    conf_dir = "{network}"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{self.directory}/registries"
""")
        self.cluster.run("containerd", "--config", str(config))

        def answers() -> bool:
            with contextlib.suppress(AssertionError):
                return bool(self.ctr("version"))
            return False

        self.cluster.until(answers, START_SECONDS, "containerd does not answer")

    def _start_proxy(self) -> None:
        config = self.directory / "proxy.json"
        settings = {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": str(self.cluster.kubeconfig)},
            "mode": "nftables",
            "hostnameOverride": NAME,
            # Pods of one bridge answer each other directly; what was sent to a Service has to come back its way.
            "nftables": {"masqueradeAll": True},
            "bindAddress": "127.0.0.1",
            "healthzBindAddress": f"127.0.0.1:{free_port()}",
            "metricsBindAddress": f"127.0.0.1:{free_port()}",
            # Kernel settings of this machine stay as they are.
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        }
        config.write_text(json.dumps(settings))
        self.cluster.run("kube-proxy", f"--config={config}")

    def _start_kubelet(self) -> None:
        config = self.directory / "kubelet.json"
        settings = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            # Its API listens on loopback alone, for the API server of this machine.
            "address": "127.0.0.1",
            "port": free_port(),
            "readOnlyPort": 0,
            "healthzPort": 0,
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "cgroupDriver": "cgroupfs",
            "cgroupsPerQOS": False,
            "enforceNodeAllocatable": [],
            "failSwapOn": False,
            "failCgroupV1": False,
            "localStorageCapacityIsolation": False,
            "evictionHard": {"memory.available": "50Mi"},
            "containerRuntimeEndpoint": f"unix://{self.socket}",
            "podLogsDir": str(self.directory / "logs"),
            "volumePluginDir": str(self.directory / "plugins"),
            "resolvConf": "/etc/resolv.conf",
            "syncFrequency": "5s",
            # Where the machine is a container itself, kernel settings are not the kubelet's to write.
            "featureGates": {"KubeletInUserNamespace": True},
        }
        config.write_text(json.dumps(settings))
        self.cluster.run(
            "kubelet",
            f"--config={config}",
            f"--kubeconfig={self.cluster.kubeconfig}",
            f"--root-dir={self.directory / 'kubelet'}",
            f"--cert-dir={self.directory / 'certificates'}",
            f"--hostname-override={NAME}",
        )

    def _is_ready(self) -> bool:
        node = self.cluster.get("node", NAME) or {}
        conditions = node.get("status", {}).get("conditions", [])
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _pause(binary: Path, target: Path) -> Path:
    """An archive of one image with one program, as `docker save` writes it."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        info = tarfile.TarInfo("pause")
        info.size, info.mode = binary.stat().st_size, 0o755
        archive.addfile(info, io.BytesIO(binary.read_bytes()))
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    image = {
        "architecture": "arm64" if os.uname().machine == "aarch64" else "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [PAUSE], "Layers": ["layer.tar"]}]
    members = {
        "config.json": json.dumps(image).encode(),
        "layer.tar": layer.getvalue(),
        "manifest.json": json.dumps(manifest).encode(),
    }
    with tarfile.open(target, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return target


@contextlib.contextmanager
def bridge() -> Iterator[str]:
    """The bridge of the pods; gives this machine's address on it, where an API server has to listen to be reached.

    Raises Missing.
    """
    check()

    def leave() -> None:
        for side in ("-i", "-o"):
            subprocess.run(["iptables", "-D", "FORWARD", side, BRIDGE, "-j", "ACCEPT"], capture_output=True)
        subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True)

    leave()  # what a run that was killed left
    try:
        for words in (
            f"ip link add {BRIDGE} type bridge",
            f"ip address add {GATEWAY}/{SUBNET.rpartition('/')[2]} dev {BRIDGE}",
            f"ip link set {BRIDGE} up",
            "sysctl -q -w net.ipv4.ip_forward=1",
            # Where Docker was, nothing is forwarded that nobody allows, from pod to pod neither.
            f"iptables -I FORWARD -i {BRIDGE} -j ACCEPT",
            f"iptables -I FORWARD -o {BRIDGE} -j ACCEPT",
        ):
            done = subprocess.run(words.split(), capture_output=True, text=True)
            if done.returncode:
                raise Missing(f"a bridge for pods cannot be made: {words}: {done.stderr.strip()}")
        yield GATEWAY
    finally:
        leave()


@contextlib.contextmanager
def joined(cluster: Cluster) -> Iterator[Node]:
    """A node of that cluster, with what makes pods live; raises Missing."""
    node = Node(cluster)
    cluster.start_controllers()
    cluster.start_scheduler()
    try:
        node.start()
        yield node
    finally:
        node.stop()

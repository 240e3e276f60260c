"""Build the servers that tests/kube uses, and fetch the kinds of other projects: what `make kube` does.

Everything comes as a Go module at a pinned version with a pinned checksum: programs from the modules beside this
file (one each where versions clash), files from what shipped.json names. Results are kept outside the checkout;
what is there already is not built again. Standard library only, so that any Python runs it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
# Module folder, package, program; the smallest set that tests need comes first.
PROGRAMS = (
    ("etcd", "go.etcd.io/etcd/server/v3", "etcd"),
    ("kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver", "kube-apiserver"),
    ("kubernetes", "k8s.io/kubernetes/cmd/kubectl", "kubectl"),
    ("kubernetes", "k8s.io/kubernetes/cmd/kube-controller-manager", "kube-controller-manager"),
    ("kubernetes", "k8s.io/kubernetes/cmd/kube-scheduler", "kube-scheduler"),
    ("kwok", "sigs.k8s.io/kwok/cmd/kwok", "kwok"),
    ("helm", "helm.sh/helm/v3/cmd/helm", "helm"),
    ("kubernetes", "k8s.io/kubernetes/cmd/kubelet", "kubelet"),
    ("pause", "tiffin.dev/tests/pause", "pause"),
    ("proxy", "k8s.io/kubernetes/cmd/kube-proxy", "kube-proxy"),
)
# Systems that others run beside Tiffin, which some tests ask: what `make kube-peers` adds.
PEERS = (("contour", "github.com/projectcontour/contour/cmd/contour", "contour"),)
NO_GO = """error: the servers of the Kubernetes tests are built with Go, and there is no go command
hint: install Go 1.26 or newer (https://go.dev/doc/install), or have setup-envtest fetch them and set
      KUBEBUILDER_ASSETS to where they are; without either, `make test` skips those tests"""


def kubernetes_version() -> str:
    """The release of Kubernetes that is built, such as ``v1.35.4``."""
    found = re.search(r"^require k8s\.io/kubernetes (v\S+)", (HERE / "kubernetes" / "go.mod").read_text(), re.M)
    assert found is not None
    return found[1]


def home() -> Path:
    """Where results are kept: ``bin/`` and ``shipped/`` are inside."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "tiffin" / "kube" / kubernetes_version()


def stamped(module: str) -> str:
    """The linker's flags: servers say which release they are, and carry no symbols of debuggers."""
    flags = "-s -w"
    if module in ("kubernetes", "proxy"):
        version = kubernetes_version()
        major, minor = version[1:].split(".")[:2]
        for name, value in (("gitVersion", version), ("gitMajor", major), ("gitMinor", minor)):
            flags += f" -X k8s.io/component-base/version.{name}={value}"
    return flags


def mark(module: str, package: str) -> str:
    """What a program was built from; another value means that it is built anew."""
    read = hashlib.sha256()
    for file in sorted((HERE / module).iterdir()):
        read.update(file.name.encode() + file.read_bytes())
    read.update(f"{package} {stamped(module)}".encode())
    return read.hexdigest()


def build(go: str, module: str, package: str, name: str, into: Path) -> None:
    made, note = into / name, into / f".{name}.built-from"
    wanted = mark(module, package)
    if made.exists() and note.exists() and note.read_text() == wanted:
        return
    print(f"building {name} ({package})", flush=True)
    began = time.monotonic()
    unfinished = into / f".{name}.unfinished"
    subprocess.run(
        [go, "build", "-buildvcs=false", f"-ldflags={stamped(module)}", "-o", unfinished, package],
        cwd=HERE / module,
        env={**os.environ, "GOFLAGS": "-mod=readonly", "GOWORK": "off"},
        check=True,
    )
    note.unlink(missing_ok=True)
    unfinished.replace(made)
    note.write_text(wanted)
    size = made.stat().st_size / 1e6
    print(f"  {name}: {size:.0f} MB in {time.monotonic() - began:.0f} s", flush=True)


def fetch(go: str, shipped: dict[str, Any], into: Path) -> None:
    """Copy the files that one module ships, such as the definitions of its kinds."""
    target, wanted = into / shipped["name"], json.dumps(shipped)
    note = target / ".fetched"
    if note.exists() and note.read_text() == wanted:
        return
    print(f"fetching the files of {shipped['name']} {shipped['version']}", flush=True)
    asked = f"{shipped['module']}@{shipped['version']}"
    # From an empty directory, because a module nearby would be asked for its own requirements.
    into.mkdir(parents=True, exist_ok=True)
    done = subprocess.run([go, "mod", "download", "-json", asked], cwd=into, check=False, capture_output=True)
    answer = json.loads(done.stdout or b"{}")
    if done.returncode or answer.get("Sum") != shipped["sum"]:
        problem = answer.get("Error") or done.stderr.decode() or f"its checksum is {answer.get('Sum')}"
        sys.exit(f"error: {asked} could not be had as pinned in shipped.json: {problem}")
    files = [file for glob in shipped["files"] for file in sorted(Path(answer["Dir"]).glob(glob))]
    if not files:
        sys.exit(f"error: {asked} has no {shipped['files']}")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for file in files:
        # Modules are read-only, their files too; copies are not.
        (target / file.name).write_bytes(file.read_bytes())
    note.write_text(wanted)


def main() -> None:
    names = ", ".join(name for *_, name in (*PROGRAMS, *PEERS))
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("program", nargs="*", help=f"only these: {names}")
    options.add_argument("--if-go", action="store_true", help="do nothing where there is no Go")
    options.add_argument("--peers", action="store_true", help="also " + ", ".join(name for *_, name in PEERS))
    chosen = options.parse_args()
    if unknown := set(chosen.program) - {name for *_, name in (*PROGRAMS, *PEERS)}:
        options.error(f"no such program: {', '.join(sorted(unknown))}")
    go = shutil.which("go")
    if go is None:
        if chosen.if_go:
            print("no Go here: the tests that need a Kubernetes API server are skipped")
            return
        sys.exit(NO_GO)
    into = home() / "bin"
    into.mkdir(parents=True, exist_ok=True)
    for shipped in json.loads((HERE / "shipped.json").read_text()):
        # Of a peer, its module is what is built: it is asked for with its program.
        if not shipped.get("peer") or chosen.peers or shipped["peer"] in chosen.program:
            fetch(go, shipped, home() / "shipped")
    for module, package, name in (*PROGRAMS, *PEERS):
        is_wanted = (module, package, name) in PROGRAMS or chosen.peers
        if name in chosen.program or (is_wanted and not chosen.program):
            try:
                build(go, module, package, name, into)
            except subprocess.CalledProcessError as error:
                sys.exit(f"error: {name} could not be built: go build ended with {error.returncode}")
    print(f"Kubernetes {kubernetes_version()} for tests is in {into}")


if __name__ == "__main__":
    main()

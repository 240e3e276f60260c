"""An image of a scikit-learn service: written by Tiffin, and built by docker from a Dockerfile, on one base.

    python bench/images.py --base HOST:PORT/base:1 --engine-base HOST:PORT/base:1 --registry HOST:PORT

The base has to be the same for both, and docker has to have it already. Writes ``build/bench-images.json`` and
prints a table. Every build is timed once: seconds depend on disk and network.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
SERVICE = """
import numpy as np
import tiffin
from sklearn.linear_model import LogisticRegression


@tiffin.service
class Iris:
    def __init__(self) -> None:
        self.model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])

    @tiffin.api
    def classify(self, rows: np.ndarray) -> np.ndarray:
        return self.model.predict(rows)
"""


def tiffin(*words: str, home: Path) -> tuple[float, str]:
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tiffin", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TIFFIN_HOME": str(home)},
    )
    if done.returncode != 0:
        raise SystemExit(f"tiffin {' '.join(words)}: {done.stderr}")
    return time.monotonic() - begun, done.stdout


def bundle(project: Path, tag: str, home: Path, note: str = "") -> None:
    (project / "service.py").write_text(SERVICE + note)
    (project / "requirements.txt").write_text("numpy\nscikit-learn\n")
    tiffin("build", "-t", tag, str(project), home=home)


def directly(base: str, registry: str, place: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    home, project = place / "home", place / "project"
    project.mkdir()
    bundle(project, "iris:1", home)
    words = ("--base", base, "--json")
    target = ("-t", f"{registry}/bench/iris:1", "--push") if registry else ()
    found["first build" + (", pushed" if target else "")], text = tiffin(
        "image", "iris:1", *words, *target, home=home
    )
    made = json.loads(text)
    found["compressed bytes"] = made["images"][0]["size"]
    if target:
        found["bytes sent at first"] = made["pushed"]["moved"]
    found["again, nothing changed"], _ = tiffin("image", "iris:1", *words, home=home)
    bundle(project, "iris:2", home, "\n# one line more\n")
    seconds, text = tiffin("image", "iris:2", *words, *target, home=home)
    found["build after one line" + (", pushed" if target else "")] = seconds
    if target:
        found["bytes sent after one line"] = json.loads(text)["pushed"]["moved"]
    return found


def with_docker(base: str, registry: str, options: list[str], place: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    home, project = place / "home-docker", place / "project-docker"
    project.mkdir()
    bundle(project, "iris:1", home)
    extra = [word for option in options for word in ("--opt", option)]
    words = ("--builder", "docker", "--base", base, *extra)
    name = f"{registry or 'localhost'}/bench/iris-docker"
    subprocess.run(["docker", "rmi", "--force", f"{name}:1", f"{name}:2"], capture_output=True, check=False)
    seconds, _ = tiffin("image", "iris:1", "-t", f"{name}:1", "--opt", "no-cache", *words, home=home)
    begun = time.monotonic()
    if registry:
        found["bytes sent at first"] = pushed(f"{name}:1", registry)
        seconds += time.monotonic() - begun
    found["first build" + (", pushed" if registry else "")] = seconds
    found["again, nothing changed"], _ = tiffin("image", "iris:1", "-t", f"{name}:1", *words, home=home)
    bundle(project, "iris:2", home, "\n# one line more\n")
    seconds, _ = tiffin("image", "iris:2", "-t", f"{name}:2", *words, home=home)
    begun = time.monotonic()
    if registry:
        found["bytes sent after one line"] = pushed(f"{name}:2", registry)
        seconds += time.monotonic() - begun
    found["build after one line" + (", pushed" if registry else "")] = seconds
    found["compressed bytes"] = sum(manifest(f"{name}:1").values()) if registry else 0
    return found


def manifest(name: str) -> dict[str, int]:
    """Layers and their bytes, as the registry has them."""
    said = subprocess.run(
        ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}"], capture_output=True, check=False
    )
    if said.returncode != 0:
        return {}
    held = json.loads(said.stdout)
    return {one["digest"]: one["size"] for one in (*held["layers"], held["config"])}


def pushed(name: str, registry: str) -> int:
    """Push, and the bytes of layers the registry did not have under the names of this benchmark."""
    repository = name.rpartition(":")[0]
    known = {digest for tag in ("1", "2") for digest in manifest(f"{repository}:{tag}")}
    done = subprocess.run(["docker", "push", name], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return sum(size for digest, size in manifest(name).items() if digest not in known)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--base", required=True, help="as tiffin image --base")
    options.add_argument(
        "--engine-base", default="", help="the same base as docker names it; docker is left out without"
    )
    options.add_argument("--registry", default="", help="HOST:PORT to push to, without a password")
    options.add_argument("--opt", action="append", default=[], help="for docker build, for example network=host")
    chosen = options.parse_args()
    rows: dict[str, dict[str, float]] = {}
    place = Path(tempfile.mkdtemp(prefix="tiffin-bench-"))
    try:
        rows["tiffin image"] = directly(chosen.base, chosen.registry, place)
        if chosen.engine_base:
            rows["docker build"] = with_docker(chosen.engine_base, chosen.registry, chosen.opt, place)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / "bench-images.json").write_text(json.dumps(rows, indent=1))
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    print("| |", " | ".join(rows), "|\n|---|" + "---|" * len(rows))
    for name in names:
        cells = [shown(name, row.get(name)) for row in rows.values()]
        print(f"| {name} |", " | ".join(cells), "|")


def shown(name: str, value: float | None) -> str:
    if not value:
        return ""
    if re.search("bytes", name):
        return f"{value / 1e6:.1f} MB" if value >= 1e5 else f"{value / 1e3:.1f} kB"
    return f"{value:.1f} s"


if __name__ == "__main__":
    main()

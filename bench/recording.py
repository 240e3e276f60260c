"""What recording costs: the same replica without it, with it but off, and with it on, loaded in turn.

The three run side by side, so that a change of the machine's speed meets all of them; the ratio is that of the
medians. Run it as ``python bench/recording.py`` after ``make bench`` has made the models.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import loader
import models
import msgspec
from cases import CASES

from tiffin.kits import spool
from tiffin.spec import Artefact, Component, Listen, ModelSource, ReplicaSpec, Sampling, Spool
from tiffin.spec.recording import SAMPLING

KINDS = ("none", "off", "on")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--connections", type=int, default=16)
    options = parser.parse_args()
    models.main()
    case = CASES[0]
    body, headers = case.request
    headers = {**headers, "x-request-id": "the-same-for-all"}
    rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
    slowest: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ports = {kind: start(kind, case.path, home, stack) for kind in KINDS}
        for number in range(options.rounds + 1):
            for kind in KINDS:
                found = loader.load(
                    ports[kind],
                    case.url_path,
                    body,
                    headers,
                    connections=options.connections,
                    seconds=options.seconds,
                    cores=set(),
                )
                for path in (home / kind).glob(f"*{spool.SUFFIX}"):
                    if spool.is_finished(path):
                        path.unlink()
                if number:  # The first round warms up.
                    rates[kind].append(found.requests_per_second)
                    slowest[kind].append(found.p99_ms)
    plain = statistics.median(rates["none"])
    for kind in KINDS:
        rate, p99 = statistics.median(rates[kind]), statistics.median(slowest[kind])
        print(f"{kind:5} {rate:9.0f} requests/s  {rate / plain:6.3f} of none   p99 {p99:.2f} ms")
    print(json.dumps({"loader": loader.NAME, "rates": rates}))


def start(kind: str, model: Path, home: Path, stack: ExitStack) -> int:
    """A replica on a TCP port; returns once it is ready."""
    directory = home / kind
    directory.mkdir()
    if kind == "on":
        (directory / SAMPLING).write_bytes(msgspec.json.encode(Sampling()))
    ready = home / f"{kind}.ready"
    order = ReplicaSpec(
        deployment="iris",
        model_name=model.stem,
        component=Component(source=ModelSource(artefact=Artefact(uri=str(model)))),
        path=str(model),
        listen=Listen(),
        ready_file=str(ready),
        recording=None if kind == "none" else Spool(directory=str(directory)),
    )
    file = home / f"{kind}.json"
    file.write_bytes(msgspec.json.encode(order))
    log = stack.enter_context((home / f"{kind}.log").open("wb"))
    process = subprocess.Popen(
        [sys.executable, "-m", "tiffin.runtime", "--replica", str(file)], stdout=log, stderr=log
    )
    stack.callback(process.wait, 30)
    stack.callback(process.terminate)
    deadline = time.monotonic() + 60
    while not ready.exists() or not ready.read_bytes().endswith(b"\n"):
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit((home / f"{kind}.log").read_text())
        time.sleep(0.05)
    port = int(json.loads(ready.read_text())["address"].rpartition(":")[2])
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    client.request("GET", "/readyz")
    client.getresponse().read()
    client.close()
    return port


if __name__ == "__main__":
    main()

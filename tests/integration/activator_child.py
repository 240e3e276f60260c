"""A holder as a process of its own: told of Services and EndpointSlices by lines of JSON, one manifest each."""

from __future__ import annotations

import asyncio
import json
import sys

import uvloop

from tiffin.operator.activator.asking import Asking
from tiffin.operator.activator.holder import Holder, Settings


async def main() -> None:
    async def ask(namespace: str, name: str, replicas: int) -> bool:
        print(json.dumps([namespace, name, replicas]), flush=True)
        return True

    holder = Holder(Asking(ask), Settings(host="127.0.0.1", most=5000, seconds=60.0, grace_seconds=0.0))
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        manifest = json.loads(line)
        if manifest.get("kind") == "Service":
            holder.update(holder.targets.service(manifest))
        elif manifest.get("kind") == "Held":
            print(json.dumps(holder.held("models/iris-predictor")), flush=True)
        else:
            holder.update(holder.targets.slice(manifest))
    await holder.close()


uvloop.run(main())

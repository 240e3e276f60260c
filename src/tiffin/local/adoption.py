"""Replicas that an earlier controller started: taken over when somebody knows them, ended when nobody does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import psutil

from tiffin.kits import processes
from tiffin.local.deploying import Deploying
from tiffin.local.home import Home
from tiffin.local.store import ReplicaRecord, Store


async def adopt(home: Home, store: Store, deployings: Mapping[str, Deploying]) -> int:
    """Take over what was noted and runs, end what runs and was not noted; how many were taken over."""
    known: set[int] = set()
    count = 0
    for record in store.replicas():
        deploying = deployings.get(record.key)
        if deploying is not None and await _taken_over(deploying, record):
            count += 1
            if record.identity is not None:
                known.add(record.identity.pid)
            continue
        if record.identity is not None:
            await asyncio.to_thread(processes.stop, [record.identity], grace_seconds=1)
        store.remove_replica(record.id)
    if home.left is not None and home.left.gateway is not None:
        known.add(home.left.gateway.pid)
    for one in deployings.values():
        known |= one.pids()
    strangers = [one for one in home.strangers(known) if not _descends(one.pid, known)]
    if strangers:
        await asyncio.to_thread(processes.stop, strangers, grace_seconds=5)
    return count


async def _taken_over(deploying: Deploying, record: ReplicaRecord) -> bool:
    try:
        return await deploying.adopt(record)
    except Exception as error:
        # What cannot be taken over is ended, and started anew.
        deploying.say(deploying.fault(error, f"taking over {record.id} of {record.key}").message)
        return False


def _descends(pid: int, ancestors: set[int]) -> bool:
    """Whether one of these started it: a replica's workers have its command line."""
    try:
        return any(parent.pid in ancestors for parent in psutil.Process(pid).parents())
    except psutil.Error:
        return False

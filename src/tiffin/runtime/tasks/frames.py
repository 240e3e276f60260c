"""What a worker and the child that runs its isolated tasks say to each other. Nothing is pickled."""

from __future__ import annotations

import asyncio

import msgspec

from tiffin.protocol.reply import Reply
from tiffin.runtime.tasks.calls import How, Outcome
from tiffin.spec import ReplicaSpec

_HEAD_BYTES = 4


class Begin(msgspec.Struct, tag=True):
    """The first of all: what to load."""

    spec: ReplicaSpec


class Job(msgspec.Struct, tag=True):
    """Run a method; ``seconds`` is what it may take."""

    task: str
    attempt: int
    method: str
    request: bytes
    seconds: float | None


class Cancel(msgspec.Struct, tag=True):
    """Ask the method to stop."""


class Ready(msgspec.Struct, tag=True):
    """The service is loaded; or it is not, and why."""

    failure: str = ""


class Progress(msgspec.Struct, tag=True):
    """How far the method is."""

    part: float
    note: str


class Done(msgspec.Struct, tag=True):
    """How the run ended."""

    how: How
    reply: Reply | None
    error: str
    is_retriable: bool

    def outcome(self) -> Outcome:
        return Outcome(self.how, self.reply, self.error, self.is_retriable)


Message = Begin | Job | Cancel | Ready | Progress | Done
_decode: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def pack(message: Message) -> bytes:
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(_HEAD_BYTES, "big") + body


async def read(reader: asyncio.StreamReader) -> Message:
    """The next message; IncompleteReadError or ConnectionError when the other side has gone."""
    size = int.from_bytes(await reader.readexactly(_HEAD_BYTES), "big")
    return _decode.decode(await reader.readexactly(size))

"""The messages of the gRPC services, of ``proto/descriptors.binpb``; only they need protobuf.

They live in a descriptor pool of their own: a service may import another system's client, which registers messages
of the same names with other fields in the common pool. ``make proto`` writes the descriptors anew from the files
``proto/*.proto``.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError as BadMessage

from tiffin.errors import DecodeError

INFERENCE, HEALTH, REFLECTION = "inference", "grpc.health.v1", "grpc.reflection.v1"
OLD_REFLECTION = "grpc.reflection.v1alpha"
"""What clients of older libraries ask; the messages are the same."""

POOL = descriptor_pool.DescriptorPool()

Message = Any


def _load() -> None:
    data = resources.files("tiffin.protocol").joinpath("proto", "descriptors.binpb").read_bytes()
    files = descriptor_pb2.FileDescriptorSet.FromString(data)
    for file in files.file:
        POOL.Add(file)
        if file.package == REFLECTION:
            POOL.Add(_as_alpha(file))


def _as_alpha(file: Any) -> Any:
    copy = descriptor_pb2.FileDescriptorProto()
    copy.CopyFrom(file)
    copy.name, copy.package = f"v1alpha/{file.name}", OLD_REFLECTION
    types = [(field, "type_name") for message in copy.message_type for field in message.field]
    types += [
        (rpc, end) for service in copy.service for rpc in service.method for end in ("input_type", "output_type")
    ]
    for entry, name in types:
        if found := getattr(entry, name):
            setattr(entry, name, found.replace(f".{REFLECTION}.", f".{OLD_REFLECTION}."))
    return copy


_load()


def message(name: str) -> type[Message]:
    """The class of a message by its full name, such as ``inference.ModelInferRequest``."""
    found: type[Message] = message_factory.GetMessageClass(POOL.FindMessageTypeByName(name))
    return found


def parsed(kind: type[Message], data: bytes | memoryview) -> Message:
    """A message of its bytes.

    Raises:
        DecodeError: they are none of this kind; also text that is no UTF-8.
    """
    try:
        return kind.FromString(data)
    except (BadMessage, RuntimeError, ValueError) as error:
        raise DecodeError(f"expected a {kind.DESCRIPTOR.full_name} message, found other bytes: {error}") from None

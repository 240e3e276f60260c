"""gRPC's standard reflection, for tools such as grpcurl: which services there are, and their messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from google.protobuf import descriptor_pb2

from tiffin.errors import DecodeError
from tiffin.protocol.grpc_messages import HEALTH, INFERENCE, OLD_REFLECTION, POOL, REFLECTION, message, parsed

SERVICES = (
    f"{INFERENCE}.GRPCInferenceService",
    f"{HEALTH}.Health",
    f"{REFLECTION}.ServerReflection",
    f"{OLD_REFLECTION}.ServerReflection",
)
_NOT_FOUND, _UNIMPLEMENTED, _INVALID = 5, 12, 3


def answerer(package: str) -> Callable[[AsyncIterator[bytes], Any], AsyncIterator[bytes]]:
    """The method ``ServerReflectionInfo`` of one of the packages, which differ in their names alone."""
    asked, response = message(f"{package}.ServerReflectionRequest"), message(f"{package}.ServerReflectionResponse")

    async def answers(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for data in requests:
            answer = response()
            try:
                request = parsed(asked, data)
                answer.original_request.CopyFrom(request)
                _answer(request, answer)
            except DecodeError as error:
                answer.error_response.error_code = _INVALID
                answer.error_response.error_message = str(error)
            yield answer.SerializeToString()

    return answers


def _answer(request: Any, answer: Any) -> None:
    match request.WhichOneof("message_request"):
        case "list_services":
            for name in SERVICES:
                answer.list_services_response.service.add(name=name)
        case "file_by_filename":
            _describe(lambda: POOL.FindFileByName(request.file_by_filename), answer)
        case "file_containing_symbol":
            _describe(lambda: POOL.FindFileContainingSymbol(request.file_containing_symbol), answer)
        case _:
            answer.error_response.error_code = _UNIMPLEMENTED
            answer.error_response.error_message = "there are no extensions"


def _describe(find: Callable[[], Any], answer: Any) -> None:
    try:
        file = find()
    except KeyError:
        answer.error_response.error_code = _NOT_FOUND
        answer.error_response.error_message = "there is nothing of that name"
        return
    described = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(described)
    answer.file_descriptor_response.file_descriptor_proto.append(described.SerializeToString())

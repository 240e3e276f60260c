"""The messages of the gRPC services against their .proto files and against another system's client."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from tritonclient.grpc import service_pb2

import tiffin.protocol
from tiffin.protocol.grpc_messages import HEALTH, INFERENCE, OLD_REFLECTION, POOL, REFLECTION, message

PROTO = Path(tiffin.protocol.__file__).parent / "proto"
OURS = POOL.FindFileByName("inference.proto")


def test_the_descriptors_are_those_of_the_proto_files(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="pip install grpcio-tools")
    files = ["inference.proto", "health.proto", "reflection.proto"]
    made = tmp_path / "made.binpb"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}", f"--descriptor_set_out={made}", *files]
    subprocess.run(command, check=True)
    found, wanted = (
        descriptor_pb2.FileDescriptorSet.FromString(file.read_bytes())
        for file in (PROTO / "descriptors.binpb", made)
    )
    assert found == wanted, "make proto"


def fields(descriptor: Any) -> dict[str, tuple[int, int, bool]]:
    return {field.name: (field.number, field.type, field.is_repeated) for field in descriptor.fields}


@pytest.mark.parametrize("name", sorted(OURS.message_types_by_name))
def test_every_field_has_tritons_number_and_type(name: str) -> None:
    mine, theirs = OURS.message_types_by_name[name], service_pb2.DESCRIPTOR.message_types_by_name[name]
    known = fields(theirs)
    assert {field: known[field] for field in fields(mine)} == fields(mine)
    for inner in mine.nested_types:
        known = fields(theirs.nested_types_by_name[inner.name])
        assert {field: known[field] for field in fields(inner)} == fields(inner)


def test_every_method_is_tritons() -> None:
    mine = OURS.services_by_name["GRPCInferenceService"]
    theirs = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
    for method in mine.methods:
        assert method.input_type.full_name == theirs[method.name].input_type.full_name
        assert method.client_streaming == theirs[method.name].client_streaming
        assert method.server_streaming == theirs[method.name].server_streaming


def test_messages_of_all_packages_are_there() -> None:
    for package, name in (
        (INFERENCE, "ModelInferRequest"),
        (HEALTH, "HealthCheckResponse"),
        (REFLECTION, "ServerReflectionRequest"),
        (OLD_REFLECTION, "ServerReflectionRequest"),
    ):
        assert message(f"{package}.{name}").DESCRIPTOR.full_name == f"{package}.{name}"

"""Open Inference Protocol, binary tensors: the first two bytes are the length of the JSON part."""

from __future__ import annotations

from fuzz_v2_json import read


def run(data: bytes) -> None:
    read(data[2:], str(int.from_bytes(data[:2], "little")).encode())

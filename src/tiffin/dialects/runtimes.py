"""Which of KServe's default runtimes serves a model: the rules by which KServe accepts or refuses it.

The table holds the ClusterServingRuntimes that KServe installs. Tiffin loads the model itself, whichever runtime
is named; but a file that KServe would refuse is refused here too, with the same words.
"""

from __future__ import annotations

import msgspec

RANKED = ("v1", "v2", "grpc-v1", "grpc-v2")
"""Protocol versions in the order KServe prefers them when a file names none."""


class Runtime(msgspec.Struct, frozen=True):
    """``formats`` maps a format to the versions listed for it; ``automatic`` ones are found without a name."""

    protocols: tuple[str, ...]
    formats: dict[str, tuple[str, ...]]
    automatic: frozenset[str] = frozenset()


def _runtime(protocols: str, manual: tuple[str, ...] = (), **formats: str) -> Runtime:
    found = {name: tuple(versions.split()) for name, versions in formats.items()}
    return Runtime(tuple(protocols.split()), found, frozenset(found) - set(manual))


RUNTIMES: dict[str, Runtime] = {
    "kserve-autogluonserver": _runtime("v1 v2", autogluon="1"),
    "kserve-huggingfaceserver": _runtime("v2 v1", huggingface="1"),
    "kserve-huggingfaceserver-multinode": _runtime("v2 v1", huggingface="1"),
    "kserve-lgbserver": _runtime("v1 v2", lightgbm="4"),
    "kserve-mlserver": _runtime("v2", sklearn="0 1", xgboost="1 2", lightgbm="3 4", mlflow="1 2"),
    "kserve-paddleserver": _runtime("v1 v2", paddle="2"),
    "kserve-pmmlserver": _runtime("v1 v2", pmml="3 4"),
    "kserve-predictiveserver": _runtime(
        "v1 v2", ("sklearn", "xgboost", "lightgbm"), sklearn="1", xgboost="2", lightgbm="4"
    ),
    "kserve-sklearnserver": _runtime("v1 v2", sklearn="1"),
    "kserve-tensorflow-serving": _runtime("v1 grpc-v1", tensorflow="1 2"),
    "kserve-torchserve": _runtime("v1 v2 grpc-v2", pytorch="1"),
    "kserve-tritonserver": _runtime(
        "v2 grpc-v2", ("pytorch",), tensorrt="8", tensorflow="1 2", onnx="1", triton="2", pytorch="1"
    ),
    "kserve-vllmserver": _runtime("", vLLM="1"),
    "kserve-xgbserver": _runtime("v1 v2", xgboost="2"),
}


def problem(runtime: str, format: str, version: str, protocol: str) -> str:
    """What KServe says against this choice; empty when it accepts it. Empty arguments are absent fields."""
    if runtime:
        found = RUNTIMES.get(runtime)
        if found is None:
            return f"No ServingRuntimes or ClusterServingRuntimes with the name: {runtime}"
        if protocol and found.protocols and protocol not in found.protocols:
            return "Specified runtime does not support specified protocol version"
        if not _supports(found, format, version):
            return "Specified runtime does not support specified framework/version"
        return ""
    # KServe takes an absent protocol for v1 when it looks for a runtime by itself.
    wanted = protocol or "v1"
    for found in RUNTIMES.values():
        serves = not found.protocols or wanted in found.protocols
        if serves and format in found.automatic and _supports(found, format, version):
            return ""
    return "No runtime found to support specified framework/version"


def advice(format: str, version: str, protocol: str) -> str:
    """What would be accepted instead: the runtimes, versions and protocols there are for a format."""
    lines = [
        f"{name} ({format} {' or '.join(found.formats[format])}; {' or '.join(found.protocols)})"
        for name, found in RUNTIMES.items()
        if format in found.formats
    ]
    if not protocol and not problem("", format, version, "v2"):
        return f"write protocolVersion: v2, which {format} models need"
    return "runtimes for this format: " + ", ".join(lines) if lines else "choose another format"


def default_protocol(runtime: str) -> str:
    """The protocol version of a model whose file names none."""
    protocols = RUNTIMES[runtime].protocols if runtime else ("v1",)
    return min(protocols, key=RANKED.index, default="v1")


def _supports(runtime: Runtime, format: str, version: str) -> bool:
    # Versions are compared as text: "1.0" is not "1".
    return format in runtime.formats and (not version or version in runtime.formats[format])

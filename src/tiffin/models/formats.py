"""Which file is the model and which format it has: by its name first, then checked by its content."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import msgspec

from tiffin.errors import ModelError

SKLEARN, XGBOOST, LIGHTGBM, ONNX = "sklearn", "xgboost", "lightgbm", "onnx"

ACCEPTED = {
    SKLEARN: (".joblib", ".pkl", ".pickle", ".skops"),
    XGBOOST: (".json", ".ubj", ".bst", ".model", ".xgb"),
    LIGHTGBM: (".txt", ".bst", ".model", ".lgb"),
    ONNX: (".onnx",),
}
"""Formats and their file endings; some endings belong to two, and the content decides."""

_PICKLES = (".joblib", ".pkl", ".pickle")

_LATER = {
    ".pt": "PyTorch",
    ".pth": "PyTorch",
    ".h5": "Keras",
    ".hdf5": "Keras",
    ".keras": "Keras",
    ".pb": "TensorFlow SavedModel",
    ".tflite": "TensorFlow Lite",
    ".safetensors": "safetensors",
    ".gguf": "GGUF",
    ".pmml": "PMML",
    ".cbm": "CatBoost",
    ".mar": "TorchServe",
    ".pdmodel": "PaddlePaddle",
    ".engine": "TensorRT",
    ".plan": "TensorRT",
    ".rds": "R",
}

_ASIDE = {"model-settings.json", "settings.json", "config.json", "metadata.json", "requirements.txt", "readme.txt"}
"""Files that stand next to models and share an ending with them."""


class Found(msgspec.Struct, frozen=True):
    """A model's file and its format: ``sklearn | xgboost | lightgbm | onnx``."""

    format: str
    file: Path


def find(path: Path, format: str = "") -> Found:
    """The one model at ``path``: a file, or a directory that holds it (or a single directory that does).

    Args:
        path: where to look.
        format: what it has to be; empty means find out.

    Raises:
        ModelError: there is none, there are several, or the content is of another format.
    """
    if format and format not in ACCEPTED:
        raise ModelError(f"expected a format of {', '.join(ACCEPTED)}, found {format!r}")
    if path.is_file():
        return Found(_format_of(path, format), path)
    if not path.is_dir():
        raise ModelError(f"there is no file or directory {path}")
    if found := _in_directory(path, format):
        return found
    inside = sorted(item for item in path.iterdir() if item.is_dir() and not item.name.startswith((".", "_")))
    if len(inside) == 1:
        # model/1/model.onnx, as model repositories lay it out; one level more is as deep as they go.
        if found := _in_directory(inside[0], format):
            return found
        deeper = sorted(item for item in inside[0].iterdir() if item.is_dir())
        if len(deeper) == 1 and (found := _in_directory(deeper[0], format)):
            return found
    raise _nothing(path, format)


def sniff(file: Path) -> str:
    """The format by content alone; empty when it is none of ours."""
    with file.open("rb") as stream:
        start = stream.read(64)
    if start.startswith(b"PK\x03\x04"):
        return SKLEARN if _is_skops(file) else ""
    if _is_pickle(start) or _is_compressed(start):
        return SKLEARN
    if start.startswith((b"tree\n", b"tree\r\n")):
        return LIGHTGBM
    if start.lstrip()[:1] == b"{" or start.startswith(b"{L"):
        return XGBOOST if _is_xgboost(file) else ""
    if start.startswith(b"binf"):  # the binary format before UBJSON
        return XGBOOST
    if _is_onnx(start):
        return ONNX
    return ""


def _in_directory(path: Path, format: str) -> Found | None:
    endings = ACCEPTED[format] if format else tuple({end for ends in ACCEPTED.values() for end in ends})
    files = sorted(
        item
        for item in path.iterdir()
        if item.is_file() and item.suffix.lower() in endings and item.name.lower() not in _ASIDE
    )
    known = [(item, sniff(item)) for item in files]
    # A .txt or .json next to a model is often something else: what has no model's content does not compete.
    fitting = [(item, kind) for item, kind in known if kind and (not format or _agrees(kind, item, format))]
    if len(fitting) > 1:
        names = ", ".join(item.name for item, _ in fitting)
        raise ModelError(
            f"expected one model in {path}, found {len(fitting)}: {names}",
            hint=f"name the file itself, for example {fitting[0][0]}, or keep one in the directory",
        )
    if fitting:
        return Found(_format_of(fitting[0][0], format), fitting[0][0])
    if files:
        return Found(_format_of(files[0], format), files[0])  # says what is wrong with it
    return None


def _agrees(kind: str, file: Path, format: str) -> bool:
    """Whether content of ``kind`` can be served as ``format``: scikit-learn's files also hold XGBClassifier."""
    return kind == format or (
        kind == SKLEARN and format in (XGBOOST, LIGHTGBM) and file.suffix.lower() in _PICKLES
    )


def _format_of(file: Path, format: str) -> str:
    if not file.stat().st_size:
        raise ModelError(f"{file} is empty")
    ending = file.suffix.lower()
    kind = sniff(file)
    if not kind and ending in _LATER:
        raise ModelError(
            f"{file.name} is a {_LATER[ending]} model, which Tiffin does not serve yet",
            hint="export it to ONNX, or load it in a service of your own (@tiffin.service)",
        )
    if not kind:
        by_name = [name for name, endings in ACCEPTED.items() if ending in endings]
        expected = format or " or ".join(by_name)
        if expected:
            raise ModelError(
                f"expected {file.name} to hold a model for {expected}, found other content: {_start(file)}"
            )
        raise ModelError(f"{file.name} is not a model of a known format: {_start(file)}", hint=_what_is_taken(""))
    if format and not _agrees(kind, file, format):
        raise ModelError(
            f"expected a model for {format}, found one for {kind}: {file}",
            hint=f"set the format to {kind}, or leave it out",
        )
    return kind


def _nothing(path: Path, format: str) -> ModelError:
    names = sorted(item.name + ("/" if item.is_dir() else "") for item in path.iterdir())
    later = sorted({_LATER[Path(name).suffix.lower()] for name in names if Path(name).suffix.lower() in _LATER})
    shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    if later:
        return ModelError(
            f"{path} holds a {' and a '.join(later)} model, which Tiffin does not serve yet (found {shown})",
            hint="export it to ONNX, or load it in a service of your own (@tiffin.service)",
        )
    return ModelError(f"there is no model in {path}, found {shown or 'nothing'}", hint=_what_is_taken(format))


def _what_is_taken(format: str) -> str:
    formats = [format] if format else list(ACCEPTED)
    return "taken are " + "; ".join(f"{name} ({' '.join(ACCEPTED[name])})" for name in formats)


def _start(file: Path) -> str:
    with file.open("rb") as stream:
        return f"it starts with {stream.read(16)!r}"


def _is_pickle(start: bytes) -> bool:
    if start[:1] == b"\x80" and len(start) > 1:
        return start[1] <= 5
    # Protocols 0 and 1 have no magic: these are the opcodes they begin with for an object or a container.
    return start.startswith(
        (b"ccopy_reg\n", b"ccopyreg\n", b"csklearn.", b"cxgboost.", b"clightgbm.", b"(dp", b"(lp", b"}q", b"]q")
    )


def _is_compressed(start: bytes) -> bool:
    """As joblib compresses: gzip, bz2, xz, lzma, lz4, zlib."""
    if start.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x5d\x00\x00", b"\x04\x22\x4d\x18")):
        return True
    return start[:1] == b"\x78" and len(start) > 1 and (start[0] * 256 + start[1]) % 31 == 0  # RFC 1950


def _is_skops(file: Path) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            return "schema.json" in archive.namelist()
    except zipfile.BadZipFile:
        return False


def _is_xgboost(file: Path) -> bool:
    """JSON or UBJSON with the keys of a booster; both spell keys as plain text near either end."""
    with file.open("rb") as stream:
        head = stream.read(1 << 16)
        stream.seek(0, 2)
        stream.seek(max(0, stream.tell() - (1 << 16)))
        ends = head + stream.read()
    if b"learner" in ends and (b"gradient_booster" in ends or b"learner_model_param" in ends):
        return True
    try:
        return "learner" in json.loads(file.read_bytes())
    except (ValueError, UnicodeDecodeError, RecursionError, TypeError):
        return False


def _is_onnx(start: bytes) -> bool:
    """A protobuf ModelProto: it begins with ir_version (field 1, varint), then a length-delimited field."""
    if len(start) < 4 or start[0] != 0x08 or not 1 <= start[1] <= 32:
        return False
    # producer_name, producer_version, domain, doc_string, graph, opset_import, metadata_props; or model_version
    return start[2] in (0x12, 0x1A, 0x22, 0x32, 0x3A, 0x42, 0x72, 0x28)

"""Models as artefacts: the CNCF's ModelPack, which is written, and KitOps' and KServe's ways, which are read.

    manifest      artifactType application/vnd.cncf.model.manifest.v1+json
    ├── config    application/vnd.cncf.model.config.v1+json: name, version, format, digests of the layers
    └── layers    application/vnd.cncf.model.KIND.v1.raw, one for each file, whose path is an annotation

A layer is the file itself, so its digest is the file's: what two models share is kept and sent once.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import msgspec

from tiffin.errors import RegistryError, StorageError
from tiffin.oci import records, unpacking
from tiffin.oci.manifests import FILE_PATH, TITLE
from tiffin.oci.records import Descriptor, Manifest
from tiffin.oci.registry import Blobs

ARTEFACT = "application/vnd.cncf.model.manifest.v1+json"
CONFIG = "application/vnd.cncf.model.config.v1+json"
KIT_CONFIG = "application/vnd.kitops.modelkit.config.v1+json"
_LAYER = re.compile(
    r"application/vnd\.(?:cncf|cnai)\.model\.(weight\.config|weight|doc|code|dataset)\.v1\.(raw|tar)(?:\+(?:gzip|zstd))?"
)
_WEIGHT_FILE = re.compile(r"application/vnd\.cncf\.model\.weight\.v1\.[a-z0-9]+")
_KIT_LAYER = re.compile(
    r"application/vnd\.kitops\.(?:modelkit\.)?(modelpart|model|dataset|code|docs)\.(?:content\.)?v1\.(tar|raw)"
    r"(?:\+(?:gzip|zstd))?"
)
_IMAGE_LAYER = re.compile(
    r"application/vnd\.(?:oci\.image\.layer\.v1|docker\.image\.rootfs\.diff)\.tar(?:[.+](?:gzip|zstd))?"
)
IMAGE_DIRECTORY = "models"
"""Where KServe's modelcar images have the model."""

Kind = Literal["weight", "weight.config", "doc", "code", "dataset"]

_DOCS = re.compile(r"(?:readme|license|licence|notice|changelog)(?:\..*)?|.*\.(?:md|rst|pdf)", re.IGNORECASE)
_CODE = (".py", ".sh", ".ipynb", ".js", ".ts", ".r", ".jl")
_CONFIGS = (".json", ".yaml", ".yml", ".toml", ".cfg", ".ini", ".jinja", ".model", ".conf")
_CONFIG_NAMES = ("MLmodel", "vocab.txt", "merges.txt", "requirements.txt", "Modelfile")
_DATA = (".csv", ".parquet", ".jsonl", ".arrow", ".tsv")
_FORMATS = {
    ".safetensors": "safetensors", ".onnx": "onnx", ".gguf": "gguf", ".pt": "pt", ".pth": "pt", ".skops": "skops",
    ".joblib": "joblib", ".pkl": "pickle", ".ubj": "xgboost", ".bst": "xgboost", ".keras": "keras", ".h5": "h5",
}  # fmt: skip


def kind_of(path: str) -> Kind:
    """Which kind of layer a file is, by its name; what is not known is a weight."""
    name = PurePosixPath(path).name
    suffix = PurePosixPath(name).suffix.lower()
    if _DOCS.fullmatch(name):
        return "doc"
    if suffix in _CODE:
        return "code"
    if name in _CONFIG_NAMES or suffix in _CONFIGS:
        return "weight.config"
    return "dataset" if suffix in _DATA else "weight"


def media_type(path: str) -> str:
    """Of a file's layer."""
    return f"application/vnd.cncf.model.{kind_of(path)}.v1.raw"


def config(name: str, version: str, layers: Sequence[Descriptor]) -> bytes:
    """The model's record. No times are in it: equal models are equal bytes."""
    paths = [layer.annotations.get(FILE_PATH, "") for layer in sorted(layers, key=lambda one: -one.size)]
    formats = [_FORMATS[suffix] for path in paths if (suffix := PurePosixPath(path).suffix.lower()) in _FORMATS]
    found: dict[str, Any] = {
        "descriptor": {key: value for key, value in (("name", name), ("version", version)) if value},
        "config": {"format": formats[0]} if formats else {},
        "modelfs": {"type": "layers", "diffIds": [layer.digest for layer in layers]},
    }
    return msgspec.json.encode(found, order="sorted")


def is_model(manifest: Manifest) -> bool:
    """Whether it is an artefact whose layers are a model's files."""
    return (
        manifest.artifact_type == ARTEFACT
        or manifest.config.media_type in (CONFIG, KIT_CONFIG)
        or any(_LAYER.fullmatch(layer.media_type) or _KIT_LAYER.fullmatch(layer.media_type)
               for layer in manifest.layers)
    )  # fmt: skip


def is_image(manifest: Manifest) -> bool:
    """Whether it is an image, which may have a model in ``/models``."""
    return bool(manifest.layers) and all(_IMAGE_LAYER.fullmatch(layer.media_type) for layer in manifest.layers)


def check(manifest: Manifest, where: str) -> None:
    """Raise RegistryError, naming what it is, when no model can be in it; asked before anything is fetched."""
    if not (is_model(manifest) or is_image(manifest)):
        what = manifest.artifact_type or manifest.config.media_type
        raise RegistryError(
            f"expected a model at {where}, found {what}",
            hint="a model is an artefact of ModelPack or KitOps, or an image with a model in /models",
        )


def unpack(manifest: Manifest, blobs: Blobs, into: Path, *, where: str) -> None:
    """Write the model's files below ``into``.

    Raises:
        StorageError: a layer leads out of the directory or is damaged, or an image has nothing in ``/models``.
        RegistryError: a layer is of a type that is not known.
    """
    room = shutil.disk_usage(into).free
    if not is_model(manifest):
        layers = [(f"the layer {one.digest[:19]} of {where}", blobs.path(one.digest)) for one in manifest.layers]
        if not unpacking.unpack(layers, into, below=IMAGE_DIRECTORY, most_bytes=room):
            raise StorageError(
                f"the image {where} has nothing in /{IMAGE_DIRECTORY}",
                hint=f"put the model's files there: COPY model/ /{IMAGE_DIRECTORY}/",
            )
        return
    for layer in manifest.layers:
        what = f"the layer {layer.digest[:19]} of {where}"
        if _is_tar(layer, what):
            unpacking.unpack([(what, blobs.path(layer.digest))], into, most_bytes=room)
        else:
            place(blobs.path(layer.digest), into / _path_of(layer, what))


def place(blob: Path, target: Path, *, executable: bool = False) -> None:
    """Put a blob where a file belongs: a link to it where the file system allows, else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        if executable:
            raise OSError  # the mode belongs to the content: such a file is one of its own
        os.link(blob, target)
    except FileExistsError:
        raise StorageError(f"two layers are the file {target.name}", hint="push the model again") from None
    except OSError:
        shutil.copyfile(blob, target)
    target.chmod(0o755 if executable else 0o644)


def _is_tar(layer: Descriptor, what: str) -> bool:
    if match := _LAYER.fullmatch(layer.media_type):
        return match[2] == "tar"
    if match := _KIT_LAYER.fullmatch(layer.media_type):
        return match[2] == "tar"
    if _WEIGHT_FILE.fullmatch(layer.media_type):
        return False
    if _IMAGE_LAYER.fullmatch(layer.media_type):
        return True
    raise RegistryError(f"expected a layer of a model, found {what} with the media type {layer.media_type}")


def _path_of(layer: Descriptor, what: str) -> PurePosixPath:
    written = layer.annotations.get(FILE_PATH) or layer.annotations.get("org.cnai.model.filepath")
    written = written or layer.annotations.get(TITLE, "")
    path = PurePosixPath(written)
    if not written or path.is_absolute() or ".." in path.parts or "\\" in written or "\0" in written:
        raise StorageError(f"{what} says no path inside of the model: {FILE_PATH} is {written!r}")
    return path


def manifest_of(config: Descriptor, layers: Iterable[Descriptor], annotations: dict[str, str]) -> Manifest:
    """The manifest of a model."""
    return Manifest(
        schema_version=2,
        media_type=records.MANIFEST,
        artifact_type=ARTEFACT,
        config=config,
        layers=list(layers),
        annotations=annotations,
    )

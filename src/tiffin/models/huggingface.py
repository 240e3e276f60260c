"""Models as the Hugging Face libraries lay them out in a directory: ``config.json`` beside ``*.safetensors``.

``hf-dir:PATH`` names such a directory, or one of the hub's cache (``models--organisation--name``), whose files are
links to blobs beside it.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import msgspec

from tiffin.errors import ModelError

SCHEME = "hf-dir:"
CONFIG = "config.json"
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "model*.onnx", "*.gguf", "tf_model.h5", "flax_model.msgpack")
_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_CACHED = re.compile(r"models--(.+)")


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """A directory with a model; ``name`` is what it is called, ``source`` where it came from if that is known."""

    directory: Path
    name: str
    source: str


def handles(text: str) -> bool:
    """Whether an address is one of these."""
    return text.startswith(SCHEME)


def read(text: str) -> Layout:
    """Find the model that an address names.

    Raises:
        ModelError: there is none, or a part of it is missing, which is named.
    """
    path = Path(text.removeprefix(SCHEME)).expanduser()
    if not path.is_dir():
        raise ModelError(f"expected a directory with a model, found none at {path}")
    cached = _CACHED.fullmatch(path.resolve().name)
    if cached is not None:
        name = cached[1].replace("--", "/")
        commit = _commit(path)
        found = Layout(
            directory=path / "snapshots" / commit, name=name.rpartition("/")[2], source=f"hf://{name}:{commit}"
        )
    else:
        found = Layout(directory=path, name=path.resolve().name, source="")
    check(found.directory)
    return found


def check(directory: Path) -> None:
    """Raise ModelError when a directory is not laid out so, or a shard of its weights is missing."""
    if not (directory / CONFIG).is_file():
        raise ModelError(
            f"expected a model of Hugging Face with {CONFIG}, found none in {directory}",
            hint="plain files are stored with: tiffin models save NAME PATH",
        )
    if not any(next(directory.glob(pattern), None) for pattern in _WEIGHTS):
        raise ModelError(f"expected weights (*.safetensors ...) beside {CONFIG}, found none in {directory}")
    for name in _INDEXES:
        if (directory / name).is_file():
            _check_shards(directory, name)


def copy(directory: Path, into: Path) -> None:
    """Copy the files, what links lead to in their place; raises ModelError for one that leads nowhere."""
    try:
        shutil.copytree(directory, into, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".git", ".cache"))
    except shutil.Error as error:
        first = error.args[0][0]
        raise ModelError(f"cannot read {first[0]}: {first[2]}", hint="download the model again") from error


def _check_shards(directory: Path, name: str) -> None:
    try:
        index = msgspec.json.decode((directory / name).read_bytes(), type=_Index)
    except (OSError, msgspec.MsgspecError) as error:
        raise ModelError(f"expected the index of a model's shards in {directory / name}: {error}") from error
    for shard in sorted(set(index.weight_map.values())):
        if not (directory / shard).is_file():
            raise ModelError(
                f"{name} names the shard {shard}, which is not in {directory}", hint="download it again"
            )


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


def _commit(path: Path) -> str:
    """The commit of ``main``, else the only one there is."""
    main = path / "refs" / "main"
    if main.is_file():
        commit = main.read_text(encoding="ascii", errors="replace").strip()
        if re.fullmatch(r"[0-9a-f]{6,64}", commit) and (path / "snapshots" / commit).is_dir():
            return commit
    there = sorted(one.name for one in (path / "snapshots").glob("*") if one.is_dir())
    if len(there) != 1:
        raise ModelError(
            f"expected one snapshot in {path}, found {len(there)}", hint="name one: hf-dir:.../snapshots/COMMIT"
        )
    return there[0]

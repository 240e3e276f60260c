"""Layers, made once: each is found again by what it was made from.

    <root>/            an OCI layout: the layers, bases that were pulled, images that were tagged
    <root>/keys/<hex>  what the layer of those inputs is

Deleting the directory loses time only.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from tiffin.errors import DiskFull, StorageError
from tiffin.image import members
from tiffin.image.members import Member
from tiffin.kits.files import write_atomic
from tiffin.kits.paths import make_directory
from tiffin.oci.layout import Layout
from tiffin.oci.records import LAYER_GZIP, Descriptor

_FORMAT = 1
"""Counted up when equal inputs are to make another layer."""

_Kept = TypeVar("_Kept")


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """A layer in the workshop's layout.

    Attributes:
        title: what it holds, for people and the image's history.
        descriptor: the blob.
        diff_id: sha256 of the tar before compression.
        size: bytes of that tar.
    """

    title: str
    descriptor: Descriptor
    diff_id: str
    size: int


class Workshop:
    """Where images are made.

    Args:
        root: where layers are kept.
        mtime: the time all files carry (SOURCE_DATE_EPOCH).
        tell: called with a layer's title, its bytes, and whether it was there; from any thread.
        say: called when something begins that takes a while.
    """

    def __init__(
        self,
        root: Path,
        *,
        mtime: int = 0,
        tell: Callable[[str, int, bool], None] | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.layout = Layout(root)
        self.root = root
        self.mtime = mtime
        self._tell = tell or (lambda title, size, cached: None)
        self.say = say or (lambda text: None)

    def layer(self, title: str, inputs: Any, make: Callable[[], Iterable[Member]]) -> Layer:
        """The layer of these inputs (anything JSON can hold): as it was made before, or from ``make()``."""
        name = self.key("layer", [inputs, self.mtime])
        held = self.recall(name, Layer)
        if held is not None and self.layout.touch(held.descriptor):
            self._tell(title, held.descriptor.size, True)
            return msgspec.structs.replace(held, title=title)
        with saving(self.root), self.layout.writing() as out:
            made = members.write(make(), out, mtime=self.mtime)
            descriptor = Descriptor(media_type=LAYER_GZIP, digest=made.digest, size=made.compressed)
            self.layout.adopt(Path(out.name), descriptor)
        layer = Layer(title=title, descriptor=descriptor, diff_id=made.diff_id, size=made.size)
        self.remember(name, layer)
        self._tell(title, descriptor.size, False)
        return layer

    def has(self, inputs: Any) -> bool:
        """Whether the layer of these inputs was made before and is still there."""
        held = self.recall(self.key("layer", [inputs, self.mtime]), Layer)
        return held is not None and self.layout.touch(held.descriptor)

    def key(self, kind: str, inputs: Any) -> str:
        """A name for what inputs lead to."""
        data = msgspec.json.encode([_FORMAT, kind, inputs], order="deterministic")
        return hashlib.sha256(data).hexdigest()

    def recall(self, key: str, kind: type[_Kept]) -> _Kept | None:
        """What was remembered under a key; None when nothing was, or it cannot be read any more."""
        with contextlib.suppress(OSError, msgspec.DecodeError, msgspec.ValidationError):
            return msgspec.json.decode((self.root / "keys" / key).read_bytes(), type=kind)
        return None

    def remember(self, key: str, value: Any) -> None:
        """Keep a value for the next build."""
        with saving(self.root):
            make_directory(self.root / "keys")
            write_atomic(self.root / "keys" / key, msgspec.json.encode(value))


@contextlib.contextmanager
def saving(place: Path) -> Any:
    """What the file system refuses, in words."""
    try:
        yield
    except OSError as error:
        if error.errno == 28:
            raise DiskFull(f"there is no room left to write to {place}") from error
        raise StorageError(f"cannot write to {place}: {error.strerror or error}") from error

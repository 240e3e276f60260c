"""Files and images: uploads in, paths or pictures to the method, file answers out."""

from __future__ import annotations

import fnmatch
import io
import mimetypes
import os
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tiffin.codec import fetching
from tiffin.errors import DecodeError

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import core_schema


@dataclass(frozen=True)
class Upload:
    """A file in a request: its bytes, and the name and media type it came with (empty when it came bare)."""

    data: bytes
    filename: str = ""
    content_type: str = ""


class Scratch:
    """A directory for the files of one request, made when first needed and removed with ``close``."""

    __slots__ = ("_directory",)

    def __init__(self) -> None:
        self._directory: str | None = None

    @property
    def directory(self) -> str:
        """The directory's path."""
        if self._directory is None:
            self._directory = tempfile.mkdtemp(prefix="tiffin-request-")
        return self._directory

    def save(self, upload: Upload) -> Path:
        """Write an upload down under a name of ours that ends with the name it came with."""
        # Only the last part: a name such as ../../x must not choose the place.
        ending = os.path.basename(upload.filename.replace("\\", "/")).replace("\0", "")[-100:]
        handle, path = tempfile.mkstemp(suffix=ending, dir=self.directory)
        with os.fdopen(handle, "wb") as file:
            file.write(upload.data)
        return Path(path)

    def close(self) -> None:
        """Remove the directory, if there is one."""
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None


def _fetched(value: Any) -> Any:
    """What is at an address that stands for a file; anything else as it is."""
    if not fetching.is_address(value):
        return value
    found = fetching.fetch(value)
    return Upload(found.data, found.filename, found.content_type)


def _file_schema(described: dict[str, Any], handler: GetJsonSchemaHandler) -> dict[str, Any]:
    if handler.mode == "validation":
        return described
    # ``format`` is for tools of OpenAPI 3.0, which make an upload of it.
    media_type = described.get("content_type") or "application/octet-stream"
    return {"type": "string", "format": "binary", "contentMediaType": media_type, "x-tiffin-type": described}


@dataclass(frozen=True)
class FileSchema:
    """A file that reaches the method as a ``pathlib.Path`` in the request's own directory."""

    format: str = "binary"
    content_type: str | None = None

    def decode(self, value: Any, info: core_schema.ValidationInfo) -> Any:
        """An upload to a path; raises ValueError for anything that is not a file of the wanted type."""
        if isinstance(value, PurePath):
            return Path(value)
        if isinstance(value, bytes):
            value = Upload(value)
        value = _fetched(value)
        if not isinstance(value, Upload):
            raise ValueError("expected a file as a part of multipart/form-data")  # noqa: TRY004 - pydantic's way
        if self.content_type and value.content_type and not fnmatch.fnmatch(value.content_type, self.content_type):
            raise ValueError(f"Invalid content type {value.content_type}, expected {self.content_type}")
        scratch: Scratch = (info.context or {})["scratch"]
        return scratch.save(value)

    def describe(self) -> dict[str, Any]:
        """The schema clients send files by."""
        if self.content_type is None:
            return {"type": "file", "format": self.format}
        return {"type": "file", "format": self.content_type.split("/")[0], "content_type": self.content_type}

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Validation by ``decode``; serialisation reads the file."""
        from pydantic_core import core_schema

        return core_schema.with_info_after_validator_function(
            self.decode,
            core_schema.any_schema(),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda path: Path(path).read_bytes()),
        )

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """``describe()``, or OpenAPI's binary string."""
        return _file_schema(self.describe(), handler)


_FOREIGN = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "WMF"})
"""What PIL hands to programs and handlers of others; a caller's PostScript must not be run by Ghostscript."""


class BrokenImage(DecodeError, OSError):
    """An image whose header is sound and whose pixels are not; an OSError too, as PIL's own is."""


def _guard(image: Any) -> None:
    """Make the pixels' first reading, which is in the method, tell the caller of a broken file."""

    def load() -> Any:
        del image.load  # the class's own again: a cycle would keep the pixels until the collector runs
        try:
            return image.load()
        except Exception as error:  # PIL's decoders let struct.error, SyntaxError and others out
            raise BrokenImage("expected an image, found bytes that break off or cannot be read") from error

    image.load = load


class PILImageEncoder:
    """A picture that reaches the method as a ``PIL.Image.Image``."""

    def decode(self, value: Any) -> Any:
        """An upload to an opened image; raises ValueError when it is none."""
        from PIL import Image

        if isinstance(value, Image.Image):
            return value
        if isinstance(value, bytes):
            value = Upload(value)
        value = _fetched(value)
        if not isinstance(value, Upload):
            raise ValueError("expected an image file as a part of multipart/form-data")  # noqa: TRY004
        kind, _, subtype = value.content_type.partition("/")
        formats = (
            [subtype.upper()]
            if kind == "image" and subtype.upper() in Image.registered_extensions().values()
            else None
        )
        try:
            image = Image.open(io.BytesIO(value.data), formats=formats)
        except Exception as error:  # PIL's decoders let struct.error, SyntaxError and others out of broken files
            raise ValueError("expected an image, found bytes that cannot be read as one") from error
        if image.format in _FOREIGN:
            raise ValueError(f"expected an image of pixels, found {image.format}, which is not taken")
        _guard(image)
        return image

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Validation by ``decode``, serialisation to the image's own format."""
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(
            self.decode,
            core_schema.any_schema(),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda image: image_bytes(image)[1]),
        )

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """An image file, or OpenAPI's binary string."""
        return _file_schema({"type": "file", "format": "image", "pil": True}, handler)


def is_image(value: object) -> bool:
    """Whether a value is a PIL image, without importing PIL."""
    return any(base.__module__ == "PIL.Image" and base.__name__ == "Image" for base in type(value).__mro__)


def image_bytes(image: Any) -> tuple[str, bytes]:
    """Media type and bytes of an image, in its own format or PNG."""
    image_format = image.format or "PNG"
    buffer = io.BytesIO()
    image.save(buffer, format=image_format)
    return f"image/{image_format.lower()}", buffer.getvalue()


def file_answer(path: Path, otherwise: str) -> tuple[str, bytes, tuple[tuple[bytes, bytes], ...]]:
    """Media type, bytes and headers of a file that is an answer.

    The type is guessed from the name, else ``otherwise``. Images are shown inline, all else is an attachment.
    """
    data = path.read_bytes()
    stat = path.stat()
    media_type = mimetypes.guess_type(path)[0] or otherwise
    disposition = "inline" if media_type.startswith("image") else "attachment"
    quoted = quote(path.name)
    name = f'filename="{path.name}"' if quoted == path.name else f"filename*=utf-8''{quoted}"
    headers = (
        (b"content-disposition", f"{disposition}; {name}".encode()),
        (b"last-modified", formatdate(stat.st_mtime, usegmt=True).encode()),
        (b"etag", f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'.encode()),
        (b"accept-ranges", b"bytes"),
    )
    return media_type, data, headers


def files_answer(files: list[tuple[str, bytes, tuple[tuple[bytes, bytes], ...]]]) -> tuple[str, bytes]:
    """Media type and body of several files: ``multipart/mixed``, a part each, in their order.

    Each part has its ``content-type``, ``content-length`` and ``content-disposition`` with its name.
    """
    boundary = secrets.token_hex(16)
    mark = f"--{boundary}".encode()
    chunks: list[bytes] = []
    for media_type, data, headers in files:
        lines = [b"content-type: " + media_type.encode("latin-1"), b"content-length: %d" % len(data)]
        lines += [name + b": " + value for name, value in headers if name == b"content-disposition"]
        chunks += [mark, b"\r\n", b"\r\n".join(lines), b"\r\n\r\n", data, b"\r\n"]
    return f"multipart/mixed; boundary={boundary}", b"".join([*chunks, mark, b"--\r\n"])

"""Files that go out with a call, and files that come back."""

from __future__ import annotations

import contextlib
import io
import mimetypes
import os
import tempfile
from collections.abc import Mapping
from email.message import Message
from email.parser import BytesParser
from pathlib import Path, PurePath
from typing import IO, Any

Part = tuple[str, IO[bytes], str]
"""Name, content and media type of a file in a form."""

_BINARY = "application/octet-stream"


class Files:
    """Files of one call; those opened here are closed when it ends."""

    def __init__(self) -> None:
        self._opened = contextlib.ExitStack()

    def __enter__(self) -> Files:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def part(self, value: Any) -> Part | str | None:
        """A path, an open file, bytes or a picture as a part; an ``http(s)`` address as itself.

        Raises:
            TypeError: none of these.
            OSError: the file cannot be opened.
        """
        if value is None:
            return None
        if isinstance(value, str) and value.startswith(("http://", "https://")):
            return value
        if isinstance(value, (str, PurePath)):
            path = Path(value)
            return path.name, self._opened.enter_context(path.open("rb")), _type_of(path.name)
        if isinstance(value, (bytes, bytearray)):
            return "upload", io.BytesIO(value), _BINARY
        if any(base.__module__ == "PIL.Image" and base.__name__ == "Image" for base in type(value).__mro__):
            kind = value.format or "PNG"
            buffer = io.BytesIO()
            value.save(buffer, format=kind)
            buffer.seek(0)
            return f"upload.{kind.lower()}", buffer, f"image/{kind.lower()}"
        if hasattr(value, "read"):
            name = os.path.basename(str(getattr(value, "name", "upload")))
            return name, value, _type_of(name)
        raise TypeError(
            f"expected a path, an open file, bytes, a picture or an address, found {type(value).__name__}"
        )


def _type_of(name: str) -> str:
    return mimetypes.guess_type(name)[0] or _BINARY


class Received:
    """A directory for the files of answers; it goes with the client."""

    def __init__(self) -> None:
        self._directory: tempfile.TemporaryDirectory[str] | None = None

    def file(self, headers: Mapping[str, str], content: bytes, *, is_picture: bool) -> Any:
        """A path of a file that was received, or a picture."""
        if is_picture:
            from PIL import Image

            return Image.open(io.BytesIO(content))
        if self._directory is None:
            self._directory = tempfile.TemporaryDirectory(prefix="tiffin-client-")
        handle, path = tempfile.mkstemp(suffix=_name_in(headers), dir=self._directory.name)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        return Path(path)

    def files(self, headers: Mapping[str, str], content: bytes, *, is_picture: bool) -> list[Any]:
        """The parts of a multipart answer."""
        head = f"content-type: {headers.get('content-type', '')}\r\n\r\n".encode("latin-1", "replace")
        parts = BytesParser().parsebytes(head + content).get_payload()
        found = []
        for part in parts if isinstance(parts, list) else []:
            assert isinstance(part, Message)
            lines = {name.lower(): str(value) for name, value in part.items()}
            data = part.get_payload(decode=True)
            assert isinstance(data, bytes)
            found.append(self.file(lines, data, is_picture=is_picture))
        return found

    def close(self) -> None:
        """Remove the directory and what is in it."""
        if self._directory is not None:
            self._directory.cleanup()
            self._directory = None


def _name_in(headers: Mapping[str, str]) -> str:
    message = Message()
    message["content-disposition"] = headers.get("content-disposition", "")
    # The last part only: a server must not choose the place.
    return os.path.basename((message.get_filename() or "").replace("\\", "/")).replace("\0", "")[-100:]

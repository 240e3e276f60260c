"""Pickles and joblib files: opened, decompressed, checked, and loaded with nothing but allowed imports."""

from __future__ import annotations

import bz2
import gzip
import inspect
import io
import lzma
import pickle
from pathlib import Path
from typing import Any, BinaryIO, cast

from joblib.compressor import BinaryZlibFile
from joblib.numpy_pickle import NumpyArrayWrapper, NumpyUnpickler

from tiffin.errors import ModelError, TiffinError, UntrustedArtefact
from tiffin.models import safety

# Newer versions of joblib ask whether to swap bytes written on a machine of the other byte order.
_NATIVE: dict[str, Any] = (
    {"ensure_native_byte_order": True}
    if "ensure_native_byte_order" in inspect.signature(NumpyUnpickler.__init__).parameters
    else {}
)


def load(file: Path, *, trust: bool = False) -> Any:
    """The object in a ``.joblib``, ``.pkl`` or ``.pickle`` file, however it is compressed.

    Raises:
        UntrustedArtefact: it imports what is not allowed, and ``trust`` is false.
        ModelError: it is damaged, or a package it needs is not installed.
    """
    if not trust:
        with opened(file) as stream:
            safety.refuse(safety.imports_of(stream, file), file)
    kind = NumpyUnpickler if trust else _AllowListUnpickler
    try:
        with opened(file) as stream:
            return kind(str(file), stream, **_NATIVE).load()
    except TiffinError:
        raise
    except ModuleNotFoundError as error:
        raise ModelError(
            f"{file.name} needs the package {error.name}, which is not installed",
            hint=f"pip install {str(error.name).partition('.')[0]}",
        ) from error
    except Exception as error:
        raise ModelError(
            f"{file.name} cannot be opened: {type(error).__name__}: {error}",
            hint="it may come from another version of its framework: install that one, or save the model again",
        ) from error


def opened(file: Path) -> BinaryIO:
    """The pickle's bytes, decompressed as joblib would: by the first bytes, never by the name."""
    stream = file.open("rb")
    start = stream.read(8)
    stream.seek(0)
    if start.startswith(b"\x1f\x8b"):
        return cast(BinaryIO, _closing(gzip.GzipFile(fileobj=stream), stream))
    if start.startswith(b"BZ"):
        return cast(BinaryIO, _closing(bz2.BZ2File(stream), stream))
    if start.startswith((b"\xfd7zXZ", b"\x5d\x00")):
        return cast(BinaryIO, _closing(lzma.LZMAFile(stream), stream))
    if start.startswith(b"\x04\x22\x4d\x18"):
        return cast(BinaryIO, _closing(_lz4(stream, file), stream))
    if start.startswith(b"\x78"):
        return cast(BinaryIO, _closing(BinaryZlibFile(stream), stream))
    if start.startswith(b"ZF"):
        stream.close()
        raise ModelError(
            f"{file.name} was written by joblib before 0.10", hint="load it there, and save it with a newer joblib"
        )
    return stream


def _lz4(stream: BinaryIO, file: Path) -> Any:
    try:
        import lz4.frame  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        stream.close()
        raise ModelError(
            f"{file.name} is compressed with lz4, which is not installed", hint="pip install lz4"
        ) from None
    return lz4.frame.LZ4FrameFile(stream, "rb")


class _closing(io.BufferedReader):  # noqa: N801
    """A decompressor that closes the file below it too."""

    def __init__(self, decompressor: Any, below: BinaryIO) -> None:
        super().__init__(decompressor, 1 << 20)
        self._below = below

    def close(self) -> None:
        super().close()
        self._below.close()


class _AllowListUnpickler(NumpyUnpickler):  # type: ignore[misc]
    """Joblib's reader, with each import held against the allow-list when it happens."""

    dispatch = dict(NumpyUnpickler.dispatch)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._imported: dict[int, Any] = {}

    def find_class(self, module: str, name: str) -> Any:
        found = safety.resolved(module, name, self.proto)
        safety.refuse([found], Path(self.filename))
        if found == ("numpy", "memmap"):
            self._imported[id(self.np.ndarray)] = self.np.ndarray
            return self.np.ndarray
        thing = super().find_class(module, name)
        if found.module.startswith("sklearn.") and getattr(thing, "__module__", None) != found.module:
            # A name that sklearn imported from elsewhere is not sklearn's to give.
            raise UntrustedArtefact(
                f"{Path(self.filename).name} imports {found}, which is not defined there",
                hint="when you trust whoever made the file, allow it with --trust",
            )
        self._imported[id(thing)] = thing
        return thing

    def _only_imported(self, thing: Any) -> None:
        """Objects can be callable too, with what power nobody listed; a saved model calls imports only."""
        if id(thing) not in self._imported:
            raise UntrustedArtefact(
                f"{Path(self.filename).name} calls a {type(thing).__name__} that it made itself"
            )

    def load_reduce(self) -> None:
        self._only_imported(self.stack[-2])
        super().load_reduce()

    dispatch[pickle.REDUCE[0]] = load_reduce

    def load_newobj(self) -> None:
        self._only_imported(self.stack[-2])
        super().load_newobj()

    dispatch[pickle.NEWOBJ[0]] = load_newobj

    def load_newobj_ex(self) -> None:
        self._only_imported(self.stack[-3])
        super().load_newobj_ex()

    dispatch[pickle.NEWOBJ_EX[0]] = load_newobj_ex

    def _instantiate(self, klass: Any, args: Any) -> None:
        self._only_imported(klass)
        super()._instantiate(klass, args)

    def load_build(self) -> None:
        wrapper, state = self.stack[-2], self.stack[-1]
        if id(wrapper) in self._imported:
            raise UntrustedArtefact(f"{Path(self.filename).name} changes something that it did not make")
        if isinstance(wrapper, NumpyArrayWrapper):
            # Exact types, so that what is judged here is what joblib will see.
            if type(state) is not dict or not isinstance(state.get("dtype"), self.np.dtype):
                raise ModelError(f"{Path(self.filename).name} holds an array without a dtype")
            if state["dtype"].hasobject:
                # Before joblib 1.6 the pickle nested here is read by plain pickle.load, unchecked: read it here.
                self.stack.pop()
                self.stack[-1] = _AllowListUnpickler(self.filename, self.file_handle, **_NATIVE).load()
                return
        super().load_build()

    dispatch[pickle.BUILD[0]] = load_build

"""Values to frames and back, without pickle: nothing that comes in chooses what code is run.

What JSON has, bytes, dates and the fields of pydantic models, dataclasses and msgspec structs go into the frame's
tree as msgpack; what the receiver makes of them follows from its own annotations. These keep their type by
themselves, each a msgpack extension whose content is msgpack again:

====  =====================================  ==============================================================
code  what                                   content
====  =====================================  ==============================================================
1     numpy array, scalar; torch, tf tensor  kind, buffer, dtype, is in Fortran's order, shape
2     numpy array of objects                 shape, list of elements
3     pandas DataFrame or Series by Arrow    what, buffer (an Arrow IPC stream)
4     pandas DataFrame by columns            column names, columns, index
5     polars DataFrame or Series             what, buffer (an Arrow IPC stream)
6     PIL image, its pixels                  mode, width, height, format, buffer
7     PIL image, in its own format           format, buffer
8     file                                   name, buffer
9     complex number                         real, imaginary
====  =====================================  ==============================================================
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

import msgspec
from msgspec import msgpack

from tiffin.codec import framing
from tiffin.codec.framing import Part
from tiffin.errors import DecodeError, MissingExtra, ServiceError

ARRAY, OBJECTS, ARROW, COLUMNS, POLARS, PIXELS, PICTURE, FILE, COMPLEX = range(1, 10)

_DTYPE = re.compile(r"[<>|=][?biufcSUmM]\d{1,6}(\[\d{0,6}[a-zA-Z]{1,2}\])?")
_MOST_DIMENSIONS = 32
_PIXEL_MODES = frozenset(
    {"1", "L", "LA", "La", "I", "F", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV", "I;16"}
)
_PLAIN: tuple[type[Any], ...] = (dict, list, tuple, str, bytes, int, float, set, frozenset)
_PICTURE_FORMATS = frozenset({"PNG", "GIF", "TIFF", "WEBP"})
"""Lossless ones with palettes; of others some are read by programs of others."""

Save = Callable[[str, memoryview], Path]
"""Keeps a file's bytes under a name that ends like the given one, and says where."""


def encode(value: Any) -> list[Part]:
    """A value as the parts of a frame; arrays are views of the caller's memory.

    Raises:
        ServiceError: something in it cannot go to another process; says what, and what could.
    """
    writer = _Writer()
    try:
        tree = msgpack.encode(value, enc_hook=writer.hook)
        return framing.pack(tree, writer.buffers)
    except (OverflowError, ValueError) as error:
        raise ServiceError(f"a value cannot go to another process: {error}") from error
    except RecursionError:
        raise ServiceError("a value cannot go to another process: it contains itself, or is too deep") from None


def decode(frame: bytes | bytearray | memoryview, save: Save) -> Any:
    """The value of a frame; its arrays are views of ``frame``, so they can be written to when it can be.

    Raises:
        DecodeError: it is not a frame, or what it says of its buffers is not so.
    """
    tree, buffers = framing.unpack(memoryview(frame))
    reader = _Reader(buffers, save)
    try:
        return reader.read(tree)
    except DecodeError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DecodeError(f"expected the tree of a frame in msgpack: {error}") from None
    except RecursionError:
        raise DecodeError("the tree of the frame is too deep") from None


# ---- out


class _Writer:
    def __init__(self) -> None:
        self.buffers: list[memoryview] = []

    def _keep(self, data: Any) -> int:
        self.buffers.append(memoryview(data))
        return len(self.buffers) - 1

    def _extension(self, code: int, *content: Any) -> msgpack.Ext:
        return msgpack.Ext(code, msgpack.encode(content, enc_hook=self.hook))

    def hook(self, value: Any) -> Any:
        """What msgpack has no form for; called by msgspec, also for what it returned."""
        for base in type(value).__mro__:
            write = _WRITERS.get((base.__module__.partition(".")[0], base.__name__))
            if write is not None:
                return write(self, value)
        if isinstance(value, PurePath):
            return self._file(Path(value))
        for plain in _PLAIN:
            if isinstance(value, plain):
                return plain(value)
        raise ServiceError(
            f"a {type(value).__module__}.{type(value).__qualname__} cannot go to another process",
            hint="give arrays, frames, images, files, pydantic models, dataclasses or JSON's types,"
            " or keep the dependency in the process",
        )

    def _array(self, array: Any, kind: str = "array") -> Any:
        import numpy

        if isinstance(array, numpy.ma.MaskedArray):
            raise ServiceError(
                "a masked array cannot go to another process", hint="give array.filled(), or both parts"
            )
        if array.dtype.kind == "O":
            return self._extension(OBJECTS, array.shape, array.reshape(-1).tolist())
        if array.dtype.itemsize == 0:
            array = array.astype(array.dtype.kind + "1")
        if not _DTYPE.fullmatch(array.dtype.str) or array.dtype.names:
            raise ServiceError(f"an array of {array.dtype} cannot go to another process")
        is_fortran = array.flags.f_contiguous and not array.flags.c_contiguous
        laid = array.T if is_fortran else numpy.ascontiguousarray(array)
        buffer = self._keep(laid.reshape(-1).view(numpy.uint8))
        return self._extension(ARRAY, kind, buffer, array.dtype.str, is_fortran, array.shape)

    def _scalar(self, value: Any) -> Any:
        import numpy

        return self._array(numpy.asarray(value), "scalar")

    def _torch(self, tensor: Any) -> Any:
        import torch

        tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
        if tensor.dtype == torch.bfloat16:  # which numpy does not have
            return self._array(tensor.view(torch.uint16).numpy(), "torch-bfloat16")
        return self._array(tensor.numpy(), "torch")

    def _tensorflow(self, tensor: Any) -> Any:
        return self._array(tensor.numpy(), "tensorflow")

    def _frame(self, frame: Any, what: str = "frame") -> Any:
        try:
            import pyarrow
        except ImportError:
            return self._columns(frame, what)
        try:
            table = pyarrow.Table.from_pandas(frame)
        except (pyarrow.ArrowException, TypeError, ValueError, OverflowError):  # columns of mixed objects, mostly
            return self._columns(frame, what)
        sink = pyarrow.BufferOutputStream()
        with pyarrow.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        return self._extension(ARROW, what, self._keep(sink.getvalue()))

    def _columns(self, frame: Any, what: str) -> Any:
        columns = [frame.iloc[:, position].to_numpy() for position in range(frame.shape[1])]
        return self._extension(COLUMNS, what, list(frame.columns), columns, frame.index.to_numpy())

    def _series(self, series: Any) -> Any:
        return self._frame(series.to_frame(), "unnamed series" if series.name is None else "series")

    def _index(self, index: Any) -> Any:
        return self._array(index.to_numpy())

    def _polars(self, value: Any) -> Any:
        import io

        what = "series" if type(value).__name__ == "Series" else "frame"
        stream = io.BytesIO()
        (value.to_frame() if what == "series" else value).write_ipc_stream(stream)
        return self._extension(POLARS, what, self._keep(stream.getbuffer()))

    def _image(self, image: Any) -> Any:
        image.load()
        if image.mode in _PIXEL_MODES:
            buffer = self._keep(image.tobytes())
            return self._extension(PIXELS, image.mode, *image.size, image.format or "", buffer)
        import io

        form = image.format if image.format in _PICTURE_FORMATS else "PNG"
        file = io.BytesIO()
        image.save(file, format=form)
        return self._extension(PICTURE, form, self._keep(file.getbuffer()))

    def _file(self, path: Path) -> Any:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ServiceError(f"the file {path} cannot go to another process: {error}") from error
        return self._extension(FILE, path.name, self._keep(data))

    def _complex(self, value: complex) -> Any:
        return self._extension(COMPLEX, value.real, value.imag)

    def _model(self, model: Any) -> Any:
        if getattr(type(model), "__pydantic_root_model__", False):
            return model.root
        return {**model.__dict__, **(model.__pydantic_extra__ or {})}

    def _time(self, time: Any) -> Any:
        return time.to_pydatetime()


_WRITERS: dict[tuple[str, str], Callable[[_Writer, Any], Any]] = {
    ("numpy", "ndarray"): _Writer._array,
    ("numpy", "generic"): _Writer._scalar,
    ("torch", "Tensor"): _Writer._torch,
    ("tensorflow", "Tensor"): _Writer._tensorflow,
    ("pandas", "DataFrame"): _Writer._frame,
    ("pandas", "Series"): _Writer._series,
    ("pandas", "Index"): _Writer._index,
    ("pandas", "Timestamp"): _Writer._time,
    ("polars", "DataFrame"): _Writer._polars,
    ("polars", "Series"): _Writer._polars,
    ("PIL", "Image"): _Writer._image,
    ("pydantic", "BaseModel"): _Writer._model,
    ("builtins", "complex"): _Writer._complex,
}
"""By package and name of a class or one of its bases, so that nothing is imported to find out."""


# ---- in


class _Reader:
    def __init__(self, buffers: list[memoryview], save: Save) -> None:
        self._buffers = buffers
        self._save = save
        self._decoder = msgpack.Decoder(ext_hook=self._hook)

    def read(self, tree: memoryview) -> Any:
        return self._decoder.decode(tree)

    def _hook(self, code: int, content: memoryview) -> Any:
        read = _READERS.get(code)
        if read is None:
            raise DecodeError(f"expected an extension of a frame, found number {code}")
        fields = self._decoder.decode(content)
        try:
            return read(self, *fields)
        except (DecodeError, MissingExtra):
            raise
        except Exception as error:  # pandas, Arrow and PIL raise what they like for what does not fit together
            raise DecodeError(f"extension {code} of a frame cannot be read: {error}") from error

    def _buffer(self, index: Any) -> memoryview:
        if type(index) is not int or not 0 <= index < len(self._buffers):
            raise DecodeError(f"expected one of {len(self._buffers)} buffers, found number {index!r:.40}")
        return self._buffers[index]

    def _array(self, kind: str, index: int, dtype: str, is_fortran: bool, shape: list[int]) -> Any:
        import numpy

        buffer = self._buffer(index)
        if type(dtype) is not str or not _DTYPE.fullmatch(dtype):
            raise DecodeError(f"expected the dtype of an array, found {dtype!r:.40}")
        if len(shape) > _MOST_DIMENSIONS or any(type(n) is not int or not 0 <= n < 2**62 for n in shape):
            raise DecodeError(f"expected the shape of an array, found {shape!r:.80}")
        wanted = numpy.dtype(dtype)
        count = math.prod(shape)
        if wanted.itemsize == 0 or wanted.itemsize * count != len(buffer):
            raise DecodeError(f"expected {wanted} in the shape {tuple(shape)}, found {len(buffer)} bytes")
        if count:
            array = numpy.frombuffer(buffer, dtype=wanted)
            array = array.reshape(shape[::-1]).T if is_fortran else array.reshape(shape)
        else:
            array = numpy.empty(shape, dtype=wanted)
        if kind == "array":
            return array
        return array[()] if kind == "scalar" else _as_tensor(kind, array)

    def _objects(self, shape: list[int], elements: list[Any]) -> Any:
        import numpy

        if math.prod(shape) != len(elements):
            raise DecodeError(f"expected objects in the shape {shape!r:.80}, found {len(elements)}")
        array = numpy.empty(len(elements), dtype=object)
        for position, element in enumerate(elements):  # numpy would make one array of elements that are arrays
            array[position] = element
        return array.reshape(shape)

    def _arrow(self, what: str, index: int) -> Any:
        table = self._table(index)
        table.validate(full=True)  # offsets that point elsewhere would be read without a look
        return _of(what, table.to_pandas())

    def _table(self, index: int) -> Any:
        try:
            import pyarrow
        except ImportError as error:
            raise MissingExtra(
                "a frame came as Arrow, and pyarrow is not installed here", hint="pip install pyarrow"
            ) from error
        with pyarrow.ipc.open_stream(pyarrow.py_buffer(self._buffer(index))) as stream:
            for field in stream.schema:
                if b"py_extension_type" in ((field.metadata or {}).get(b"ARROW:extension:name") or b""):
                    raise DecodeError("expected data, found an Arrow type that is a pickle")
            return stream.read_all()

    def _columns(self, what: str, names: list[Any], columns: list[Any], index: Any) -> Any:
        import pandas

        if len(names) != len(columns):
            raise DecodeError(f"expected {len(names)} columns, found {len(columns)}")
        frame = pandas.DataFrame(dict(enumerate(columns)), index=pandas.Index(index))
        frame.columns = pandas.Index(names)
        return _of(what, frame)

    def _polars(self, what: str, index: int) -> Any:
        import polars

        frame = polars.read_ipc_stream(bytes(self._buffer(index)))
        return frame.to_series(0) if what == "series" else frame

    def _pixels(self, mode: str, width: int, height: int, form: str, index: int) -> Any:
        from PIL import Image

        if mode not in _PIXEL_MODES:
            raise DecodeError(f"expected the mode of an image, found {mode!r:.40}")
        buffer = self._buffer(index)
        if not 0 <= width * height <= 8 * max(len(buffer), 1):  # before memory for them is asked for
            raise DecodeError(f"expected the pixels of {width!r:.20} x {height!r:.20}, found {len(buffer)} bytes")
        image = Image.frombytes(mode, (width, height), buffer)
        image.format = form or None
        return image

    def _picture(self, form: str, index: int) -> Any:
        import io

        from PIL import Image

        if form not in _PICTURE_FORMATS:
            raise DecodeError(f"expected the format of an image, found {form!r:.40}")
        image = Image.open(io.BytesIO(self._buffer(index)), formats=[form])
        image.load()
        return image

    def _file(self, name: str, index: int) -> Path:
        if not isinstance(name, str):
            raise DecodeError(f"expected the name of a file, found {name!r:.40}")
        return self._save(name, self._buffer(index))

    def _complex(self, real: float, imaginary: float) -> complex:
        return complex(real, imaginary)


_READERS: dict[int, Callable[..., Any]] = {
    ARRAY: _Reader._array,
    OBJECTS: _Reader._objects,
    ARROW: _Reader._arrow,
    COLUMNS: _Reader._columns,
    POLARS: _Reader._polars,
    PIXELS: _Reader._pixels,
    PICTURE: _Reader._picture,
    FILE: _Reader._file,
    COMPLEX: _Reader._complex,
}


def _of(what: str, frame: Any) -> Any:
    if what == "frame":
        return frame
    series = frame.iloc[:, 0]
    return series.rename(None) if what == "unnamed series" else series


def _as_tensor(kind: str, array: Any) -> Any:
    """A tensor where its framework is imported already; nothing that comes imports one."""
    if kind == "tensorflow":
        tensorflow = sys.modules.get("tensorflow")
        return array if tensorflow is None else tensorflow.constant(array)
    torch = sys.modules.get("torch")
    if torch is None:
        return array
    tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
    return tensor.view(torch.bfloat16) if kind == "torch-bfloat16" else tensor

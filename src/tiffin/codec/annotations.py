"""The table from an annotation to what it means on the wire.

========================  =======================  ====================================
annotation                schema                   on the wire
========================  =======================  ====================================
numpy.ndarray             TensorSchema             nested lists
torch.Tensor, tf.Tensor   TensorSchema             nested lists
pandas, polars, pyarrow   DataframeSchema          a list of objects, or an object of lists
pathlib.Path              FileSchema               a multipart file; a file answer
PIL.Image.Image           PILImageEncoder          a multipart file; an image answer
records with any of them  RecordSchema             an object of the fields
anything else             pydantic's own           JSON
========================  =======================  ====================================
"""

from __future__ import annotations

import collections.abc
import pathlib
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin

from tiffin.codec.files import FileSchema, PILImageEncoder
from tiffin.codec.frames import DataframeSchema, Library
from tiffin.codec.markers import is_marker
from tiffin.codec.records import RecordSchema, needs_help
from tiffin.codec.tensors import Format, TensorSchema

_CONTAINERS = (list, dict, tuple, set, frozenset, collections.abc.Sequence, collections.abc.Mapping)
_ITERATORS = (
    collections.abc.Iterator,
    collections.abc.Iterable,
    collections.abc.Generator,
    collections.abc.AsyncIterator,
    collections.abc.AsyncIterable,
    collections.abc.AsyncGenerator,
)


def adapt(annotation: Any) -> Any:
    """The annotation with our schemas in the places pydantic reads: also inside unions and containers."""
    annotation = _unaliased(annotation)
    origin = get_origin(annotation)
    if origin is Annotated:
        source, *metadata = get_args(annotation)
        adapted, rest = _adapt_one(source, metadata)
        return Annotated[(adapted, *rest)] if rest else adapted
    if origin in (typing.Union, types.UnionType):
        return typing.Union[tuple(adapt(a) for a in get_args(annotation))]  # noqa: UP007 - made at run time
    if origin in _CONTAINERS:
        return _rebuild(annotation, tuple(a if a is ... else adapt(a) for a in get_args(annotation)))
    adapted, rest = _adapt_one(annotation, [])
    return Annotated[(adapted, *rest)] if rest else adapted


def _rebuild(annotation: Any, arguments: tuple[Any, ...]) -> Any:
    if arguments == get_args(annotation):
        return annotation
    return (
        annotation.copy_with(arguments) if hasattr(annotation, "copy_with") else get_origin(annotation)[arguments]
    )


def _unaliased(annotation: Any) -> Any:
    """What a ``type`` statement stands for, where it stands for something with our types in it.

    ``numpy.typing.NDArray[numpy.float32]`` is one in newer numpy.
    """
    alias = get_origin(annotation) or annotation
    if type(alias).__name__ != "TypeAliasType":
        return annotation
    value, arguments = alias.__value__, get_args(annotation)
    value = value[arguments] if arguments and getattr(value, "__parameters__", ()) else value
    # An alias that names itself, as JSON's would, must stay one: pydantic knows where to stop.
    return value if _is_ours(value) else annotation


def _is_ours(source: Any) -> bool:
    source = get_args(source)[0] if get_origin(source) is Annotated else source
    return any(recognises(source) for recognises, _ in _TABLE)


def _adapt_one(source: Any, metadata: list[Any]) -> tuple[Any, list[Any]]:
    source = _unaliased(source)
    if any(isinstance(m, (TensorSchema, FileSchema, PILImageEncoder)) for m in metadata):
        return source, metadata
    for recognises, make in _TABLE:
        if recognises(source):
            return _plain(source), make(source, metadata)
    if get_origin(source) in (typing.Union, types.UnionType, *_CONTAINERS):
        return adapt(source), metadata
    if needs_help(source, _is_ours):
        return source, [RecordSchema(source), *metadata]
    return source, metadata


def _plain(source: Any) -> Any:
    # numpy.ndarray[Any, dtype[float64]] (NDArray) says nothing more to pydantic than numpy.ndarray.
    return get_origin(source) or source


def _is_from(source: Any, package: str, name: str) -> bool:
    """Whether a class, or one of its bases, is ``package...name``; imports nothing."""
    source = get_origin(source) or source
    if not isinstance(source, type):
        return False
    return any(b.__module__.partition(".")[0] == package and b.__name__ == name for b in source.__mro__)


def _tensor(format_: Format) -> Callable[[Any, list[Any]], list[Any]]:
    def make(source: Any, metadata: list[Any]) -> list[Any]:
        dtype, shape, rest = _dtype_of(source), None, []
        for marker in metadata:
            if is_marker(marker, "Shape", "dimensions"):
                shape = tuple(marker.dimensions)
            elif is_marker(marker, "DType", "dtype"):
                if dtype is not None and dtype != marker.dtype:
                    raise TypeError(f"expected one dtype, found {dtype} and {marker.dtype}")
                dtype = marker.dtype
            elif not is_marker(marker, "ContentType", "content_type"):
                rest.append(marker)
        return [TensorSchema(format_, dtype, shape), *rest]

    return make


def _dtype_of(source: Any) -> str | None:
    """The dtype in ``numpy.typing.NDArray[numpy.float32]``."""
    arguments = get_args(source)
    if len(arguments) != 2 or not get_args(arguments[1]):
        return None
    import numpy

    scalar = get_args(arguments[1])[0]
    if not isinstance(scalar, type) or not issubclass(scalar, numpy.generic):
        return None
    try:
        return numpy.dtype(scalar).name
    except TypeError:  # an abstract one, such as numpy.floating
        return None


def _frame(library: Library) -> Callable[[Any, list[Any]], list[Any]]:
    def make(source: Any, metadata: list[Any]) -> list[Any]:
        found = next((m for m in metadata if is_marker(m, "DataframeSchema", "orient")), None)
        rest = [m for m in metadata if m is not found and not is_marker(m, "ContentType", "content_type")]
        orient, columns = (found.orient, found.columns) if found else ("records", None)
        return [DataframeSchema(orient, columns, library), *rest]

    return make


def _image(source: Any, metadata: list[Any]) -> list[Any]:
    return [PILImageEncoder(), *(m for m in metadata if not is_marker(m, "ContentType", "content_type"))]


def _file(source: Any, metadata: list[Any]) -> list[Any]:
    found = content_type_of(metadata)
    return [
        FileSchema(content_type=found),
        *(m for m in metadata if not is_marker(m, "ContentType", "content_type")),
    ]


_TABLE: list[tuple[Callable[[Any], bool], Callable[[Any, list[Any]], list[Any]]]] = [
    (lambda source: isinstance(source, type) and issubclass(source, pathlib.PurePath), _file),
    (lambda source: _is_from(source, "numpy", "ndarray"), _tensor("numpy-array")),
    (lambda source: _is_from(source, "torch", "Tensor"), _tensor("torch-tensor")),
    (lambda source: _is_from(source, "tensorflow", "Tensor"), _tensor("tf-tensor")),
    (lambda source: _is_from(source, "pandas", "DataFrame"), _frame("pandas")),
    (lambda source: _is_from(source, "polars", "DataFrame"), _frame("polars")),
    (lambda source: _is_from(source, "polars", "LazyFrame"), _frame("polars-lazy")),
    (lambda source: _is_from(source, "pyarrow", "Table"), _frame("pyarrow")),
    (lambda source: _is_from(source, "PIL", "Image"), _image),
]


def content_type_of(metadata: typing.Iterable[Any]) -> str | None:
    """The media type a ``ContentType`` among the metadata gives."""
    for marker in metadata:
        if is_marker(marker, "ContentType", "content_type"):
            return str(marker.content_type)
    return None


def is_file(annotation: Any) -> bool:
    """Whether an adapted annotation is a file or image, or a list or an optional one of those."""
    origin = get_origin(annotation)
    if origin is Annotated:
        source, *metadata = get_args(annotation)
        return any(isinstance(m, (FileSchema, PILImageEncoder)) for m in metadata) or is_file(source)
    if origin in (typing.Union, types.UnionType, list, collections.abc.Sequence):
        return any(is_file(argument) for argument in get_args(annotation))
    return False


def is_list(annotation: Any) -> bool:
    """Whether an annotation is a list, or an optional or annotated one."""
    origin = get_origin(annotation)
    if origin is Annotated or origin in (typing.Union, types.UnionType):
        return any(is_list(argument) for argument in get_args(annotation))
    return origin in (list, collections.abc.Sequence) or annotation is list


def item_of(annotation: Any) -> Any:
    """What an iterator or generator annotation yields; other annotations as they are."""
    if get_origin(annotation) in _ITERATORS:
        return (*get_args(annotation), Any)[0]
    return annotation

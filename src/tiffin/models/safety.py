"""What a pickle would import, found without importing or calling anything, and what of it is allowed.

A pickle is a program. ``imports_of`` runs it in a machine without power: every import gives an inert
stand-in, every call gives another one, and only the names are kept. Joblib's files are followed through the
raw arrays between their opcodes and into the pickles nested in arrays of objects; scanners that only
disassemble opcodes stop or lose their place there.

``is_allowed`` then holds each name against a table of what frameworks need to rebuild their models. Names that
are not in it are refused, whatever they are. ``models.pickles`` enforces the same table once more, at the moment
of each import. This is no sandbox for the frameworks' own C code: it keeps a file from naming other code.

| allowed | because |
|---|---|
| containers and numbers of ``builtins``, ``collections``, ``datetime`` | values, nothing is executed |
| ``copyreg._reconstructor``, ``_codecs.encode``, ``re._compile`` | old protocols, bytes, patterns |
| ``numpy``: dtypes, scalars, ufuncs, array and generator constructors | nothing that opens files or evaluates |
| ``scipy``: sparse containers, splines | arrays with a shape |
| ``sklearn``: classes, outside of ``datasets``, ``externals``, ``utils`` and tests | estimators and their parts |
| ``sklearn``: metrics, scores and the constructors of trees and losses, by name | they only compute |
| ``xgboost``, ``lightgbm``: ``Booster`` and the scikit-learn classes | models |

Refused on purpose although frameworks have them: ``builtins.getattr``, ``eval``, ``type``; ``operator``;
``functools.reduce``; ``numpy.load``, ``fromfile``, ``memmap`` (as a call), ``testing``, ``f2py``;
``scipy.stats`` (it evaluates text); ``joblib.load``; ``sklearn.datasets`` (it downloads).
"""

from __future__ import annotations

import _compat_pickle
import io
import pickle
import re
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from tiffin.errors import ModelError, UntrustedArtefact

MAX_DEPTH = 16
"""Pickles nested in pickles; a real model has two."""


def _words(text: str) -> list[str]:
    return text.split()


class Import(NamedTuple):
    """A name a pickle asks for."""

    module: str
    name: str

    def __str__(self) -> str:
        module = "os" if self.module in ("posix", "nt") else self.module
        return f"{module}.{self.name}"


_NUMPY_TYPES = _words(
    "dtype ndarray matrix bool bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 intc uintc int_ uint"
    " longlong ulonglong float16 float32 float64 float_ longdouble complex64 complex128 str_ bytes_ object_ void"
    " datetime64 timedelta64 generic number integer signedinteger unsignedinteger inexact floating"
)
_NUMPY_FUNCTIONS = _words(
    "abs absolute add arccos arcsin arctan arctan2 cbrt ceil clip copy cos cosh cumsum deg2rad degrees divide"
    " exp exp2 expm1 fabs floor hypot identity isfinite isinf isnan log log10 log1p log2 logical_and logical_not"
    " logical_or max maximum mean median min minimum multiply nan_to_num nanmax nanmean nanmedian nanmin negative"
    " power prod rad2deg radians ravel reciprocal remainder rint round sign sin sinh sqrt square std subtract sum"
    " tan tanh transpose true_divide var asarray array"
)
_BIT_GENERATORS = _words("MT19937 PCG64 PCG64DXSM Philox SFC64")
_SPARSE = _words("bsr coo csc csr dia dok lil")

_TABLE: dict[str, frozenset[str]] = {
    "builtins": frozenset(
        _words("bool bytearray bytes complex dict float frozenset int list object range set slice str tuple")
    ),
    "collections": frozenset({"Counter", "OrderedDict", "defaultdict", "deque"}),
    "copyreg": frozenset({"_reconstructor"}),
    "_codecs": frozenset({"encode"}),
    "datetime": frozenset({"date", "datetime", "time", "timedelta", "timezone"}),
    "decimal": frozenset({"Decimal"}),
    "functools": frozenset({"partial"}),  # holds an allowed callable, adds no power
    "re": frozenset({"_compile"}),
    "joblib.numpy_pickle": frozenset({"NumpyArrayWrapper"}),
    # memmap only as the class of an array that joblib wrote; models.pickles puts ndarray in its place.
    "numpy": frozenset([*_NUMPY_TYPES, *_NUMPY_FUNCTIONS, "memmap"]),
    "numpy.dtypes": frozenset(
        f"{kind}DType"
        for kind in _words("Bool Int8 Int16 Int32 Int64 UInt8 UInt16 UInt32 UInt64 Float32 Float64 Object Str")
    ),
    "numpy.ma": frozenset({"MaskedArray"}),
    "numpy.ma.core": frozenset({"MaskedArray", "MaskedConstant", "_mareconstruct"}),
    **{
        f"numpy.{core}.{module}": names
        for core in ("core", "_core")
        for module, names in (
            ("multiarray", frozenset({"_reconstruct", "scalar"})),
            ("numeric", frozenset({"_frombuffer"})),
        )
    },
    "numpy.random._pickle": frozenset({"__randomstate_ctor", "__bit_generator_ctor", "__generator_ctor"}),
    "numpy.random.bit_generator": frozenset({"SeedSequence", "__pyx_unpickle_SeedSequence"}),
    **{f"numpy.random._{name.lower()}": frozenset({name}) for name in _BIT_GENERATORS},
    **{f"scipy.sparse._{name}": frozenset({f"{name}_matrix", f"{name}_array"}) for name in _SPARSE},
    **{f"scipy.sparse.{name}": frozenset({f"{name}_matrix"}) for name in _SPARSE},
    "scipy.interpolate._bsplines": frozenset({"BSpline"}),
    "scipy.interpolate._interpolate": frozenset({"interp1d"}),
    "scipy.interpolate.interpolate": frozenset({"interp1d"}),
    "scipy.special._ufuncs": frozenset({"expit", "logit", "log1p", "expm1", "xlogy", "boxcox1p", "boxcox"}),
    "scipy._lib.array_api_compat.numpy._aliases": frozenset({"asarray"}),
    "sklearn.cluster._kmeans": frozenset({"_kmeans_single_lloyd", "_kmeans_single_elkan"}),
    "sklearn.compose._column_transformer": frozenset({"make_column_selector"}),
    "sklearn.feature_extraction.text": frozenset({"strip_accents_ascii", "strip_accents_unicode", "strip_tags"}),
    "sklearn.feature_selection._univariate_selection": frozenset(
        {"chi2", "f_classif", "f_regression", "f_oneway"}
    ),
    "sklearn.feature_selection._mutual_info": frozenset({"mutual_info_classif", "mutual_info_regression"}),
    "sklearn.metrics._dist_metrics": frozenset({"newObj"}),
    "sklearn.neighbors._ball_tree": frozenset({"newObj"}),
    "sklearn.neighbors._kd_tree": frozenset({"newObj"}),
    "sklearn.preprocessing._function_transformer": frozenset({"_identity"}),
    "sklearn.utils._bunch": frozenset({"Bunch"}),
    "sklearn.utils._metadata_requests": frozenset(
        {"MetadataRequest", "MethodMetadataRequest", "MetadataRouter", "MethodMapping", "MethodPair"}
    ),
    "sklearn.utils.deprecation": frozenset(),
    "xgboost.core": frozenset({"Booster"}),
    "xgboost.callback": frozenset({"EarlyStopping", "EvaluationMonitor"}),
    "lightgbm.basic": frozenset({"Booster"}),
    "lightgbm.callback": frozenset({"_EarlyStoppingCallback", "_LogEvaluationCallback"}),
}

# Modules whose own functions only compute numbers from numbers.
_COMPUTING = re.compile(
    r"sklearn\.metrics\.(_classification|_regression|_ranking|pairwise|cluster\._(un)?supervised)"
)
_SKLEARN_CLOSED = re.compile(
    r"(^|\.)(tests|conftest)(\.|$)|^sklearn\.(datasets|externals|utils|inspection|callback|experimental|_build_utils)"
)
_CLASS = re.compile(r"_{0,2}[A-Z][A-Za-z0-9_]*")
_FUNCTION = re.compile(r"_?[a-z][a-z0-9_]*")


def is_allowed(found: Import) -> bool:
    """Whether a pickle may import this; a name with a dot would reach into what it names, and may not."""
    module, name = found
    if "." in name:
        return False
    if name in _TABLE.get(module, ()):
        return True
    if module.startswith("sklearn."):
        if _SKLEARN_CLOSED.search(module):
            return False
        if name.startswith("__pyx_unpickle_"):
            return True
        return bool(_CLASS.fullmatch(name) or (_COMPUTING.fullmatch(module) and _FUNCTION.fullmatch(name)))
    if module == "xgboost.sklearn":
        return name.startswith("XGB")
    if module == "lightgbm.sklearn":
        return name.startswith("LGBM")
    return False


def refuse(found: list[Import], file: Path) -> None:
    """Raise UntrustedArtefact when something in ``found`` is not allowed."""
    refused = [str(item) for item in dict.fromkeys(found) if not is_allowed(item)]
    if not refused:
        return
    shown = ", ".join(refused[:5]) + (f" and {len(refused) - 5} more" if len(refused) > 5 else "")
    raise UntrustedArtefact(
        f"{file.name} would import {shown}, which no model of a known framework needs:"
        " opening it could run any code",
        hint=f"when you trust whoever made {file}, allow it with --trust",
    )


def resolved(module: str, name: str, protocol: int) -> Import:
    """The import as Python 3 knows it: protocols 0 to 2 may use Python 2's names."""
    if protocol < 3:
        if (module, name) in _compat_pickle.NAME_MAPPING:
            module, name = _compat_pickle.NAME_MAPPING[module, name]
        elif module in _compat_pickle.IMPORT_MAPPING:
            module = _compat_pickle.IMPORT_MAPPING[module]
    return Import(module, name)


def imports_of(stream: BinaryIO, file: Path) -> list[Import]:
    """Everything the pickle in ``stream`` (decompressed) would import, in order, with repetitions removed.

    Raises:
        UntrustedArtefact: it does things no model does, so that it cannot be followed.
        ModelError: it is damaged.
    """
    found: dict[Import, None] = {}
    try:
        _Scan(stream, found).load()
    except _CannotFollow as error:
        raise UntrustedArtefact(
            f"{file.name}: {error}", hint=f"when you trust whoever made {file}: --trust"
        ) from None
    except Exception as error:
        # What was seen before the damage is judged first: a pickle may end in rubbish on purpose.
        refuse(list(found), file)
        raise ModelError(
            f"{file.name} is not a whole pickle: {type(error).__name__}: {error}",
            hint="save the model again, and compare the file's size with the original's",
        ) from error
    return list(found)


class _CannotFollow(Exception):
    """A pickle does what no saved model does."""


class _Inert:
    """Stands for what a pickle made: by calling an import, and by giving it a state."""

    def __init__(self, origin: Import, arguments: tuple[Any, ...] = ()) -> None:
        self.origin = origin
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        pass

    def extend(self, values: Any) -> None:
        pass

    def add(self, value: Any) -> None:
        pass

    def update(self, values: Any) -> None:
        pass


class _Imported(_Inert):
    """Stands for what a pickle imported; nothing else may be called, and it may not be changed."""

    def call(self, arguments: tuple[Any, ...]) -> _Inert:
        if self.origin == ("copyreg", "_reconstructor") and arguments and isinstance(arguments[0], _Imported):
            return _Inert(arguments[0].origin)
        return _Inert(self.origin, arguments)


_PurePythonUnpickler: Any = pickle._Unpickler  # the C one cannot stop at joblib's arrays


class _Scan(_PurePythonUnpickler):  # type: ignore[misc]
    """The machine without power."""

    dispatch = dict(_PurePythonUnpickler.dispatch)

    def __init__(self, stream: BinaryIO, found: dict[Import, None], depth: int = 0) -> None:
        super().__init__(stream)
        self.stream = stream
        self.found = found
        self.depth = depth

    def find_class(self, module: str, name: str) -> _Imported:
        origin = resolved(module, name, self.proto)
        self.found[origin] = None
        return _Imported(origin)

    def persistent_load(self, pid: Any) -> Any:
        raise _CannotFollow("it refers to objects outside of the file, which no saved model does")

    def get_extension(self, code: int) -> None:
        raise _CannotFollow("it uses extension codes, which no saved model does")

    def load_newobj(self) -> None:
        arguments = self.stack.pop()
        self._make(arguments)

    dispatch[pickle.NEWOBJ[0]] = load_newobj

    def load_newobj_ex(self) -> None:
        self.stack.pop()
        arguments = self.stack.pop()
        self._make(arguments)

    dispatch[pickle.NEWOBJ_EX[0]] = load_newobj_ex

    def load_reduce(self) -> None:
        arguments = self.stack.pop()
        self._make(arguments)

    dispatch[pickle.REDUCE[0]] = load_reduce

    def _make(self, arguments: Any) -> None:
        self._instantiate(self.stack.pop(), arguments)

    def _instantiate(self, klass: Any, args: Any) -> None:
        if not isinstance(klass, _Imported) or not isinstance(args, (tuple, list)):
            raise _CannotFollow("it calls something it made itself, which no saved model does")
        self.append(klass.call(tuple(args)))

    def load_build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if not isinstance(target, _Inert) or isinstance(target, _Imported):
            raise _CannotFollow("it changes something it did not make, which no saved model does")
        target.state = state
        if target.origin == ("joblib.numpy_pickle", "NumpyArrayWrapper"):
            self._pass_over_array(state)

    dispatch[pickle.BUILD[0]] = load_build

    def _pass_over_array(self, state: dict[str, Any]) -> None:
        """Joblib writes the array's bytes (or a pickle of it) right behind the wrapper's state."""
        if _has_objects(state["dtype"]):
            if self.depth >= MAX_DEPTH:
                raise _CannotFollow(f"more than {MAX_DEPTH} pickles are nested in each other")
            _Scan(self.stream, self.found, self.depth + 1).load()
            return
        if state.get("numpy_array_alignment_bytes") is not None:
            self._skip(self.stream.read(1)[0])
        count = 1
        for length in state["shape"]:
            count *= int(length.arguments[-1]) if isinstance(length, _Inert) else int(length)
        self._skip(count * _item_size(state["dtype"]))

    def _skip(self, size: int) -> None:
        while size > 0:
            chunk = self.stream.read(min(size, 1 << 20))
            if not chunk:
                raise EOFError(f"{size} more bytes of an array were expected")
            size -= len(chunk)


def _has_objects(dtype: _Inert) -> bool:
    """Whether arrays of this dtype hold Python objects; ``dtype`` stands for ``numpy.dtype(code, ...)``."""
    if _code(dtype).startswith("O"):
        return True
    state = dtype.state
    if not isinstance(state, tuple) or len(state) < 5:
        return False
    _, _, subarray, _, fields = state[:5]
    inner = [subarray[0]] if isinstance(subarray, tuple) else []
    inner += [value[0] for value in fields.values()] if isinstance(fields, dict) else []
    return any(_has_objects(item) for item in inner)


def _item_size(dtype: _Inert) -> int:
    code = _code(dtype)
    match = re.fullmatch(r"[<>|=]?([a-zA-Z?])(\d*)", code)
    if match is None:
        raise _CannotFollow(f"an array has the dtype {code!r}, which is not known")
    if match[1] in "mM":
        return 8
    if not match[2]:
        raise _CannotFollow(f"an array has the dtype {code!r}, without a size")
    return int(match[2]) * (4 if match[1] == "U" else 1)


def _code(dtype: Any) -> str:
    if not isinstance(dtype, _Inert) or dtype.origin != ("numpy", "dtype") or not dtype.arguments:
        raise _CannotFollow("an array has no dtype that can be read")
    code = dtype.arguments[0]
    if isinstance(code, bytes):
        code = code.decode("ascii")
    if not isinstance(code, str):
        raise _CannotFollow("an array has no dtype that can be read")
    return code


def imports_in(data: bytes, file: Path = Path("pickle")) -> list[Import]:
    """``imports_of`` for bytes in memory."""
    return imports_of(io.BytesIO(data), file)

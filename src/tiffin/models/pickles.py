"""Pickles and joblib files: opened, decompressed, checked, and loaded with nothing but allowed imports.

Allowed imports alone are not enough: objects of allowed classes can be given attributes that lead elsewhere.
So a state may neither replace methods nor answer protocols (``__array_interface__`` is an address in memory),
what scikit-learn calls by name has to be the name of a method that predicts, and only containers are filled.
"""

from __future__ import annotations

import bz2
import collections
import copyreg
import functools
import gzip
import inspect
import io
import lzma
import pickle
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast

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


_CALLED_BY_NAME = frozenset(
    {"stack_method", "stack_method_", "chain_method", "chain_method_", "response_method", "_response_method"}
)
_PREDICTING = frozenset({"auto", "predict", "predict_proba", "predict_log_proba", "decision_function"})


class _Scorer:
    """Stands for scikit-learn's scorers, which call any method by its name; a served model never scores."""


class _AllowListUnpickler(NumpyUnpickler):  # type: ignore[misc]
    """Joblib's reader, with each import held against the allow-list when it happens, and each state looked at."""

    dispatch = dict(NumpyUnpickler.dispatch)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._imported: dict[int, Any] = {}

    def _refuse(self, what: str) -> NoReturn:
        raise UntrustedArtefact(
            f"{Path(self.filename).name} {what}, which no saved model does",
            hint="when you trust whoever made the file, allow it with --trust",
        )

    def find_class(self, module: str, name: str) -> Any:
        found = safety.resolved(module, name, self.proto)
        safety.refuse([found], Path(self.filename))
        if found == ("numpy", "memmap"):
            thing = self.np.ndarray
        else:
            thing = super().find_class(module, name)
            if found.module.startswith("sklearn.") and getattr(thing, "__module__", None) != found.module:
                # A name that sklearn imported from elsewhere is not sklearn's to give.
                self._refuse(f"imports {found}, which is not defined there")
            if found.module.startswith("sklearn.metrics._scorer"):
                thing = _Scorer
        self._imported[id(thing)] = thing
        return thing

    def _check_call(self, thing: Any, arguments: Any) -> None:
        """Objects can be callable too, with what power nobody listed; a saved model calls imports only."""
        if id(thing) not in self._imported:
            self._refuse(f"calls a {type(thing).__name__} that it made itself")
        if type(arguments) is not tuple:
            self._refuse("calls something without a tuple of arguments")
        if thing is functools.partial:
            self._check_partial(arguments)
        elif thing is copyreg._reconstructor:  # type: ignore[attr-defined]
            if arguments[2:] and isinstance(arguments[2], dict):
                self._check_names(arguments[2])
        elif thing is NumpyArrayWrapper and arguments:
            self._refuse("makes an array's wrapper by hand")

    def _check_partial(self, parts: tuple[Any, ...]) -> None:
        """A partial holds an imported function: of other classes and objects it could make more than values."""
        is_imported = bool(parts) and id(parts[0]) in self._imported
        if not is_imported or (isinstance(parts[0], type) and parts[0].__module__ != "builtins"):
            self._refuse("binds arguments to something that is no imported function")

    def load_reduce(self) -> None:
        self._check_call(self.stack[-2], self.stack[-1])
        super().load_reduce()

    dispatch[pickle.REDUCE[0]] = load_reduce

    def load_newobj(self) -> None:
        self._check_call(self.stack[-2], self.stack[-1])
        super().load_newobj()

    dispatch[pickle.NEWOBJ[0]] = load_newobj

    def load_newobj_ex(self) -> None:
        self._check_call(self.stack[-3], self.stack[-2])
        super().load_newobj_ex()

    dispatch[pickle.NEWOBJ_EX[0]] = load_newobj_ex

    def _instantiate(self, klass: Any, args: Any) -> None:
        self._check_call(klass, tuple(args))
        super()._instantiate(klass, args)

    def load_build(self) -> None:
        made, state = self.stack[-2], self.stack[-1]
        if id(made) in self._imported:
            self._refuse("changes something that it did not make")
        if isinstance(made, functools.partial):
            self._check_partial(state if type(state) is tuple else ())
        if isinstance(made, NumpyArrayWrapper):
            # Exact types, so that what is judged here is what joblib will see.
            if type(state) is not dict or not isinstance(state.get("dtype"), self.np.dtype):
                raise ModelError(f"{Path(self.filename).name} holds an array without a dtype")
            if state["dtype"].hasobject:
                # Before joblib 1.6 the pickle nested here is read by plain pickle.load, unchecked: read it here.
                self.stack.pop()
                self.stack[-1] = _AllowListUnpickler(self.filename, self.file_handle, **_NATIVE).load()
                return
        for part in (state, *state) if type(state) is tuple else (state,):
            if isinstance(part, dict):
                self._check_state(made, part)
        super().load_build()

    dispatch[pickle.BUILD[0]] = load_build

    def _check_state(self, made: Any, state: dict[Any, Any]) -> None:
        self._check_names(state)
        for name, value in state.items():
            if not isinstance(name, str):
                continue
            member = inspect.getattr_static(type(made), name, None)
            if hasattr(type(member), "__get__") and not hasattr(type(member), "__set__"):
                self._refuse(f"replaces the method {name} of a {type(made).__name__}")
            if name in _CALLED_BY_NAME and value is not None:
                state[name] = self._predicting(name, value)
            if name == "input" and isinstance(value, str) and value in ("filename", "file"):
                self._refuse("would open the files that callers name")

    def _predicting(self, name: str, value: Any) -> Any:
        """The value, when it names methods that predict; a list as a tuple, which cannot be changed later."""
        names = tuple(value) if type(value) in (list, tuple) else (value,)
        if not all(item is None or (type(item) is str and item in _PREDICTING) for item in names):
            self._refuse(f"calls what is not a method that predicts ({name})")
        return value if type(value) is str else names

    def _check_names(self, state: dict[Any, Any]) -> None:
        """Names that Python and numpy look up by themselves may not be set."""
        for name in state:
            if isinstance(name, str) and (type(name) is not str or (name[:2] == name[-2:] == "__")):
                self._refuse(f"sets {str(name)!r}")

    def _check_items(self, target: Any, names: list[Any]) -> None:
        if not isinstance(target, dict):
            self._refuse(f"fills a {type(target).__name__}")
        # A subclass may offer its keys as attributes, as sklearn's Bunch does.
        if type(target) not in (dict, collections.OrderedDict, collections.defaultdict, collections.Counter):
            self._check_names(dict.fromkeys(name for name in names if isinstance(name, str)))

    def load_setitem(self) -> None:
        self._check_items(self.stack[-3], self.stack[-2:-1])
        super().load_setitem()

    dispatch[pickle.SETITEM[0]] = load_setitem

    def load_setitems(self) -> None:
        self._check_items(self.metastack[-1][-1], self.stack[::2])
        super().load_setitems()

    dispatch[pickle.SETITEMS[0]] = load_setitems

    def _check_filled(self, target: Any) -> None:
        """Of anything else the state may say what fills it."""
        if type(target) not in (list, set, collections.deque):
            self._refuse(f"fills a {type(target).__name__}")

    def load_append(self) -> None:
        self._check_filled(self.stack[-2])
        super().load_append()

    dispatch[pickle.APPEND[0]] = load_append

    def load_appends(self) -> None:
        self._check_filled(self.metastack[-1][-1])
        super().load_appends()

    dispatch[pickle.APPENDS[0]] = load_appends

    def load_additems(self) -> None:
        self._check_filled(self.metastack[-1][-1])
        super().load_additems()

    dispatch[pickle.ADDITEMS[0]] = load_additems

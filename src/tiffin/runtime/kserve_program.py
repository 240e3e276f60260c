"""An author's program, run in this process as if it was started by itself: ``python model.py --flags``."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from tiffin.errors import ServiceError, TiffinError
from tiffin.service import kserve_compat, loading
from tiffin.service.kserve_compat import server
from tiffin.service.kserve_compat.server import Handed, Started

log = logging.getLogger(__name__)


def run(command: Sequence[str], directory: Path) -> Handed:
    """Run a program up to ``ModelServer().start([...])``, and take its models.

    Args:
        command: what follows ``python``: ``model.py --flags``, or ``-m package.module --flags``.
        directory: where it is started; first on ``sys.path``.

    Raises:
        ServiceError: it cannot be found, raised, ended, or gave no model that is ready.
    """
    if not command:
        raise ServiceError("expected the command of a program, found none", hint="build a bundle of it again")
    as_module = command[0] == "-m"
    name, arguments = (command[1], command[2:]) if as_module and len(command) > 1 else (command[0], command[1:])
    os.chdir(directory)
    _first_on_path(directory if as_module else (directory / name).parent)
    kserve_compat.provide()
    code, file, specification = _module_code(name, directory) if as_module else _script_code(directory / name)
    # Before kserve is imported: it reads the command line then.
    sys.argv = [file, *arguments]
    handed = server.take_over()
    module = _as_main(file, specification)
    try:
        exec(code, vars(module))
    except Started:
        pass
    except TiffinError:
        raise
    except SystemExit as error:
        raise ServiceError(
            f"{name} ended with exit code {_exit_code(error)} before it started its ModelServer",
            hint="its log has what it printed; a wrong flag is refused there" if error.code == 2 else None,
            at=_place(error, directory),
        ) from error
    except Exception as error:
        failure = ServiceError(
            f"{name} raised {type(error).__name__}: {error}", at=_place(error, directory), hint=_hint(error)
        )
        trace = loading.users_frames(error.__traceback__, directory)
        log.error("%s failed", name, exc_info=(type(error), error, trace))
        raise failure from error
    if not handed.models:
        raise ServiceError(
            f"{name} came to its end without ModelServer().start([model])",
            hint='start the server below `if __name__ == "__main__":`',
        )
    return handed


def _first_on_path(directory: Path) -> None:
    path = str(directory)
    if path in sys.path:
        sys.path.remove(path)
    sys.path.insert(0, path)


def _script_code(file: Path) -> tuple[CodeType, str, Any]:
    try:
        return compile(file.read_bytes(), str(file), "exec"), str(file), None
    except OSError as error:
        raise ServiceError(f"expected the program {file}, found none: {error.strerror or error}") from error
    except (SyntaxError, ValueError) as error:
        raise ServiceError(f"{file.name} is not a program of this Python: {error}", at=str(file)) from error


def _module_code(name: str, directory: Path) -> tuple[CodeType, str, Any]:
    try:
        specification = importlib.util.find_spec(name)
        if specification is not None and specification.submodule_search_locations is not None:
            name = f"{name}.__main__"
            specification = importlib.util.find_spec(name)
        loader: Any = getattr(specification, "loader", None)
        code = loader.get_code(name) if loader is not None else None
    except (ImportError, SyntaxError, ValueError, AttributeError) as error:
        raise ServiceError(f"python -m {name} cannot be run: {error}", at=str(directory)) from error
    if code is None or specification is None:
        raise ServiceError(f"expected a module {name} in {directory}, found none")
    return code, str(specification.origin), specification


def _as_main(file: str, specification: Any) -> ModuleType:
    """A module that stays ``__main__``, so that what was pickled by the program as such can be read again."""
    module = ModuleType("__main__")
    module.__file__ = file
    module.__spec__ = specification
    module.__package__ = specification.parent if specification is not None else None
    module.__builtins__ = __builtins__  # type: ignore[attr-defined]
    sys.modules["__main__"] = module
    return module


def _exit_code(error: SystemExit) -> object:
    return 0 if error.code is None else error.code


def _hint(error: BaseException) -> str | None:
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed: install it in this environment ({sys.prefix})"
    if isinstance(error, FileNotFoundError) and str(error.filename or "").startswith("/mnt/models"):
        return "/mnt/models is a place in a container: read the directory from the variable STORAGE_URI or a flag"
    return None


def _place(error: BaseException, directory: Path) -> str | None:
    place, trace = None, error.__traceback__
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if file.is_relative_to(directory):
            place = f"{file.name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place

"""A service from a target: ``module:Attribute``, ``path/file.py:Attribute``, ``module``, or a directory.

The only place where an author's code is imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import FunctionType, ModuleType, TracebackType
from typing import Any

from tiffin.errors import ServiceError, TiffinError
from tiffin.service import arguments, compat, configuration
from tiffin.service.definition import Service
from tiffin.service.function import service_of
from tiffin.spec.target import parse

_BUILD_FILES = ("bentofile.yaml", "bentofile.yml")


def load(target: str, directory: str | Path = ".") -> Service[Any] | type:
    """Import what a target names.

    Args:
        target: ``module:Attribute`` (dots allowed on both sides), ``path/file.py:Attribute``, either without the
            attribute when the module has one service nobody depends on, or a directory with a bentofile.yaml.
            Empty means ``.``.
        directory: Where the target's files are; put first on ``sys.path``.

    Returns:
        The Service, every signature read (of a function, one with that endpoint); or the class, when a plain one
        is named.

    Raises:
        ServiceError: nothing is there, the author's code raised (the traceback, from that code on, is the
            error's note), or a signature cannot be served.
    """
    directory = Path(directory).resolve()
    if not directory.is_dir():
        raise ServiceError(f"expected a directory, found none at {directory}")
    target, directory = _from_build_file(target, directory)
    named = parse(target)
    if named is None:
        raise ServiceError(
            f"expected module:Class, path/file.py:Class or a directory, found {target!r}",
            hint="for example service:Iris",
        )
    module_name, attribute = named.module or named.file, named.attribute
    _first_on_path(directory)
    compat.provide()
    module = _import(module_name, directory)
    found = _attribute(module, attribute, target) if attribute else _only_service(module, target)
    found = compat.adapt(found)
    if isinstance(found, Service):
        configuration.apply(found)
        found.check()
        return found
    if isinstance(found, type):
        return found
    if isinstance(found, FunctionType):
        service = service_of(found)
        service.check()
        return service
    raise ServiceError(
        f"expected a class decorated with @service at {target!r}, found {found!r}",
        hint="name it as module:ClassName",
    )


def _from_build_file(target: str, directory: Path) -> tuple[str, Path]:
    """Follow a directory to the service its build file names."""
    named = (directory / (target or ".")).resolve()
    if not named.is_dir() or (target and ":" in target):
        return target, directory
    if target.isidentifier() and not _build_file(named):
        return target, directory  # a package, not a project
    bento = named / "bento.yaml"
    if bento.is_file():
        return _service_key(bento), named / "src"
    file = _build_file(named)
    if file is not None:
        return _service_key(file), named
    pyproject = named / "pyproject.toml"
    if pyproject.is_file():
        import tomllib

        section = tomllib.loads(pyproject.read_text()).get("tool", {}).get("bentoml", {}).get("build", {})
        if "service" in section:
            return str(section["service"]), named
    if (named / "service.py").is_file():
        return "service", named
    raise ServiceError(
        f"expected a bentofile.yaml or service.py in {named}, found neither",
        hint="name the service as module:Class",
    )


def _build_file(directory: Path) -> Path | None:
    return next((directory / name for name in _BUILD_FILES if (directory / name).is_file()), None)


def _service_key(file: Path) -> str:
    import yaml

    try:
        content = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise ServiceError(f"expected YAML: {error}", at=str(file)) from None
    target = content.get("service") if isinstance(content, dict) else None
    given = content.get("args") if isinstance(content, dict) else None
    arguments.set_defaults(given if isinstance(given, dict) else {})
    if not isinstance(target, str) or not target:
        raise ServiceError("expected service: module:Class, found none", at=str(file))
    return target


def _first_on_path(directory: Path) -> None:
    path = str(directory)
    if path in sys.path:
        sys.path.remove(path)
    sys.path.insert(0, path)


def _import(name: str, directory: Path) -> ModuleType:
    if name.endswith(".py") or "/" in name:
        file = (directory / name).resolve()
        if not file.is_file():
            raise ServiceError(f"expected a file, found none at {file}")
        return _import_file(file, directory)
    found = sys.modules.get(name)
    try:
        if found is not None and _is_elsewhere(name, found, directory):
            # Another project's module of that name was imported before, in this process.
            del sys.modules[name]
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ServiceError(
                f"no module named {name!r} in {directory}", hint=_nearby(directory), at=name
            ) from None
        raise _failed(name, error, directory) from error
    except TiffinError as error:
        error.add_note(_users_traceback(error, directory))
        raise
    except (Exception, SystemExit) as error:
        raise _failed(name, error, directory) from error


def _import_file(file: Path, directory: Path) -> ModuleType:
    try:
        relative = file.relative_to(directory)
    except ValueError:
        _first_on_path(file.parent)
        return _import(file.stem, file.parent)
    parts = relative.with_suffix("").parts
    if all(part.isidentifier() for part in parts):
        if len(parts) > 1 and not (file.parent / "__init__.py").is_file():
            # Without a package around it the file's neighbours are its modules.
            _first_on_path(file.parent)
            return _import(file.stem, file.parent)
        return _import(".".join(parts), directory)
    return _import_odd_name(file, directory)


def _import_odd_name(file: Path, directory: Path) -> ModuleType:
    """A file such as ``my-service.py``, which no import statement can name."""
    name = "".join(c if c.isalnum() else "_" for c in file.stem)
    specification = importlib.util.spec_from_file_location(name, file)
    if specification is None or specification.loader is None:
        raise ServiceError(f"expected a Python file, found {file}")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    try:
        specification.loader.exec_module(module)
    except TiffinError:
        raise
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _failed(str(file), error, directory) from error
    return module


def _is_elsewhere(name: str, module: ModuleType, directory: Path) -> bool:
    file = getattr(module, "__file__", None)
    here = directory / Path(*name.split("."))
    ours = here.with_suffix(".py") if here.with_suffix(".py").is_file() else here / "__init__.py"
    return file is not None and ours.is_file() and Path(file).resolve() != ours.resolve()


def _nearby(directory: Path) -> str:
    files = sorted(p.stem for p in directory.glob("*.py") if p.stem.isidentifier())[:8]
    return f"modules there: {', '.join(files)}" if files else "there is no Python file in that directory"


def _failed(name: str, error: BaseException, directory: Path) -> ServiceError:
    """The author's code raised; or it imports something that is not installed."""
    if isinstance(error, ModuleNotFoundError):
        message = f"module {name!r} imports {error.name!r}, which is not installed"
        hint: str | None = f"install it in this environment ({sys.prefix})"
    else:
        message = f"module {name!r} failed while it was imported: {type(error).__name__}: {error}"
        hint = None
    failure = ServiceError(message, hint=hint, at=_place(error, directory))
    failure.add_note(_users_traceback(error, directory))
    return failure


def users_frames(trace: TracebackType | None, directory: Path) -> TracebackType | None:
    """The traceback from the first frame in the author's directory on; the whole one when there is none."""
    first = trace
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).is_relative_to(directory):
            return trace
        trace = trace.tb_next
    return first


def _users_traceback(error: BaseException, directory: Path) -> str:
    if isinstance(error, SyntaxError):
        # The frames are those of the import system, and what follows them names file and line.
        return "".join(traceback.format_exception_only(error)).rstrip()
    lines = traceback.format_exception(
        type(error), error, users_frames(error.__traceback__, directory), chain=False
    )
    return "".join(lines).rstrip()


def _place(error: BaseException, directory: Path) -> str | None:
    """File and line in the author's code where it went wrong."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    place = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if Path(frame.f_code.co_filename).is_relative_to(directory):
            place = f"{frame.f_code.co_filename}:{line}"
    return place


def _attribute(module: ModuleType, path: str, target: str) -> Any:
    found: Any = module
    for name in path.split("."):
        inner = getattr(found, "dependencies", None)
        if isinstance(inner, dict) and name in inner and inner[name].on is not None:
            found = inner[name].on  # module:Outer.inner names what Outer depends on
            continue
        try:
            found = getattr(found, name)
        except AttributeError:
            services = ", ".join(_services(module)) or "none"
            raise ServiceError(
                f"module {module.__name__!r} has no {path!r}", hint=f"services there: {services}", at=target
            ) from None
    return found


def _services(module: ModuleType) -> dict[str, Service[Any]]:
    found = {}
    for name, value in vars(module).items():
        adapted = compat.adapt(value)
        if isinstance(adapted, Service):
            found[name] = adapted
    return found


def _only_service(module: ModuleType, target: str) -> Service[Any]:
    found = _services(module)
    needed = {id(d.on) for service in found.values() for d in service.dependencies.values()}
    roots = {id(service): name for name, service in found.items() if id(service) not in needed}
    if len(roots) == 1:
        return found[next(iter(roots.values()))]
    if not roots:
        raise ServiceError(
            f"expected a class decorated with @service in module {module.__name__!r}, found none",
            hint=f"name a class as {target}:ClassName",
        )
    raise ServiceError(
        f"expected one service in module {module.__name__!r}, found {', '.join(sorted(roots.values()))}",
        hint=f"name one, for example {target}:{sorted(roots.values())[0]}",
    )

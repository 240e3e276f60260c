"""Options that whoever runs a service sets over its decorator, in the environment.

In rising order: the defaults, the decorator, the YAML file ``$BENTOML_CONFIG`` names, the JSON in
``$BENTOML_CONFIG_OVERRIDES``, the ``a.b=c`` words in ``$BENTOML_CONFIG_OPTIONS``. ``TIFFIN_CONFIG`` and the like
are read in place of each where they are set. A deployment file comes after all of them.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiffin.errors import ServiceError
from tiffin.service.options import OPTIONS

if TYPE_CHECKING:
    from tiffin.service.definition import Service

_OPTION_NAMES = frozenset(option.path.partition(".")[0] for option in OPTIONS)
_AROUND = frozenset(("version", "services"))


def apply(service: Service[Any], environment: Mapping[str, str] | None = None) -> None:
    """Give a service, and those it depends on, the options the environment sets for them.

    Raises:
        ServiceError: a source cannot be read, or an option's value is wrong; ``at`` names the variable.
    """
    sources = list(_sources(os.environ if environment is None else environment))
    if not sources:
        return
    services = service.all_services()
    for name, (variable, written) in ((name, source) for source in sources for name in services):
        found = _of_service(written, name, services, variable)
        if found:
            config = merged(services[name].config, found)
            try:
                services[name].reconfigure(config)
            except ServiceError as error:
                raise ServiceError(f"{variable}: {error}", hint=error.hint, at=error.at) from None


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """One over the other; dicts are joined, anything else is replaced."""
    found = dict(below)
    for key, value in above.items():
        inner = found.get(key)
        found[key] = merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return found


def _sources(environment: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    readers: tuple[tuple[str, Callable[[str, str], dict[str, Any]]], ...] = (
        ("TIFFIN_CONFIG", _yaml),
        ("TIFFIN_CONFIG_OVERRIDES", _json),
        ("TIFFIN_CONFIG_OPTIONS", _words),
    )
    for ours, read in readers:
        for variable in (ours, ours.replace("TIFFIN", "BENTOML")):
            if text := environment.get(variable):
                yield variable, _mapping(read(text, variable), variable)
                break


def _mapping(value: Any, variable: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ServiceError(f"{variable}: expected services: and options by name, found {type(value).__name__}")
    return value


def _yaml(text: str, variable: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(Path(text).read_text(encoding="utf-8"))
    except OSError as error:
        raise ServiceError(f"{variable}: cannot read {text}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ServiceError(f"{variable}: expected YAML in {text}: {error}") from None


def _json(text: str, variable: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ServiceError(f"{variable}: expected JSON: {error}") from None


def _words(text: str, variable: str) -> dict[str, Any]:
    import yaml

    found: dict[str, Any] = {}
    for word in shlex.split(text):
        path, equals, written = word.partition("=")
        if not equals or not path:
            raise ServiceError(f"{variable}: expected words such as services.Iris.workers=2, found {word!r}")
        value: Any = yaml.safe_load(written)
        for key in reversed(path.split(".")):
            value = {key: value}
        found = merged(found, value)
    return found


def _of_service(written: dict[str, Any], name: str, services: Mapping[str, Any], variable: str) -> dict[str, Any]:
    """What is said of one service: of all of them first, then of it by its name."""
    section = _mapping(written["services"], variable) if "services" in written else written
    for key in section:
        if key not in _OPTION_NAMES and key not in services and key not in _AROUND:
            known = ", ".join(sorted(services))
            raise ServiceError(
                f"{variable}: {key!r} is neither an option of @service nor one of the services here",
                hint=f"services here: {known}",
            )
    for_all = {key: value for key, value in section.items() if key in _OPTION_NAMES and key not in services}
    return merged(for_all, _mapping(section.get(name), f"{variable}: {name}"))


def load_config(file: str | os.PathLike[str] | None = None) -> None:
    """Take options from a YAML file, as ``$BENTOML_CONFIG`` does, for services that start from now on.

    Without a file the one in ``$TIFFIN_CONFIG`` or ``$BENTOML_CONFIG`` stays.

    Raises:
        ServiceError: it cannot be read as options.
    """
    if file is None:
        return
    _mapping(_yaml(os.fspath(file), "load_config"), "load_config")
    os.environ["TIFFIN_CONFIG"] = os.path.abspath(file)


def save_config(file: str | os.PathLike[str]) -> None:
    """Write every option the environment sets, as one YAML file that ``load_config`` takes.

    Raises:
        ServiceError: a source of them cannot be read.
    """
    import yaml

    found: dict[str, Any] = {}
    for _, written in _sources(os.environ):
        found = merged(found, written if "services" in written else {"services": written})
    Path(file).write_text(yaml.safe_dump(found or {"services": {}}), encoding="utf-8")

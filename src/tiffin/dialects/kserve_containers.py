"""Programs in containers: custom predictors, transformers, explainers, and runtimes that users wrote."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import msgspec

from tiffin.dialects import kubernetes, pods
from tiffin.dialects.fields import LATER, Fields
from tiffin.dialects.kserve_context import Context
from tiffin.dialects.kubernetes import Container
from tiffin.dialects.runtimes import MAIN, TRANSFORMER
from tiffin.spec import Artefact, ContainerSource, Resources

PREDICTOR_HOST = "$(PREDICTOR_HOST)"
"""Stands in arguments for the address of the predictor, which the target knows."""

_FIELDS = ("Name", "GenerateName", "Namespace", "SelfLink", "UID", "ResourceVersion", "Generation")
_TEMPLATE = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
_FIELD = re.compile(r"\.([A-Za-z_]\w*)(?:\.([A-Za-z_]\w*))?")
_INDEX = re.compile(r'index\s+\.(Labels|Annotations)\s+(?:"([^"]*)"|`([^`]*)`)')


class Listed(msgspec.Struct, frozen=True):
    """The containers of a component by what they are for, with the fields they were written in."""

    main: Fields | None
    transformer: Fields | None
    beside: tuple[Container, ...] = ()


def listed(fields: Fields, context: Context, *, has_model: bool = False, takes_first: bool = False) -> Listed:
    """``containers``: a single one, or the one named kserve-container, is the component's own.

    With ``takes_first`` it is the first one under any name. Others run beside it on a cluster.

    Raises:
        SpecError: two are of a name, or there are others and no cluster.
    """
    entries = fields.mappings("containers")
    named = {entry.text("name"): entry for entry in entries}
    if len(named) < len(entries):
        raise fields.error("containers", "two containers have the same name")
    transformer = named.pop(TRANSFORMER, None)
    main = named.pop(MAIN, None)
    is_first = takes_first or len(named) == 1 or (bool(entries) and entries[0].text("name") == "")
    if main is None and not has_model and named and is_first:
        main = named.pop(next(iter(named)))
    beside = []
    for entry in named.values():
        beside.append(read(entry, context))
        entry.finish()  # a misspelt name is better news than a container too many
        index = entries.index(entry)
        what = "a model" if has_model else "the component's own"
        message = f"further containers beside {what} {LATER}, found one at index {index}"
        fields.reader.refuse_here(fields.at("containers"), message)
    if has_model and main is not None:
        raise fields.error("containers", f"further containers beside a model {LATER}")
    return Listed(main, transformer, tuple(beside))


def read(fields: Fields, context: Context) -> Container:
    """A container as it is written; a variable KServe does not allow is refused."""
    found = kubernetes.container(fields, context.namespace, context.resources)
    if "PYTHONPATH" in found.environment:
        raise fields.error("env", "the variable PYTHONPATH may not be set here")
    return found


def need_image(fields: Fields, container: Container) -> None:
    if not container.image:
        fields.miss("image")
        raise fields.error("image", "required, found nothing")


def source(
    container: Container, context: Context, mounts: Mapping[str, Artefact], credentials: Mapping[str, str]
) -> tuple[ContainerSource, dict[str, str]]:
    """The program of a container and its environment, ``$(NAME)`` filled in as Kubernetes does."""
    environment = {**container.environment, "INFERENCE_SERVICE_NAME": context.name}
    arguments = tuple(kubernetes.expand(argument, environment) for argument in container.arguments)
    found = ContainerSource(
        image=container.image,
        command=tuple(kubernetes.expand(word, environment) for word in container.command),
        arguments=arguments,
        port=container.ports[0] if container.ports else _port(arguments),
        ready_path=container.ready_path,
        mounts=dict(mounts),
        credentials=dict(credentials) if mounts else {},
    )
    return found, environment


def _port(arguments: tuple[str, ...]) -> int:
    written = value_of(arguments, "--http_port")
    return int(written) if written and re.fullmatch(r"[1-9][0-9]{0,4}", written) else 8080


def value_of(arguments: tuple[str, ...], name: str) -> str | None:
    """The value of ``--name value`` or ``--name=value``; ``None`` when it is not there."""
    for index, argument in enumerate(arguments):
        if argument.startswith(f"{name}="):
            return argument[len(name) + 1 :]
        if argument == name:
            return arguments[index + 1] if index + 1 < len(arguments) else ""
    return None


def with_arguments(container: Container, wanted: Mapping[str, str]) -> Container:
    """The container with each of these arguments that it does not have by itself."""
    arguments = container.arguments
    for name, value in wanted.items():
        if value_of(arguments, name) is None:
            arguments = (*arguments, name, value)
    return msgspec.structs.replace(container, arguments=arguments)


def calling_predictor(container: Container, context: Context) -> Container:
    """The container with the predictor's real address where it names one that only a cluster has."""
    service = f"{context.name}-predictor"
    hosts = {
        service,
        *(f"{service}.{context.namespace}{end}" for end in ("", ".svc", ".svc.cluster.local")),
    }

    def replaced(value: str) -> str:
        host = re.sub(r":[0-9]+$", "", value)
        return PREDICTOR_HOST if host in hosts or host in ("localhost", "127.0.0.1") else value

    arguments = list(container.arguments)
    for index, argument in enumerate(arguments):
        name, separator, value = argument.partition("=")
        if name != "--predictor_host":
            continue
        if separator:
            arguments[index] = f"{name}={replaced(value)}"
        elif index + 1 < len(arguments):
            arguments[index + 1] = replaced(arguments[index + 1])
    return msgspec.structs.replace(container, arguments=tuple(arguments))


def usual_arguments(context: Context, concurrency: int | None) -> dict[str, str]:
    """What KServe adds to the program of a transformer or an explainer."""
    found = {"--model_name": context.name, "--predictor_host": PREDICTOR_HOST, "--http_port": "8080"}
    return found | ({"--workers": str(concurrency)} if concurrency else {})


# ---- runtimes


def merged(runtime: Container, own: Container) -> Container:
    """A runtime's container with what the model says of its own: arguments follow, the rest goes before."""
    return Container(
        name=runtime.name,
        image=own.image or runtime.image,
        command=own.command or runtime.command,
        arguments=runtime.arguments + own.arguments,
        environment=runtime.environment | own.environment,
        secret_variables=tuple(dict.fromkeys(runtime.secret_variables + own.secret_variables)),
        ports=tuple(dict.fromkeys(runtime.ports + own.ports)),
        ready_path=own.ready_path or runtime.ready_path,
        resources=_both(runtime.resources, own.resources),
        raw=pods.container(runtime.raw, own.raw),
    )


def _both(first: Resources, second: Resources) -> Resources:
    wishes = {name: value for name, value in msgspec.structs.asdict(second).items() if value is not None}
    return msgspec.structs.replace(first, **wishes)


def with_version(image: str, version: str) -> str:
    """``runtimeVersion`` takes the place of the tag; an image named by its digest stays."""
    if not version or "@sha256:" in image:
        return image
    name, colon, tag = image.rpartition(":")
    return f"{name if colon and '/' not in tag else image}:{version}"


def filled(container: Container, context: Context, error: Callable[[str], Exception]) -> Container:
    """The container with ``{{.Name}}``, ``{{.Labels.x}}`` ... replaced in every text, as runtimes use them.

    A label or annotation that is not there becomes ``<no value>``. ``error`` makes what is raised otherwise.
    """

    def text(written: str) -> str:
        found = _TEMPLATE.sub(lambda match: _value(match[1], context, error), written)
        if "{{" in _TEMPLATE.sub("", written):
            raise error(f"expected }}}} after {{{{ in {written!r}")
        return found

    return msgspec.structs.replace(
        container,
        image=text(container.image),
        command=tuple(text(word) for word in container.command),
        arguments=tuple(text(argument) for argument in container.arguments),
        environment={text(name): text(value) for name, value in container.environment.items()},
        ready_path=text(container.ready_path),
        raw=pods.filled(container.raw, text),
    )


def _value(expression: str, context: Context, error: Callable[[str], Exception]) -> str:
    maps = {"Labels": context.labels, "Annotations": context.annotations}
    if match := _INDEX.fullmatch(expression):
        return maps[match[1]].get(match[2] if match[2] is not None else match[3], "")
    match = _FIELD.fullmatch(expression)
    if match and match[1] in maps and match[2]:
        return maps[match[1]].get(match[2], "<no value>")
    if match and match[1] in _FIELDS and not match[2]:
        return {"Name": context.name, "Namespace": context.namespace, "Generation": "0"}.get(match[1], "")
    known = "{{.Name}}, {{.Namespace}}, {{.Labels.x}} and {{.Annotations.x}}"
    raise error(f"expected one of {known}, found {{{{{expression}}}}}")

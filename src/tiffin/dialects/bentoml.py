"""BentoML's build file, ``bentofile.yaml`` or ``[tool.bentoml.build]`` of a pyproject.toml, as a deployment.

The build file says where the service is; what the service is called with, its time-out and its workers are in
the decorator. So a deployment is made in two steps: ``deployment`` from the build file alone, then
``with_description`` once somebody has imported the service elsewhere and described it.
"""

from __future__ import annotations

import os.path
import re
import tomllib
from typing import Any, Literal

import msgspec

from tiffin.dialects import dependencies, documents, routes
from tiffin.dialects.documents import Document
from tiffin.dialects.fields import NO_EFFECT, Fields, Reader, describe
from tiffin.errors import SpecError
from tiffin.kits.names import snake_case
from tiffin.spec import (
    Artefact,
    Component,
    Deployment,
    ServiceDescription,
    ServiceSource,
    SpecWarning,
)

FILES = ("bentofile.yaml", "bentofile.yml")
DEFAULT_TIMEOUT_SECONDS = 60.0
"""What BentoML gives a call when the decorator says nothing."""

_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*(:[^\W\d]\w*(\.[^\W\d]\w*)*)?")
_NAME = re.compile(r"[a-z0-9]([-._a-z0-9]{0,61}[a-z0-9])?")


class Variable(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of ``envs``. ``value`` is ``None`` when whoever runs the service has to set it."""

    name: str
    value: str | None = None
    stage: Literal["all", "build", "runtime"] = "all"


class ModelReference(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of ``models``: a tag of BentoML's model store."""

    tag: str
    filter: str = ""
    alias: str = ""


class PythonOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``python``: what to install. ``requirements_txt`` beats ``packages``; ``None`` means not said."""

    requirements_txt: str = ""
    packages: tuple[str, ...] = ()
    lock_packages: bool | None = None
    pack_git_packages: bool | None = None
    index_url: str = ""
    no_index: bool | None = None
    trusted_host: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    extra_index_url: tuple[str, ...] = ()
    pip_args: str = ""
    wheels: tuple[str, ...] = ()
    is_src_layout: bool = False


class CondaOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``conda``; ``pip`` is a list of requirements."""

    environment_yml: str = ""
    channels: tuple[str, ...] = ()
    dependencies: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()


class DockerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``docker``; ``env`` is filled from a mapping or a list of ``NAME=value``, ``env_file`` from a name."""

    distro: str = ""
    python_version: str = ""
    cuda_version: str = ""
    env: dict[str, str] = {}
    env_file: str = ""
    system_packages: tuple[str, ...] = ()
    setup_script: str = ""
    base_image: str = ""
    dockerfile_template: str = ""


class BuildConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A build file, every field of it.

    ``service`` is ``module:Name`` or ``module``, ``service`` when absent. ``description`` is text, or
    ``file: ./README.md``. ``include`` and ``exclude`` are gitwildmatch patterns; no ``include`` means all.
    ``project_name`` is that of a pyproject.toml. ``file`` is where it was read, ``warnings`` what is not honoured.
    """

    service: str = ""
    name: str = ""
    description: str = ""
    labels: dict[str, str] = {}
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    models: tuple[ModelReference, ...] = ()
    envs: tuple[Variable, ...] = ()
    args: dict[str, Any] = {}
    python: PythonOptions = PythonOptions()
    conda: CondaOptions = CondaOptions()
    docker: DockerOptions = DockerOptions()
    project_name: str = ""
    file: str = ""
    warnings: tuple[SpecWarning, ...] = ()


# ---- reading


def parse(text: str, file: str = "bentofile.yaml") -> BuildConfig:
    """The text of a bentofile.

    Raises:
        SpecError: malformed YAML, an unknown field, or a value of another type.
    """
    found = documents.parse(text, file)
    if len(found) > 1:
        raise SpecError("expected one document", place=found[1].place(""))
    return config(found[0] if found else Document(value={}, file=file))


def parse_pyproject(text: str, file: str = "pyproject.toml") -> BuildConfig | None:
    """The ``[tool.bentoml.build]`` of a pyproject.toml; ``None`` when it has none.

    Raises:
        SpecError: malformed TOML, an unknown field, or a value of another type.
    """
    try:
        project = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SpecError(f"expected TOML: {error}", place=file) from None
    table: Any = project
    for key in ("tool", "bentoml", "build"):
        table = table.get(key) if isinstance(table, dict) else None
    if table is None:
        return None
    found = config(Document(value=table, file=file, path="tool.bentoml.build"))
    about = project.get("project")
    about = about if isinstance(about, dict) else {}
    name, dependencies = about.get("name"), about.get("dependencies")
    packages = found.python.packages
    if isinstance(dependencies, list):
        packages += tuple(item for item in dependencies if isinstance(item, str))
    return msgspec.structs.replace(
        found,
        project_name=name if isinstance(name, str) else "",
        python=msgspec.structs.replace(found.python, packages=packages),
    )


def config(document: Document) -> BuildConfig:
    """A build file's document, typed.

    Raises:
        SpecError: an unknown field, or a value of another type.
    """
    reader = Reader(document)
    root = reader.root()
    service = root.text("service")
    target(root, service)
    name = root.text("name")
    if name and not _NAME.fullmatch(name.lower()):
        message = "expected letters, digits, and -._ between them, at most 63"
        raise root.error("name", f"{message}, found {describe(name)}")
    found = BuildConfig(
        service=service,
        name=name.lower(),
        description=root.text("description"),
        labels=root.text_map("labels", scalars=True),
        include=_patterns(root, "include"),
        exclude=_patterns(root, "exclude"),
        models=_models(root),
        envs=_variables(root),
        args=_arguments(root),
        python=_python(root),
        conda=_conda(root),
        docker=_docker(root),
        file=document.file,
    )
    for field, message in (
        ("models", "is for building a bundle; a directory is served with what its class names"),
        ("conda", f"conda environments {NO_EFFECT}"),
    ):
        root.ignore((field,), message)
    for variable in found.envs:
        if variable.value is None and variable.stage != "build":
            root.warn("envs", f"{variable.name} has no value here; it keeps the one of the shell")
    return msgspec.structs.replace(found, warnings=reader.finish())


def target(root: Fields, service: str) -> str:
    """``service.py:Iris``, ``service:Iris`` or ``service`` as ``service:Iris`` or ``service``."""
    found = re.sub(r"\.py(?=:|$)", "", service).removeprefix("./").replace("/", ".") or "service"
    if not _TARGET.fullmatch(found):
        raise root.error("service", f'expected "module:Name", found {describe(service)}')
    return found


def _patterns(root: Fields, name: str) -> tuple[str, ...]:
    found = root.texts(name)
    for index, pattern in enumerate(found):
        if ".." in pattern.split("/"):
            at = documents.child(root.at(name), index)
            raise root.reader.error(at, f"expected a pattern below the directory, found {describe(pattern)}")
    return found


def _models(root: Fields) -> tuple[ModelReference, ...]:
    found = []
    for index, item in enumerate(root.items("models")):
        at = documents.child(root.at("models"), index)
        if isinstance(item, str):
            found.append(ModelReference(tag=item))
            continue
        fields = root.reader.open(item, at)
        tag, filter, alias = fields.text("tag", required=True), fields.text("filter"), fields.text("alias")
        found.append(ModelReference(tag=tag, filter=filter, alias=alias))
    return tuple(found)


def _variables(root: Fields) -> tuple[Variable, ...]:
    found = []
    for fields in root.mappings("envs"):
        name = fields.text("name", required=True)
        if "=" in name or "\0" in name:
            raise fields.error("name", f"expected the name of a variable, found {describe(name)}")
        text = fields.scalar("value")
        stage = fields.text("stage", "all", choices=("all", "build", "runtime"))
        found.append(Variable(name=name, value=text, stage=stage))  # type: ignore[arg-type]
    return tuple(found)


def _arguments(root: Fields) -> dict[str, Any]:
    found = root.raw("args")
    if found is not None and not isinstance(found, dict):
        raise root.error("args", f"expected a mapping, found {describe(found)}")
    return found or {}


def _python(root: Fields) -> PythonOptions:
    fields = root.mapping("python")
    if fields is None:
        return PythonOptions()
    return PythonOptions(
        requirements_txt=fields.text("requirements_txt"),
        packages=fields.texts("packages"),
        lock_packages=fields.flag("lock_packages"),
        pack_git_packages=fields.flag("pack_git_packages"),
        index_url=fields.text("index_url"),
        no_index=fields.flag("no_index"),
        trusted_host=fields.texts("trusted_host", or_one=True),
        find_links=fields.texts("find_links", or_one=True),
        extra_index_url=fields.texts("extra_index_url", or_one=True),
        pip_args=fields.text("pip_args"),
        wheels=fields.texts("wheels"),
        is_src_layout=bool(fields.flag("is_src_layout")),
    )


def _conda(root: Fields) -> CondaOptions:
    fields = root.mapping("conda")
    if fields is None:
        return CondaOptions()
    return CondaOptions(
        environment_yml=fields.text("environment_yml"),
        channels=fields.texts("channels"),
        dependencies=fields.texts("dependencies"),
        pip=fields.texts("pip"),
    )


def _docker(root: Fields) -> DockerOptions:
    fields = root.mapping("docker")
    if fields is None:
        return DockerOptions()
    written = fields.value.get("env")
    env: dict[str, str] = {}
    env_file = ""
    if isinstance(written, str):
        env_file = fields.text("env")
    elif isinstance(written, list):
        env = dict(_assignment(fields, index, item) for index, item in enumerate(fields.texts("env")))
    else:
        env = fields.text_map("env", scalars=True)
    found = DockerOptions(
        distro=fields.text("distro"),
        python_version=fields.scalar("python_version") or "",
        cuda_version=fields.scalar("cuda_version") or "",
        env=env,
        env_file=env_file,
        system_packages=fields.texts("system_packages"),
        setup_script=fields.text("setup_script"),
        base_image=fields.text("base_image"),
        dockerfile_template=fields.text("dockerfile_template"),
    )
    names = ("distro", "python_version", "cuda_version", "system_packages", "setup_script", "base_image",
             "dockerfile_template")  # fmt: skip
    fields.ignore((*names, "env") if env_file else names, f"concerns a container image, and {NO_EFFECT}")
    return found


def _assignment(fields: Fields, index: int, text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        at = documents.child(fields.at("env"), index)
        raise fields.reader.error(at, f"expected NAME=value, found {describe(text)}")
    return name, value


# ---- deploying


def deployment(config: BuildConfig, directory: str, *, domain: str = routes.DOMAIN) -> Deployment:
    """The deployment of a build file whose service is in ``directory``.

    Without ``name`` it is called after the class, or the directory when the file does not say the class.
    """
    document = Document(value={}, file=config.file)
    at = target(Reader(document).root(), config.service)
    _, _, attribute = at.partition(":")
    written = config.name or (config.project_name.lower() if _NAME.fullmatch(config.project_name.lower()) else "")
    name = written or snake_case(
        attribute.rpartition(".")[2] or os.path.basename(os.path.abspath(directory)), "service"
    )
    environment = config.docker.env | {
        variable.name: variable.value
        for variable in config.envs
        if variable.value is not None and variable.stage != "build"
    }
    if config.python.is_src_layout:
        own = os.path.join(os.path.abspath(directory), "src")
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (own, environment.get("PYTHONPATH"))))
    component = Component(
        source=ServiceSource(artefact=Artefact(uri=directory), target=at),
        environment=environment,
    )
    return Deployment(
        name=name,
        protocol="named-json",
        dialect="bentoml",
        components=(component,),
        routes=routes.own(name, "default", domain) + routes.service(()),
        labels=config.labels,
        derived_name=not written,
        file=config.file or directory,
        warnings=config.warnings,
    )


def with_description(
    deployment: Deployment, description: ServiceDescription, *, domain: str = routes.DOMAIN
) -> Deployment:
    """The deployment with what its service says of itself: name, endpoints, time-out, workers, resources.

    What the deployment's own file sets counts before the decorator. Call this before ``combine``, which settles
    names and shared addresses for good.
    """
    component = next(
        (part for part in deployment.components if isinstance(part.source, ServiceSource)),
        deployment.components[0],
    )
    source = component.source
    if not isinstance(source, ServiceSource):
        raise SpecError("expected a service, found a deployment of another kind", place=deployment.file)
    name, derived = deployment.name, deployment.derived_name
    if derived:
        name = snake_case(description.name, "service")
        # A name that differs from the class was written, in the decorator.
        derived = description.name == (description.target or source.target).rpartition(":")[2].rpartition(".")[2]
    labels = description.labels | deployment.labels
    source = msgspec.structs.replace(source, target=description.target or source.target)
    component = dependencies.with_settings(msgspec.structs.replace(component, source=source), description)
    component = msgspec.structs.replace(
        component,
        timeout_seconds=component.timeout_seconds or DEFAULT_TIMEOUT_SECONDS,
        dependencies=component.dependencies or dependencies.of_labels(labels, deployment.file),
    )
    others = [part for part in deployment.components if part.name != component.name]
    entry, *parts = dependencies.apart(
        component, [part for part in others if part.is_dependency], description, place=deployment.file
    )
    beside = [part for part in others if not part.is_dependency]
    endpoints = [(endpoint.route, endpoint.is_task) for endpoint in description.endpoints]
    inner = tuple(route for route in deployment.routes if route.component or route.variant)
    return msgspec.structs.replace(
        deployment,
        name=name,
        derived_name=derived,
        components=(entry, *beside, *parts),
        routes=(
            *routes.own(name, deployment.namespace, domain),
            *routes.service(endpoints),
            *routes.tensors(name),
            *inner,
        ),
        labels=labels,
        warnings=deployment.warnings + tuple(SpecWarning(source.target, text) for text in description.warnings),
    )

"""Which reader a file is for: by its name, and by the kind it declares."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec

from tiffin.dialects import bases, bentoml, documents, kserve, routes, runtimes, seldon, tiffin
from tiffin.dialects import resources as objects
from tiffin.dialects.documents import Document, child
from tiffin.dialects.fields import LATER, NO_EFFECT, describe, slug
from tiffin.dialects.resources import Resources
from tiffin.errors import SpecError
from tiffin.spec import (
    Artefact,
    Component,
    Deployment,
    ModelSource,
    SpecWarning,
    Target,
    for_target,
    warnings_for,
)

MODEL_SUFFIXES = frozenset((".joblib", ".pkl", ".pickle", ".skops", ".bst", ".ubj", ".onnx", ".model", ".lgb"))
_MANIFEST_SUFFIXES = frozenset((".yaml", ".yml", ".json"))
# Names that say nothing of the model; then the directory's name says more.
_GENERIC = frozenset(("model", "saved-model", "sklearn-model", "pipeline", "estimator", "classifier"))


class _Front(Protocol):
    def __call__(
        self, document: Document, *, base: str, domain: str, resources: Resources, target: Target
    ) -> Deployment: ...


def _tiffin(document: Document, *, base: str, domain: str, resources: Resources, target: Target) -> Deployment:
    return tiffin.deployment(document, base=base, domain=domain, target=target)


def _kserve(document: Document, *, base: str, domain: str, resources: Resources, target: Target) -> Deployment:
    return kserve.deployment(document, base=base, domain=domain, resources=resources, target=target)


def _seldon(document: Document, *, base: str, domain: str, resources: Resources, target: Target) -> Deployment:
    return seldon.deployment(document, base=base, domain=domain, resources=resources, target=target)


FRONTS: dict[tuple[str, str], _Front] = {
    (version, kind): front
    for versions, kind, front in (
        (tiffin.API_VERSIONS, tiffin.KIND, _tiffin),
        (kserve.API_VERSIONS, kserve.KIND, _kserve),
        (seldon.API_VERSIONS, seldon.KIND, _seldon),
    )
    for version in versions
}

# Kubernetes objects that people keep in the same file as a deployment; on a laptop they change nothing.
_COMPANIONS = frozenset(("Namespace", "PersistentVolumeClaim"))

_REFUSED = {
    ("serving.kserve.io/v1alpha1", "InferenceGraph"): f"a graph of several services {LATER}",
    ("serving.kserve.io/v1alpha1", "TrainedModel"): f"a model beside others in one server {LATER}",
}


def read(path: Path, domain: str, resources: Resources, target: Target = "local") -> list[Deployment]:
    """The deployments of a file or directory, which may refer to ``resources`` and to those beside them."""
    if path.is_dir():
        return _read_directory(path, domain, resources, target)
    if not path.exists():
        raise SpecError("expected a file or directory, found nothing", place=str(path))
    if not path.is_file():
        # Reading a pipe or a device may never end.
        hint = "for what another program writes: `... | tiffin apply -f -`"
        raise SpecError("expected a file or directory, found a pipe or device", hint=hint, place=str(path))
    if path.name in bentoml.FILES:
        return [_service(bentoml.parse(_text(path), str(path)), path.parent, domain)]
    if path.suffix == ".toml":
        return [_pyproject(path, domain)]
    if path.suffix == ".py":
        return [_module(path, domain)]
    if _is_model(path):
        return [_model(path, domain)]
    if path.suffix in _MANIFEST_SUFFIXES:
        return _manifest(path, domain, resources, target)
    known = ", ".join(sorted(_MANIFEST_SUFFIXES | MODEL_SUFFIXES))
    raise SpecError(
        f"expected a deployment file or a saved model, found {describe(path.name)}",
        hint=f"files that can be read end in {known}; or give bentofile.yaml, pyproject.toml or service.py",
        place=str(path),
    )


def parse(
    text: str,
    *,
    file: str = "",
    base: str = "",
    domain: str = routes.DOMAIN,
    resources: Resources | None = None,
    target: Target = "local",
) -> list[Deployment]:
    """The deployments of a YAML or JSON text; relative paths in it start from ``base``, or where it says itself.

    They may refer to ``resources`` and to those in the text itself. A text that has nothing but resources gives
    no deployments. ``target`` is where they are to run: what it cannot do is refused or warned of, and what
    concerns another one only is left out; empty is not decided yet.

    Raises:
        SpecError: the text is malformed, or says what cannot be served.
    """
    items = _items(text, file)
    beside, aside = _gather(items)
    context = (resources or Resources()) | beside
    if target == "kubernetes":
        context = msgspec.structs.replace(context, on_cluster=True)
    _check_priorities(items, context)
    found: list[Deployment] = []
    for item in items:
        version, kind = kind_of(item)
        front = FRONTS.get((version, kind))
        if front is not None:
            bare, start = bases.taken(item, base)
            read = front(bare, base=start, domain=domain, resources=context, target=target)
            found.append(for_target(read, target))
        elif (version, kind) not in _beside():
            raise unknown(item, version, kind)
    if not found and not beside:
        raise SpecError("expected a deployment, found none", hint=_known_kinds(), place=file)
    if found:
        said = warnings_for(aside, target)
        found[0] = msgspec.structs.replace(found[0], warnings=found[0].warnings + said)
    return found


def gather(text: str, *, file: str = "") -> Resources:
    """The resources in a YAML or JSON text: runtimes, secrets, service accounts, config maps.

    Raises:
        SpecError: the text is malformed, or one of them does not say what it must.
    """
    return _gather(_items(text, file))[0]


def _items(text: str, file: str) -> list[Document]:
    return [item for document in documents.parse(text, file) for item in _unlist(document)]


def _gather(items: list[Document]) -> tuple[Resources, list[SpecWarning]]:
    found = Resources()
    warnings: list[SpecWarning] = []
    for item in items:
        version, kind = kind_of(item)
        if (version, kind) in objects.KINDS:
            more, said = objects.read(item, kind)
            found |= more
            warnings += said
        elif kind in _COMPANIONS and version == "v1":
            at = child(item.path, "kind")
            message = f"the {kind} in document {item.index + 1} {NO_EFFECT}"
            warnings.append(SpecWarning(at, message, "local"))
    return found, warnings


def _check_priorities(items: list[Document], context: Resources) -> None:
    """Refuse a runtime that ties with another one."""
    every = runtimes.known(context.runtimes)
    for item in items:
        version, kind = kind_of(item)
        if kind not in runtimes.KINDS or version not in runtimes.API_VERSIONS:
            continue
        (new,) = objects.read(item, kind)[0].runtimes
        if message := runtimes.conflict(new, every):
            at = child(child(item.path, "spec"), "supportedModelFormats")
            raise SpecError(message, at=at, hint="give one of them another priority", place=item.place(at))


def _beside() -> set[tuple[str, str]]:
    return objects.KINDS | {("v1", kind) for kind in _COMPANIONS}


def _unlist(document: Document) -> list[Document]:
    """The items of a ``kind: List``, as ``kubectl get -o yaml`` writes several objects."""
    value = document.value
    if not isinstance(value, dict) or value.get("kind") != "List" or value.get("apiVersion") != "v1":
        return [document]
    items = value.get("items")
    if not isinstance(items, list):
        raise SpecError(f"expected a list, found {describe(items)}", at="items", place=document.place("items"))
    unknown = [key for key in value if key not in ("apiVersion", "kind", "items", "metadata")]
    if unknown:
        raise SpecError("unknown field", at=child("", unknown[0]), place=document.place(child("", unknown[0])))
    return [
        msgspec.structs.replace(document, value=item, path=child("items", index))
        for index, item in enumerate(items)
    ]


def kind_of(document: Document) -> tuple[str, str]:
    """The ``apiVersion`` and ``kind`` that a document declares; raises SpecError where it has none."""
    value = document.value
    if not isinstance(value, dict):
        place = document.place(document.path)
        raise SpecError(f"expected a mapping, found {describe(value)}", at=document.path or None, place=place)
    found = []
    for key in ("apiVersion", "kind"):
        text = value.get(key)
        if not isinstance(text, str):
            at = child(document.path, key)
            message = f"required, found {describe(text)}"
            raise SpecError(message, at=at, hint=_known_kinds(), place=document.place(at))
        found.append(text)
    return found[0], found[1]


def unknown(document: Document, version: str, kind: str) -> SpecError:
    """The error for a document of a kind that nobody reads."""
    if (version, kind) in _REFUSED:
        at = child(document.path, "kind")
        return SpecError(_REFUSED[version, kind], at=at, place=document.place(at))
    named = any(kind == known for _, known in FRONTS)
    at = child(document.path, "apiVersion" if named else "kind")
    message = f"{version} {kind} is not a kind this version of Tiffin reads"
    return SpecError(message, hint=_known_kinds(), at=at, place=document.place(at))


def _known_kinds() -> str:
    return "the kinds are " + ", ".join(f"{version} {kind}" for version, kind in FRONTS)


# ---- files


def _manifest(path: Path, domain: str, resources: Resources, target: Target) -> list[Deployment]:
    text = _text(path)
    if path.suffix != ".json" and _looks_like_bentofile(documents.parse(text, str(path))):
        return [_service(bentoml.parse(text, str(path)), path.parent, domain)]
    return parse(text, file=str(path), base=str(path.parent), domain=domain, resources=resources, target=target)


def _looks_like_bentofile(found: list[Document]) -> bool:
    """A build file under another name: ``bentoml build -f`` takes any."""
    if len(found) != 1 or not isinstance(found[0].value, dict):
        return False
    return isinstance(found[0].value.get("service"), str) and not {"apiVersion", "kind"} & found[0].value.keys()


def _read_directory(path: Path, domain: str, resources: Resources, target: Target) -> list[Deployment]:
    for name in bentoml.FILES:
        if (path / name).is_file():
            return read(path / name, domain, resources, target)
    project = path / "pyproject.toml"
    if project.is_file() and (found := bentoml.parse_pyproject(_text(project), str(project))) is not None:
        return [_service(_with_layout(found, path), path, domain)]
    if (path / "service.py").is_file():
        return read(path / "service.py", domain, resources, target)
    files = sorted(file for file in path.iterdir() if file.is_file())
    manifests = [
        file
        for file in files
        if file.suffix in _MANIFEST_SUFFIXES and not _is_model(file) and _declares_kind(file)
    ]
    for file in manifests:
        resources |= gather(_text(file), file=str(file))
    deployments = [found for file in manifests for found in read(file, domain, resources, target)]
    if deployments or manifests:
        return deployments
    if any(_is_model(file) for file in files):
        return [_model(path, domain)]
    raise SpecError(
        "expected something to serve, found nothing",
        hint="a directory has bentofile.yaml, pyproject.toml with [tool.bentoml.build], service.py, a saved "
        "model, or YAML files with an apiVersion",
        place=str(path),
    )


def _declares_kind(file: Path) -> bool:
    """Whether a file of a directory is meant for a system like this one; others are nobody's business here."""
    return any(
        isinstance(document.value, dict) and "apiVersion" in document.value
        for document in documents.parse(_text(file), str(file))
    )


def _pyproject(path: Path, domain: str) -> Deployment:
    found = bentoml.parse_pyproject(_text(path), str(path))
    if found is None:
        raise SpecError("required, found nothing", at="tool.bentoml.build", place=str(path))
    return _service(_with_layout(found, path.parent), path.parent, domain)


def _with_layout(config: bentoml.BuildConfig, directory: Path) -> bentoml.BuildConfig:
    if config.python.is_src_layout or not (directory / "src").is_dir():
        return config
    return msgspec.structs.replace(config, python=msgspec.structs.replace(config.python, is_src_layout=True))


def _module(path: Path, domain: str) -> Deployment:
    if not path.stem.isidentifier():
        raise SpecError(f"expected the name of a Python module, found {describe(path.name)}", place=str(path))
    config = bentoml.BuildConfig(service=path.stem, file=str(path))
    return _service(config, path.parent, domain)


def _service(config: bentoml.BuildConfig, directory: Path, domain: str) -> Deployment:
    return bentoml.deployment(config, str(directory), domain=domain)


def _model(path: Path, domain: str) -> Deployment:
    """A saved model by itself: a file, or a directory that holds one."""
    name = slug(path.stem if path.is_file() else path.resolve().name)
    if path.is_file() and name in _GENERIC:
        name = slug(path.resolve().parent.name)
    component = Component(source=ModelSource(artefact=Artefact(uri=str(path))))
    return Deployment(
        name=name,
        dialect="model",
        components=(component,),
        routes=routes.own(name, "default", domain) + routes.open_inference(name),
        file=str(path),
    )


def _is_model(path: Path) -> bool:
    if path.suffix in MODEL_SUFFIXES:
        return True
    if path.suffix not in (".json", ".txt"):
        return False
    head = _head(path)
    # XGBoost's JSON opens with its learner, LightGBM's text with the word tree.
    return b'"learner"' in head if path.suffix == ".json" else head.startswith(b"tree\n")


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(4096)
    except OSError as error:
        raise _unreadable(path, error) from None


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(documents.MAX_BYTES + 1)
    except OSError as error:
        raise _unreadable(path, error) from None
    if len(data) > documents.MAX_BYTES:
        raise SpecError(f"expected at most {documents.MAX_BYTES} bytes, found more", place=str(path))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(f"expected UTF-8 text: {error.reason} at byte {error.start}", place=str(path)) from None


def _unreadable(path: Path, error: OSError) -> SpecError:
    return SpecError(f"cannot be read: {error.strerror}", place=str(path))

"""Seldon's SeldonDeployment (``machinelearning.seldon.io/v1``, ``v1alpha2``, ``v1alpha3``) as a deployment.

Honoured: predictors with one node each, which share the calls by ``traffic`` or get copies as a shadow; a node is
a container image with a Python class inside, or one of the prepackaged servers for scikit-learn and XGBoost.
What Seldon's webhook refuses is refused with its words. Next door: ``seldon_predictor`` (one predictor),
``seldon_graph`` (its node), ``seldon_pods`` (containers and scaling), ``seldon_annotations``,
``seldon_credentials``.
"""

from __future__ import annotations

import msgspec

from tiffin.dialects import kubernetes, routes, seldon_annotations, seldon_predictor, seldon_routes
from tiffin.dialects.documents import Document, child
from tiffin.dialects.fields import LATER, Fields, Reader, describe
from tiffin.dialects.resources import Resources
from tiffin.dialects.seldon_annotations import Annotated
from tiffin.dialects.seldon_predictor import Context, Predictor
from tiffin.spec import Deployment, Target, Variant
from tiffin.spec.deployment import Protocol

API_VERSIONS = (
    "machinelearning.seldon.io/v1",
    "machinelearning.seldon.io/v1alpha2",
    "machinelearning.seldon.io/v1alpha3",
)
KIND = "SeldonDeployment"

_PROTOCOLS: dict[str, Protocol] = {
    "": "seldon", "seldon": "seldon", "v2": "open-inference", "kfserving": "open-inference",
    "tensorflow": "kserve-v1",
}  # fmt: skip
_KAFKA = ("KAFKA_BROKER", "KAFKA_INPUT_TOPIC", "KAFKA_OUTPUT_TOPIC")


def deployment(
    document: Document,
    *,
    base: str = "",
    domain: str = routes.DOMAIN,
    resources: Resources | None = None,
    target: Target = "local",
) -> Deployment:
    """A SeldonDeployment document as a deployment; relative model paths start from ``base``.

    ``resources`` are the objects it may refer to.

    Raises:
        SpecError: Seldon would refuse it, or it asks for what this version does not serve.
    """
    reader = Reader(document, target)
    root = reader.root()
    root.accept("apiVersion", "kind", "status")
    metadata = kubernetes.metadata(root)
    spec = root.section("spec")
    protocol = _settings(spec, metadata.name)
    own = Annotated(root, child(root.at("metadata"), "annotations"), metadata.annotations)
    annotations = [seldon_annotations.read(spec), seldon_annotations.note(own)]
    written = _checked(spec)
    context = Context(
        name=metadata.name,
        protocol=protocol,
        base=base,
        namespace=metadata.namespace,
        resources=resources or Resources(),
        replicas=spec.integer("replicas", minimum=0),
        annotations=annotations,
    )
    predictors = _named([seldon_predictor.read(predictor, context) for predictor in written])
    _check_services(predictors)
    main, *others = _shares(spec, predictors)
    first = next(predictor for predictor in predictors if predictor.name == main.name)
    return Deployment(
        name=metadata.name,
        namespace=metadata.namespace,
        protocol=_PROTOCOLS[protocol],
        dialect="seldon",
        components=main.components,
        variant=main.name,
        variants=tuple(others),
        stopped=_is_stopped(predictors),
        routes=seldon_routes.all_of(metadata, protocol, predictors, domain),
        labels={"version": first.name} | metadata.labels | predictor_labels(first),
        annotations=metadata.annotations | annotations[0].values | first.annotations,
        file=document.file,
        document=document.index,
        warnings=reader.finish(),
    )


def _named(predictors: list[Predictor]) -> list[Predictor]:
    """With one name for the model of all, that of the first one's node, so that calls may go to any."""
    unit = predictors[0].unit
    found = []
    for predictor in predictors:
        model, *others = predictor.components
        model = msgspec.structs.replace(model, model_name=unit)
        found.append(msgspec.structs.replace(predictor, components=(model, *others)))
    return found


def predictor_labels(predictor: Predictor) -> dict[str, str]:
    """The labels somebody wrote; the one Seldon adds gives way to those of the whole deployment."""
    return {key: value for key, value in predictor.labels.items() if (key, value) != ("version", predictor.name)}


def _settings(spec: Fields, name: str) -> str:
    """The fields of ``spec`` beside the predictors; the protocol, ``seldon`` when absent."""
    protocol = spec.text("protocol")
    if protocol not in _PROTOCOLS:
        hint = "write seldon, v2 or tensorflow"
        raise spec.error("protocol", f"Invalid protocol, found {describe(protocol)}", hint)
    transport = spec.text("transport")
    if transport not in ("", "rest", "grpc"):
        raise spec.error("transport", f"Invalid transport, found {describe(transport)}", "write rest")
    _check_transports(spec, transport)
    if transport == "grpc":
        raise spec.error("transport", f"gRPC {LATER}", "write transport: rest, or leave it out")
    server = spec.text("serverType")
    if server not in ("", "rpc", "kafka"):
        raise spec.error("serverType", f"Invalid serverType, found {describe(server)}", "write rpc")
    if server == "kafka":
        _check_kafka(spec)
        raise spec.error("serverType", f"serving from Kafka {LATER}", "write serverType: rpc, or leave it out")
    if spec.text("name") not in ("", name):
        spec.warn("name", f'is not used, as in Seldon: metadata.name says that this is "{name}"')
    spec.ignore(("oauth_key", "oauth_secret"), "is not used, as in Seldon since 1.5")
    return protocol or "seldon"


def _graphs(spec: Fields) -> list[dict[str, object]]:
    """The nodes of all graphs, as far as they have the right form; whoever reads them complains of the rest."""
    predictors = spec.value.get("predictors")
    found: list[dict[str, object]] = []
    waiting = [p.get("graph") for p in predictors if isinstance(p, dict)] if isinstance(predictors, list) else []
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            found.append(node)
            children = node.get("children")
            waiting += children if isinstance(children, list) else []
    return found


def _check_transports(spec: Fields, transport: str) -> None:
    endpoints = [node.get("endpoint") for node in _graphs(spec)]
    kinds = {endpoint.get("type") for endpoint in endpoints if isinstance(endpoint, dict) and endpoint.get("type")
             in ("REST", "GRPC")}  # fmt: skip
    if len(kinds) > 1:
        message = "Multiple endpoint.types found - can only have 1 type in graph. Please use spec.transport"
        raise spec.error("predictors", message)
    if transport and kinds and kinds != {transport.upper()}:
        message = "Mixed transport types found. Remove graph endpoint.types if transport set at deployment level"
        raise spec.error("transport", message)


def _check_kafka(spec: Fields) -> None:
    predictors = spec.value.get("predictors")
    for index, predictor in enumerate(predictors if isinstance(predictors, list) else []):
        orchestrator = predictor.get("svcOrchSpec") if isinstance(predictor, dict) else None
        variables = orchestrator.get("env") if isinstance(orchestrator, dict) else None
        names = {v.get("name") for v in variables if isinstance(v, dict)} if isinstance(variables, list) else set()
        if not names.issuperset(_KAFKA):
            at = child(child(spec.at("predictors"), index), "svcOrchSpec")
            raise spec.reader.error(at, f"For kafka please supply svcOrchSpec envs {', '.join(_KAFKA)}")


def _checked(spec: Fields) -> list[Fields]:
    """The predictors, as far as Seldon checks them together before it looks at each."""
    predictors = spec.mappings("predictors", required=True)
    if not predictors:
        raise spec.error("predictors", "Graph contains no predictors")
    names: list[str] = []
    for predictor in predictors:
        name = predictor.text("name", required=True)
        if not kubernetes.LABEL.fullmatch(name):
            message = f"expected lower case letters, digits and dashes, found {describe(name)}"
            raise predictor.error("name", message)
        if name in names:
            raise predictor.error("name", f"Duplicate predictor name, found {describe(name)}")
        names.append(name)
        predictor.miss("shadow")  # a misspelt field is better news than shares that do not add up
        predictor.miss("traffic")
    shadows = [predictor for predictor in predictors if predictor.flag("shadow")]
    if len(shadows) == len(predictors) == 1:
        raise predictors[0].error("shadow", "Shadow can not exist as only predictor")
    if len(shadows) > 1:
        raise shadows[1].error("shadow", "Multiple shadows are not allowed")
    _check_traffic(spec, predictors)
    return predictors


def _check_traffic(spec: Fields, predictors: list[Fields]) -> None:
    total = 0
    sharing = [predictor for predictor in predictors if not predictor.flag("shadow")]
    for predictor in predictors:
        traffic = predictor.integer("traffic") or 0
        if not 0 <= traffic <= 100:
            message = f"expected 0 to 100, found {traffic}"
            if predictor.flag("shadow"):
                message = "shadow traffic is illegal, the traffic number should be between [0, 100]"
            raise predictor.error("traffic", message)
        total += 0 if predictor.flag("shadow") else traffic
    if len(sharing) > 1 and total != 100:
        wanted = "Traffic must sum to 100 for multiple predictors"
        raise spec.error("predictors", f"{wanted}, found {total}", "a predictor without traffic has 0 %")
    if len(predictors) == 1 and 0 < total < 100:
        raise predictors[0].error("traffic", "Traffic must sum be 100 for a single predictor when set")


def _check_services(predictors: list[Predictor]) -> None:
    seen: set[str] = set()
    for predictor in predictors:
        name = predictor.annotations.get(seldon_annotations.SERVICE)
        if not name:
            continue
        at = child(predictor.fields.at("annotations"), seldon_annotations.SERVICE)
        if not kubernetes.LABEL.fullmatch(name):
            message = f"expected lower case letters, digits and dashes, found {describe(name)}"
            raise predictor.fields.reader.error(at, message)
        if name in seen:
            message = f"Found duplicate service name in {seldon_annotations.SERVICE} with value {name}"
            raise predictor.fields.reader.error(at, message)
        seen.add(name)


def _shares(spec: Fields, predictors: list[Predictor]) -> list[Variant]:
    """The predictors as variants, the first one that is no shadow before the others."""
    sharing = [predictor for predictor in predictors if not predictor.is_shadow]
    if len(sharing) == 1 and len(predictors) > 1 and sharing[0].traffic not in (None, 0, 100):
        sharing[0].fields.warn("traffic", "the only predictor that is no shadow takes every call")
    found = []
    for predictor in [sharing[0], *(other for other in predictors if other is not sharing[0])]:
        variant = Variant(name=predictor.name, components=predictor.components, labels=predictor.labels)
        if predictor.is_shadow:
            # No share, or none said: Istio mirrors everything.
            variant = msgspec.structs.replace(variant, mirror_percent=float(predictor.traffic or 100))
        else:
            variant = msgspec.structs.replace(variant, weight=float(predictor.traffic or 0))
        found.append(variant)
    return found


def _is_stopped(predictors: list[Predictor]) -> bool:
    """Whether nothing should run: every predictor is told to have 0 replicas."""
    if all(predictor.is_stopped for predictor in predictors):
        return True
    for predictor in predictors:
        if predictor.is_stopped:
            predictor.fields.reader.warn(
                predictor.fields.path,
                "0 replicas would answer its share of the calls with errors; one replica runs",
            )
    return False

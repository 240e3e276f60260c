"""The order to a replica as text: nothing of it is lost, and nothing usual is in it."""

import msgspec

from tiffin.spec import (
    Artefact,
    Batching,
    ClassSource,
    Component,
    Limits,
    Listen,
    Logger,
    ModelSource,
    Parameter,
    ReplicaSpec,
)
from tiffin.spec.replica import written

PLAIN = ReplicaSpec(
    deployment="iris",
    model_name="iris",
    component=Component(source=ModelSource(artefact=Artefact("s3://a"))),
    path="/m",
)


def test_only_what_is_unusual_is_written():
    assert msgspec.json.decode(written(PLAIN)) == {
        "deployment": "iris",
        "model_name": "iris",
        "component": {"source": {"type": "model", "artefact": {"uri": "s3://a"}}},
        "path": "/m",
    }


def test_it_is_read_back_whole():
    source = ClassSource(artefact=Artefact("a"), parameters=(Parameter("b", True), Parameter("c", 0.5)))
    component = Component(
        source=source,
        batching=Batching(enabled=False),
        logger=Logger(url="http://a", metadata_headers=("x",)),
        environment={"A": "", "B": "b"},
        workers="cpu",
    )
    spec = msgspec.structs.replace(
        PLAIN,
        component=component,
        listen=Listen(port=8080),
        grpc=Listen(),
        limits=Limits(drain_seconds=90.0),
        dependencies={"Words": "http://words"},
    )
    for one in (PLAIN, spec):
        assert msgspec.json.decode(written(one), type=ReplicaSpec) == one

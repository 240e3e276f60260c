from pathlib import Path

import pytest

from tiffin.local.replica import Replica, replicas_of, told_reason
from tiffin.spec import Artefact, Component, Deployment, Listen, ModelSource, Scaling

LINE = "2026-01-01T00:00:00 ERROR   tiffin.runtime.worker: could not load: "


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param([LINE + "m.pkl: no"], ("m.pkl: no", None), id="a-reason"),
        pytest.param(["x", LINE + "no", "hint: do y"], ("no", "do y"), id="with-a-hint"),
        pytest.param([LINE + "no", "  and more", "hint: y"], ("no\n  and more", "y"), id="over-two-lines"),
        pytest.param([LINE + "old", LINE + "new"], ("new", None), id="the-last-one"),
        pytest.param([LINE + "no", "2026-01-01T00:00:00 INFO x: bye"], ("no", None), id="then-another-record"),
        pytest.param(
            ["error: cannot read the file", "hint: z"], ("cannot read the file", "z"), id="before-logging"
        ),
        pytest.param(["Traceback", "ValueError: error: x"], None, id="a-traceback-is-no-reason"),
        pytest.param([], None, id="nothing-said"),
    ],
)
def test_the_reason_a_replica_gives_is_found_in_its_log(lines: list[str], expected: object) -> None:
    assert told_reason(lines) == expected


def deployment(*components: Component) -> Deployment:
    return Deployment(name="iris", namespace="lab", protocol="kserve-v1", components=components)


def component(name: str, replicas: int) -> Component:
    return Component(
        name=name, source=ModelSource(artefact=Artefact(uri="/m")), scaling=Scaling(min_replicas=replicas)
    )


def test_every_component_gets_its_replicas_and_at_least_one() -> None:
    both = deployment(component("a", 2), component("b", 0))
    found = replicas_of(both, {"a": Path("/pa"), "b": Path("/pb")}, 7)
    assert [(replica.name, replica.component.name, str(replica.path)) for replica in found] == [
        ("r7", "a", "/pa"),
        ("r8", "a", "/pa"),
        ("r9", "b", "/pb"),
    ]


def test_an_order_says_what_the_deployment_says() -> None:
    one = component("a", 1)
    order = Replica(deployment(one), one, Path("/p"), "r0").order(Listen(unix="/s"))
    assert (order.deployment, order.namespace, order.model_name, order.protocol) == (
        "iris",
        "lab",
        "iris",
        "kserve-v1",
    )
    assert (order.path, order.listen.unix, order.component) == ("/p", "/s", one)

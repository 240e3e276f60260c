"""Where deployments stand: histories of specs and pods, against a small model of what Kubernetes does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.unit.operator.kubernetes_model import CANDIDATE, STABLE, World, deployment, model, served, transformer

from tiffin.kube import names
from tiffin.kube.capabilities import Capabilities
from tiffin.kube.render import ingress, routes
from tiffin.kube.settings import Gateway, Settings
from tiffin.operator.observing import Observed, number_of
from tiffin.spec import Deployment, Measure, Pod, Scaling, Variant


@pytest.fixture
def world() -> World:
    return World()


def test_the_first_revision_is_ready_once_its_deployment_is_rolled_out(world: World) -> None:
    world.apply(deployment())
    assert (world.targets(), world.weights(), world.ready()) == ({STABLE: "iris-00001"}, {}, "Unknown")
    world.roll()
    assert (world.weights(), world.ready()) == ({STABLE: 100}, "True")
    assert world.object["status"]["components"]["predictor"]["latestRolledoutRevision"] == "iris-00001"


def test_what_does_not_change_is_never_written_again(world: World) -> None:
    served(world)
    world.now += 3600
    world.reconcile()
    assert world.writes == 0
    world.restart()
    world.reconcile()
    assert world.writes == 0
    assert world.outcome.requeue_after is None


def test_an_update_is_rolled_in_place_and_counts_once_it_is_rolled_out(world: World) -> None:
    served(world)
    world.apply(deployment("2"))
    assert world.targets() == {STABLE: "iris-00002"}
    assert world.weights() == {STABLE: 100}
    assert world.ready() == "Unknown"
    assert world.outcome.status.rolled_out == {"main": "iris-00001"}
    world.roll()
    assert world.ready() == "True"
    assert world.outcome.status.rolled_out == {"main": "iris-00002"}


def test_a_change_of_what_pods_say_is_a_revision_and_one_of_numbers_is_none(world: World) -> None:
    served(world)
    world.apply(deployment(components=(model("1", scaling=Scaling(min_replicas=3)),)))
    assert world.targets() == {STABLE: "iris-00001"}
    world.apply(deployment(components=(model("1", pod=Pod(labels={"team": "a"})),)))
    assert world.targets() == {STABLE: "iris-00002"}


@pytest.mark.parametrize("percent", [0, 10, 50])
def test_a_canary_gets_its_percentage_once_it_is_ready(world: World, percent: float) -> None:
    served(world)
    world.apply(deployment("2", canary_percent=percent))
    assert world.targets() == {STABLE: "iris-00001", CANDIDATE: "iris-00002"}
    assert world.weights() == {STABLE: 100}
    world.roll(CANDIDATE)
    expected = {STABLE: 100 - percent, CANDIDATE: percent}
    assert world.weights() == {name: share for name, share in expected.items() if share}


def test_promotion_keeps_the_split_until_the_stable_pods_are_replaced(world: World) -> None:
    served(world)
    world.apply(deployment("2", canary_percent=10))
    world.roll(CANDIDATE)
    world.apply(deployment("2"))
    assert world.targets() == {STABLE: "iris-00002", CANDIDATE: "iris-00002"}
    assert world.weights() == {STABLE: 90, CANDIDATE: 10}
    world.roll()
    assert world.weights() == {STABLE: 100}
    assert world.targets() == {STABLE: "iris-00002", CANDIDATE: "iris-00002"}
    world.now += 10
    world.reconcile()
    assert world.targets() == {STABLE: "iris-00002"}
    assert world.deployments.keys() == {STABLE}
    assert world.outcome.status.rolled_out == {"main": "iris-00002"}


def test_a_canary_of_zero_brings_back_what_was_before(world: World) -> None:
    served(world)
    world.apply(deployment("2"))
    world.roll()
    world.apply(deployment("2", canary_percent=0))
    assert world.targets() == {STABLE: "iris-00002", CANDIDATE: "iris-00001"}
    assert world.weights() == {STABLE: 100}
    world.roll(CANDIDATE)
    assert world.weights() == {CANDIDATE: 100}
    world.apply(deployment("2"))
    assert world.weights() == {STABLE: 100}


def test_another_update_replaces_a_canary_and_leaves_the_rolled_out_revision_alone(world: World) -> None:
    served(world)
    world.apply(deployment("2", canary_percent=10))
    world.roll(CANDIDATE)
    world.apply(deployment("3", canary_percent=20))
    assert world.targets() == {STABLE: "iris-00001", CANDIDATE: "iris-00003"}
    assert world.weights() == {STABLE: 90, CANDIDATE: 10}
    world.roll(CANDIDATE)
    assert world.weights() == {STABLE: 80, CANDIDATE: 20}


def test_a_canary_that_fails_gives_its_calls_back(world: World) -> None:
    served(world)
    world.apply(deployment("2", canary_percent=50))
    world.roll(CANDIDATE)
    world.fail(CANDIDATE)
    assert world.weights() == {STABLE: 100}
    world.roll(CANDIDATE)
    assert world.weights() == {STABLE: 50, CANDIDATE: 50}


def test_an_operator_that_starts_anew_in_the_middle_goes_on(world: World) -> None:
    served(world)
    world.apply(deployment("2", canary_percent=10))
    world.roll(CANDIDATE)
    before = world.outcome
    world.restart()
    after = world.reconcile()
    assert after.placement == before.placement
    assert world.writes == 0


def test_what_somebody_deleted_is_derived_from_the_deployments(world: World) -> None:
    served(world)
    for one in world.revisions.values():
        one["metadata"].pop("annotations")
    world.restart()
    world.reconcile()
    assert (world.targets(), world.weights(), world.ready()) == ({STABLE: "iris-00001"}, {STABLE: 100}, "True")
    world.revisions.clear()
    world.restart()
    world.reconcile()
    assert world.targets() == {STABLE: "iris-00002"}, "its number is not given again"
    assert world.weights() == {STABLE: 100}


def test_a_stopped_deployment_has_no_slots_and_knows_its_revisions_when_it_is_started(world: World) -> None:
    served(world)
    world.apply(deployment(stopped=True))
    assert world.deployments == {}
    assert world.weights() == {}
    world.apply(deployment())
    assert world.targets() == {STABLE: "iris-00001"}
    assert world.weights() == {}
    world.roll()
    assert world.weights() == {STABLE: 100}


# -- variants --------------------------------------------------------------------------------------------------


def with_canaries(*canaries: tuple[str, float], name: str = "main", uri: str = "1") -> Deployment:
    variants = tuple(
        Variant(name=each, weight=percent, components=(model(each, scaling=Scaling(min_replicas=1)),))
        for each, percent in canaries
    )
    main = (model(uri, scaling=Scaling(min_replicas=3)),)
    return deployment(components=main, variants=variants, variant=name)


def test_only_canaries_that_are_ready_get_calls_and_the_main_predictor_gets_the_rest(world: World) -> None:
    world.apply(with_canaries(("v2", 20), ("v3", 30)))
    world.roll()
    world.roll("iris-v2-predictor")
    assert world.weights() == {STABLE: 80, "iris-v2-predictor": 20}
    world.roll("iris-v3-predictor")
    assert world.weights() == {STABLE: 50, "iris-v2-predictor": 20, "iris-v3-predictor": 30}


def test_the_main_predictor_has_fewer_replicas_by_canaries_that_are_ready(world: World) -> None:
    world.apply(with_canaries(("v2", 20)))
    world.roll()
    assert world.deployments[STABLE]["spec"]["replicas"] == 3
    world.roll("iris-v2-predictor")
    assert world.deployments[STABLE]["spec"]["replicas"] == 2
    assert world.ready() == "True"


def test_a_canary_that_becomes_the_main_predictor_keeps_its_pods_and_waits_for_more(world: World) -> None:
    world.apply(with_canaries(("v2", 20)))
    world.settle()
    template = world.deployments["iris-v2-predictor"]["spec"]["template"]
    world.apply(with_canaries(name="v2", uri="v2"))
    assert world.deployments["iris-v2-predictor"]["spec"] == {"replicas": 3, "template": template}
    assert world.weights() == {STABLE: 80, "iris-v2-predictor": 20}
    world.roll("iris-v2-predictor")
    assert world.weights() == {"iris-v2-predictor": 100}
    world.settle()
    assert world.deployments.keys() == {"iris-v2-predictor"}
    assert world.targets() == {"iris-v2-predictor": "iris-00002"}


def test_a_canary_beside_a_transformer_becomes_the_main_predictor_without_a_gap(world: World) -> None:
    canary = Variant(name="v2", components=(model("v2"), transformer()), weight=20.0)
    world.apply(deployment(components=(model("1"), transformer()), variants=(canary,)))
    world.settle()
    assert world.weights() == {"iris-transformer": 80, "iris-v2-transformer": 20}
    template = world.deployments["iris-v2-predictor"]["spec"]["template"]
    world.apply(deployment(components=(model("v2"), transformer()), variant="v2"))
    assert world.weights(), "the way in stays while the transformer is handed over"
    for _ in range(12):
        world.now += 10.0
        for name in list(world.deployments):
            if name in world.deployments:
                world.roll(name)
                assert sum(world.weights().values()) == 100
    assert world.weights() == {"iris-transformer": 100}
    assert world.deployments.keys() == {"iris-v2-predictor", "iris-transformer"}
    assert world.deployments["iris-v2-predictor"]["spec"]["template"] == template, "its pods are the same"


def test_a_shadow_gets_copies_and_no_share(world: World) -> None:
    shadow = Variant(name="shadow", components=(model("s"),), mirror_percent=40.0)
    world.apply(deployment(variants=(shadow,), variant="a", dialect="seldon"))
    for name in list(world.deployments):
        world.roll(name)
    shares = {share.variant: (share.weight, share.mirror_percent) for share in world.outcome.placement.shares}
    assert shares == {"a": (100.0, None), "shadow": (0.0, 40.0)}


def test_what_is_said_of_a_revision_goes_together_with_it(world: World) -> None:
    for number in range(2, 30):
        world.apply(deployment(str(number)))
        world.roll()
        world.reconcile()
        assert world.writes == 0, number
    (standing,) = (
        one["metadata"]["annotations"] for one in world.revisions.values() if "annotations" in one["metadata"]
    )
    assert set(json.loads(standing["tiffin.dev/standing"])["standing"]["proven"]) <= {
        int(name.rpartition("-")[2]) for name in world.revisions
    }


@pytest.mark.parametrize("most", [1, 2], ids=["a fixed number", "a range for the HPA"])
def test_what_is_at_zero_is_held_until_a_replica_answers_whoever_scales_it_now(world: World, most: int) -> None:
    ports: dict[str, Any] = {"port_of": lambda service: 20000}
    world.apply(deployment(components=(model("1", scaling=Scaling(min_replicas=0, max_replicas=most)),)))
    world.roll()
    there = world.deployments[STABLE]
    there["spec"]["replicas"] = there["status"]["readyReplicas"] = there["status"]["replicas"] = 0
    there["metadata"]["annotations"][names.HELD] = "true"
    world.reconcile(**ports)
    assert world.weights() == {STABLE: 100}
    measures = (Measure(metric="cpu", target=80.0),)
    after = Scaling(min_replicas=1, max_replicas=most, measures=measures)
    world.apply(deployment(components=(model("1", scaling=after),)))

    def slot() -> tuple[bool, bool]:
        (found,) = world.reconcile(**ports).placement.slots
        assert world.weights() == {STABLE: 100}
        return found.held, found.activator_port is not None

    assert slot() == (True, True)
    there["spec"]["replicas"] = 1
    world.roll()
    assert slot() == (True, True), "until its endpoints were seen, and the mark taken away"
    del there["metadata"]["annotations"][names.HELD]
    service = {"metadata": {"name": STABLE, "annotations": {names.PORT: "20000"}}}
    ports["services"] = (service,)
    assert slot() == (False, True), "nodes may send calls to the activator for a moment longer"
    ports["services"] = ()
    assert slot() == (False, False), "one that never had a port gets none"


def test_a_transformer_that_is_added_is_called_once_it_can_be(world: World) -> None:
    served(world)
    world.apply(deployment(components=(model("1"), transformer())))
    assert world.weights() == {STABLE: 100.0}
    world.reconcile()
    assert world.weights() == {STABLE: 100.0}, "the one that served goes on"
    world.restart()
    world.reconcile()
    assert world.weights() == {STABLE: 100.0}
    world.roll(STABLE)
    assert world.weights() == {STABLE: 100.0}
    world.roll("iris-transformer")
    assert world.weights() == {"iris-transformer": 100.0}
    world.apply(deployment())
    assert world.weights() == {STABLE: 100.0}
    assert "iris-transformer" not in world.deployments


def test_each_version_is_called_as_it_is_made(world: World) -> None:
    served(world)
    world.apply(deployment(components=(model("2"), transformer()), canary_percent=20.0))
    assert world.weights() == {STABLE: 100.0}
    world.roll(CANDIDATE)
    assert world.weights() == {STABLE: 100.0}
    world.roll("iris-transformer-candidate")
    assert world.weights() == {STABLE: 80.0, "iris-transformer-candidate": 20.0}
    world.apply(deployment(components=(model("2"), transformer())))
    world.settle()
    world.apply(deployment("3", canary_percent=40.0))
    world.settle()
    assert world.weights() == {"iris-transformer": 60.0, CANDIDATE: 40.0}
    world.apply(deployment("3"))
    world.settle()
    world.apply(deployment("3", canary_percent=0.0))
    world.settle()
    assert world.weights() == {"iris-transformer-candidate": 100.0}, "back to the one with a transformer"


def test_an_ingress_and_routes_lead_to_whoever_is_called(world: World) -> None:
    served(world)
    world.apply(deployment(components=(model("1"), transformer())))
    gateway = Settings(gateway=Gateway(name="g", namespace="gw"))
    made = routes.render(world.spec, world.outcome.placement, gateway, Capabilities(http_route=True))
    rules = {one["metadata"]["name"]: one["spec"]["rules"][-1] for one in made}
    by_host = {name: [ref["name"] for ref in rule["backendRefs"]] for name, rule in rules.items()}
    assert by_host == {"iris": [STABLE], "iris-predictor": [STABLE], "iris-transformer": ["iris-transformer"]}
    (found,) = ingress.render(world.spec, world.outcome.placement, Settings(ingress_class="x"), Capabilities())
    services = [rule["http"]["paths"][0]["backend"]["service"]["name"] for rule in found["spec"]["rules"]]
    assert services == [STABLE, STABLE, "iris-transformer"]
    world.settle()
    made = routes.render(world.spec, world.outcome.placement, gateway, Capabilities(http_route=True))
    assert made[0]["spec"]["rules"][-1]["backendRefs"][0]["name"] == "iris-transformer"


# -- every history ---------------------------------------------------------------------------------------------

URIS = st.sampled_from(["1", "2", "3"])
PERCENTS = st.sampled_from([None, 0.0, 10.0, 50.0, 100.0])


class Histories(RuleBasedStateMachine):
    """Whatever is applied, comes up, fails, ends or is seen late: calls go to somebody who answers."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.before: dict[str, float] = {}
        self.resident = 0
        self.snapshot: Observed | None = None

    @initialize(uri=URIS)
    def begin(self, uri: str) -> None:
        self.world.apply(deployment(uri))
        self.world.roll()

    @rule(uri=URIS, percent=PERCENTS)
    def update(self, uri: str, percent: float | None) -> None:
        self.world.apply(deployment(uri, canary_percent=percent))

    @rule(uri=URIS, percent=PERCENTS, canary=st.sampled_from([None, 20.0, 60.0]))
    def update_with_a_canary_beside(self, uri: str, percent: float | None, canary: float | None) -> None:
        variants = () if canary is None else (Variant(name="v2", components=(model("c"),), weight=canary),)
        self.world.apply(deployment(uri, canary_percent=percent, variants=variants))

    @rule(uri=URIS, percent=PERCENTS)
    def update_with_a_transformer(self, uri: str, percent: float | None) -> None:
        self.world.apply(deployment(uri, canary_percent=percent, components=(model(uri), transformer())))

    @rule(data=st.data())
    def come_up(self, data: st.DataObject) -> None:
        if self.world.deployments:
            self.world.roll(data.draw(st.sampled_from(sorted(self.world.deployments))))

    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        if self.world.deployments:
            self.world.fail(data.draw(st.sampled_from(sorted(self.world.deployments))))

    @rule(seconds=st.sampled_from([1.0, 10.0]))
    def wait(self, seconds: float) -> None:
        self.world.now += seconds
        self.world.reconcile()

    @rule()
    def restart(self) -> None:
        placement = self.world.outcome.placement
        self.world.restart()
        again = self.world.decide()
        first = self.world.decide()
        assert again == first, "the same observation gives the same outcome"
        assert {share.variant for share in again.placement.shares} <= {
            slot.variant for slot in again.placement.slots
        }
        assert placement.uid == again.placement.uid

    @rule(
        action=st.sampled_from(["undo", "promote", "pause", "nonsense", "undo:1", "undo:99"]),
        mark=st.integers(0, 9),
    )
    def ask(self, action: str, mark: int) -> None:
        self.world.object["metadata"]["annotations"]["tiffin.dev/rollout"] = f"{action}@{mark}"
        self.world.reconcile()

    @invariant()
    def shares_sum_up_and_go_to_slots_that_answer(self) -> None:
        if self.world.said is None:
            return
        self.world.reconcile()
        weights = self.world.weights()
        assert not weights or sum(weights.values()) == pytest.approx(100.0, abs=0.01)
        ready = {name for name, one in self.world.deployments.items() if one["status"].get("readyReplicas", 0) > 0}
        assert weights.keys() <= self.world.deployments.keys()
        asked = {variant.name for variant in self.world.spec.all_variants if variant.weight}
        slots = [slot for slot in self.world.outcome.placement.slots if slot.variant in asked]
        versions: dict[tuple[str, str], set[str]] = {}
        for slot in slots:
            versions.setdefault((slot.variant, slot.role), set()).add(names.workload(self.world.spec, slot))
        if any(version <= ready for version in versions.values()):
            assert weights, "somebody can answer, and nobody is sent to them"
            assert weights.keys() <= ready

    @invariant()
    def a_candidate_gets_its_first_share_once_it_is_rolled_out(self) -> None:
        if self.world.said is None:
            return
        fronts = {CANDIDATE, "iris-transformer-candidate"}
        for _ in range(3):  # What is written is seen the next time, and may be what was waited for.
            weights = self.world.weights()
            first = fronts & weights.keys()
            number = number_of(self.world.targets().get(CANDIDATE, ""), "iris")
            is_new = number != self.resident  # One that was rolled out there before comes back at once.
            if (
                first
                and is_new
                and not fronts & self.before.keys()
                and STABLE in self.before.keys() & weights.keys()
            ):
                for name in first:
                    status = self.world.deployments[name]["status"]
                    assert status["updatedReplicas"] == status["replicas"]
            self.before = weights
            self.world.reconcile()
        self.resident = self.world.remembered["main"].residents.get("candidate", 0)

    @invariant()
    def nothing_is_decided_twice(self) -> None:
        if self.world.said is None:
            return
        self.world.reconcile()
        self.world.reconcile()
        assert self.world.writes == 0

    def teardown(self) -> None:
        world = self.world
        if world.said is None:
            return
        world.object["metadata"]["annotations"].clear()
        world.settle()
        spec = world.spec
        status = world.outcome.status
        ready = status.condition("LatestReady")
        assert ready is not None
        if ready.reason == "RolledBack":
            assert world.weights()
            return
        assert ready.status == "True", ready
        if spec.canary_percent in (None, 100.0):
            first = f"iris-{spec.entry}"
            expected = {first: 100.0 - sum(variant.weight for variant in spec.variants)}
            assert {name: share for name, share in world.weights().items() if name == first} == expected
            assert CANDIDATE not in world.deployments
        assert not {slot.variant for slot in world.outcome.placement.slots} - {
            variant.name for variant in spec.all_variants
        }


TestHistories = Histories.TestCase
TestHistories.settings = hypothesis_settings(max_examples=15, stateful_step_count=20, deadline=None)

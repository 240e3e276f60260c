"""A small model of what Kubernetes does with what the operator writes, to run histories against."""

from __future__ import annotations

import copy
from typing import Any

import msgspec

from tiffin.kube import names
from tiffin.kube.capabilities import Capabilities
from tiffin.kube.placement import Slot, called
from tiffin.kube.settings import Settings
from tiffin.operator.observing import Observed
from tiffin.operator.revisions import Kept
from tiffin.operator.standing import Outcome, stand
from tiffin.spec import Artefact, Component, ContainerSource, Deployment, ModelSource, Scaling

STABLE, CANDIDATE = "iris-predictor", "iris-predictor-candidate"


def model(uri: str, **changes: Any) -> Component:
    return Component(source=ModelSource(artefact=Artefact(f"s3://models/{uri}"), format="sklearn"), **changes)


def transformer() -> Component:
    return Component(name="transformer", source=ContainerSource(image="scale:1"))


def deployment(uri: str = "1", **changes: Any) -> Deployment:
    known: dict[str, Any] = {
        "name": "iris",
        "dialect": "kserve",
        "components": (model(uri),),
        "annotations": {"serving.kserve.io/deploymentMode": "Standard"},
    }
    return Deployment(**known | changes)


class World:
    """A cluster that keeps what the operator writes; ``roll`` lets a Deployment's pods come up."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now
        self.object: dict[str, Any] = {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": "iris", "namespace": "default", "uid": "u-1", "generation": 0, "annotations": {}},
        }
        self.deployments: dict[str, dict[str, Any]] = {}
        self.revisions: dict[str, dict[str, Any]] = {}
        self.remembered: dict[str, Kept] = {}
        self.said: Outcome | None = None
        self.spec = deployment()
        self.writes = 0

    @property
    def outcome(self) -> Outcome:
        assert self.said is not None
        return self.said

    def apply(self, spec: Deployment) -> Outcome:
        self.spec = spec
        self.object["metadata"]["generation"] += 1
        return self.reconcile()

    def observed(self, **changes: Any) -> Observed:
        known: dict[str, Any] = {
            "object": copy.deepcopy(self.object),
            "deployments": tuple(copy.deepcopy(list(self.deployments.values()))),
            "revisions": tuple(copy.deepcopy(list(self.revisions.values()))),
            "remembered": self.remembered,
            "pods": tuple(pod for one in self.deployments.values() for pod in pods_of(one)),
        }
        return Observed(**known | changes)

    def decide(self, **changes: Any) -> Outcome:
        return stand(self.spec, self.observed(**changes), Settings(), Capabilities(), self.now)

    def reconcile(self, **changes: Any) -> Outcome:
        outcome = self.said = self.decide(**changes)
        self.remembered = dict(outcome.remembered)
        self.writes = len(outcome.revisions_to_write) + (outcome.native_status is not None)
        for one in outcome.revisions_to_write:
            before = self.revisions.get(one["metadata"]["name"])
            assert before is None or before["data"] == one["data"], "data of a ControllerRevision cannot change"
            created = {"creationTimestamp": "2026-01-01T00:00:00Z"}
            self.revisions[one["metadata"]["name"]] = {**one, "metadata": {**one["metadata"], **created}}
        for name in outcome.revisions_to_delete:
            del self.revisions[name]
        rendered = {names.workload(self.spec, slot): slot for slot in outcome.placement.slots}
        assert len(rendered) == len(outcome.placement.slots), "two slots have the same Deployment"
        for name, slot in rendered.items():
            self._put(name, slot)
        for name in self.deployments.keys() - rendered.keys() - outcome.keep:
            del self.deployments[name]
        if outcome.native_status is not None:
            self.object["status"] = outcome.native_status
        return outcome

    def _put(self, name: str, slot: Slot) -> None:
        template = msgspec.json.encode(msgspec.structs.replace(slot.component, scaling=Scaling())).decode()
        there = self.deployments.get(name)
        if there is None:
            there = self.deployments[name] = {
                "metadata": {"name": name, "generation": 0, "labels": {}},
                "spec": {"replicas": 1, "template": ""},
                "status": {"replicas": 0},
            }
        there["metadata"].setdefault("annotations", {})[names.REVISION] = slot.revision
        there["metadata"]["labels"] = names.slot_labels(self.spec, slot)
        spec = {"replicas": there["spec"]["replicas"] if slot.replicas is None else slot.replicas,
                "template": template}  # fmt: skip
        if spec != there["spec"]:
            if template != there["spec"]["template"]:
                there["status"]["updatedReplicas"] = 0
            there["spec"] = spec
            there["metadata"]["generation"] += 1

    def roll(self, name: str = "iris-predictor") -> Outcome:
        """All pods of a Deployment come up, and those before them go."""
        there = self.deployments[name]
        count = there["spec"]["replicas"]
        there["status"] = dict.fromkeys(
            ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), count
        ) | {"observedGeneration": there["metadata"]["generation"]}
        return self.reconcile()

    def fail(self, name: str = "iris-predictor") -> Outcome:
        """All pods of a Deployment stop being ready."""
        self.deployments[name]["status"] |= {"readyReplicas": 0, "availableReplicas": 0}
        return self.reconcile()

    def restart(self) -> None:
        """Another operator takes over, and knows what stands in the cluster alone."""
        self.remembered = {}

    def settle(self) -> Outcome:
        """Everything comes up, and every moment of waiting passes."""
        for _ in range(12):
            for name in list(self.deployments):
                if name in self.deployments:
                    self.roll(name)
            self.now += 10.0
        return self.outcome

    def weights(self) -> dict[str, float]:
        """Rounded shares by the Deployment they go to."""
        found: dict[str, float] = {}
        for share in self.outcome.placement.shares:
            if share.weight:
                slot = called(self.spec, self.outcome.placement.slots, share)
                assert slot is not None, "a share of nobody"
                name = names.workload(self.spec, slot)
                found[name] = found.get(name, 0.0) + share.weight
        return {name: round(share, 3) for name, share in found.items()}

    def targets(self) -> dict[str, str]:
        return {names.workload(self.spec, slot): slot.revision for slot in self.outcome.placement.slots}

    def ready(self) -> str:
        condition = self.outcome.status.condition("Ready")
        assert condition is not None
        return condition.status


def pods_of(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The pods that a Deployment's status speaks of."""
    metadata, status = manifest["metadata"], manifest["status"]
    revision = metadata["annotations"][names.REVISION]
    labels = metadata["labels"] | ({names.REVISION: revision} if status.get("updatedReplicas") else {})
    ready = status.get("readyReplicas", 0)
    return [
        {
            "metadata": {"name": f"{metadata['name']}-{index}", "labels": labels},
            "status": {"conditions": [{"type": "Ready", "status": "True" if index < ready else "False"}]},
        }
        for index in range(status["replicas"])
    ]


def served(world: World, **changes: Any) -> World:
    world.apply(deployment(**changes))
    world.roll()
    return world

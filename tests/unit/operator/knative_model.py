"""A small model of what Knative does with the Services that the operator writes."""

from __future__ import annotations

import copy
from typing import Any

from tests.unit.operator.kubernetes_model import World

from tiffin.kube import render
from tiffin.kube.capabilities import Capabilities
from tiffin.kube.settings import Settings
from tiffin.operator.standing import Outcome, stand
from tiffin.spec import Deployment

CAPABILITIES = Capabilities(knative=True)


class KnativeWorld:
    """A cluster with Knative: ``reconcile`` is the operator's turn, ``knative`` the other's."""

    def __init__(self, spec: Deployment) -> None:
        self.base = World()
        self.base.object["metadata"]["generation"] = 1
        self.spec = spec
        self.service: dict[str, Any] = {}
        self.revisions = 0

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.base.object["status"]
        return found

    @property
    def predictor(self) -> dict[str, Any]:
        found: dict[str, Any] = self.status["components"]["predictor"]
        return found

    def split(self) -> list[tuple[str, int]]:
        """Whom the Service asks to call: revisions by name, ``latest`` for the newest."""
        return [(one.get("revisionName", "latest"), one["percent"]) for one in self.service["spec"]["traffic"]]

    def apply(self, spec: Deployment) -> Outcome:
        self.spec = spec
        self.base.object["metadata"]["generation"] += 1
        return self.reconcile()

    def reconcile(self) -> Outcome:
        base = self.base
        observed = base.observed(knative=(copy.deepcopy(self.service),) if self.service else ())
        outcome = stand(self.spec, observed, Settings(), CAPABILITIES, base.now)
        for one in outcome.revisions_to_write:
            base.revisions[one["metadata"]["name"]] = one
        base.remembered = dict(outcome.remembered)
        if outcome.native_status is not None:
            base.object["status"] = outcome.native_status
        rendered = render.render(self.spec, outcome.placement, Settings(), CAPABILITIES)
        (wanted,) = (one for one in rendered if one["apiVersion"].startswith("serving.knative.dev"))
        self._put(wanted)
        return outcome

    def _put(self, wanted: Any) -> None:
        before = self.service
        metadata = {**wanted["metadata"], "generation": before.get("metadata", {}).get("generation", 1)}
        if before and before["spec"] != wanted["spec"]:
            metadata["generation"] += 1
        self.service = {**before, "metadata": metadata, "spec": copy.deepcopy(wanted["spec"])}

    def knative(self, *, works: bool = True) -> Outcome:
        """Knative sees the Service: a new template is a revision, which works or not; then the operator's turn."""
        service, status = self.service, self.service.setdefault("status", {})
        template = service["spec"]["template"]
        if status.get("model-template") != template:
            status["model-template"] = copy.deepcopy(template)
            self.revisions += 1
            status["latestCreatedRevisionName"] = f"iris-predictor-{self.revisions:05}"
        if works:
            status["latestReadyRevisionName"] = status["latestCreatedRevisionName"]
        newest = status.get("latestReadyRevisionName")
        if newest:
            status["traffic"] = [
                {"revisionName": one.get("revisionName", newest), "latestRevision": one["latestRevision"]}
                | {"percent": one["percent"]}
                for one in service["spec"]["traffic"]
            ]
            status["url"] = "http://iris-predictor.default.example.com"
            status["address"] = {"url": "http://iris-predictor.default.svc.cluster.local"}
        failed = {"status": "False", "reason": "RevisionFailed", "message": "the revision exited with 1"}
        state = {"status": "True"} if works else failed
        routes = {"status": "True"} if newest else {"status": "Unknown", "reason": "RevisionMissing"}
        status["conditions"] = [
            {"type": "ConfigurationsReady", **state},
            {"type": "Ready", **state},
            {"type": "RoutesReady", **routes},
        ]
        status["observedGeneration"] = service["metadata"]["generation"]
        self.reconcile()
        return self.reconcile()

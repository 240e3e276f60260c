"""Where replicas answer gRPC, and deployments that cannot."""

from __future__ import annotations

import pytest

from tiffin.kits import extras
from tiffin.local.grpc_sockets import grpc_sockets, possible
from tiffin.spec import Artefact, Component, ContainerSource, Deployment, ModelSource, Variant

MODEL = Component(source=ModelSource(artefact=Artefact("/m")), grpc=True, workers=3)


def test_each_worker_has_a_socket_of_its_own() -> None:
    assert grpc_sockets(MODEL, "/run/r1.sock") == ("/run/r1.sockg", "/run/r1.sockg.1", "/run/r1.sockg.2")
    assert grpc_sockets(Component(source=MODEL.source, grpc=True), "/run/r1.sock") == ("/run/r1.sockg",)
    assert grpc_sockets(Component(source=MODEL.source), "/run/r1.sock") == ()
    assert grpc_sockets(MODEL, "127.0.0.1:8080") == ()


def test_what_can_be_served_stays_as_it_is() -> None:
    deployment = Deployment(name="iris", components=(MODEL,))
    assert possible(deployment) is deployment


def test_programs_of_others_are_warned_about() -> None:
    program = Component(source=ContainerSource(image="img:1"), grpc=True)
    found = possible(Deployment(name="iris", components=(program,)))
    assert not found.components[0].grpc
    assert [str(warning) for warning in found.warnings] == [
        "predictor.grpc: has no effect: programs of others are asked over HTTP"
    ]


def test_without_the_extra_the_warning_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "has_grpc", lambda: False)
    variant = Variant(name="canary", components=(MODEL,))
    found = possible(Deployment(name="iris", components=(MODEL,), variants=(variant,)))
    assert not found.components[0].grpc
    assert not found.variants[0].components[0].grpc
    assert [warning.path for warning in found.warnings] == ["predictor.grpc"]
    assert "pip install 'tiffin[grpc]'" in found.warnings[0].message

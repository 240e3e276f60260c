"""The cluster that these tests share; without its binaries they are skipped, or fail when TIFFIN_KUBE=required."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kube import cluster as clusters
from tests.kube import live_world


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """A real API server; tests use namespaces of their own."""
    try:
        clusters.assets()
    except clusters.Missing as error:
        _missing(str(error))
    with clusters.running() as found:
        yield found


@pytest.fixture(scope="session")
def controllers(cluster: Any) -> Any:
    """The cluster with what makes pods of Deployments and collects garbage."""
    cluster.start_controllers()
    return cluster


def _missing(reason: str) -> None:
    if os.environ.get("TIFFIN_KUBE") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def nodes(controllers: Any) -> Any:
    """The cluster with a scheduler and two played nodes, on which every pod runs and is Ready at once."""
    try:
        controllers.start_scheduler()
        controllers.start_kwok()
    except clusters.Missing as error:
        _missing(str(error))
    controllers.add_nodes(2)
    return controllers


@pytest.fixture
def own_cluster() -> Iterator[Any]:
    """A cluster for one test, with controllers and nobody who places or plays pods."""
    try:
        clusters.assets()
    except clusters.Missing as error:
        _missing(str(error))
    with clusters.running() as found:
        found.start_controllers()
        yield found


@pytest.fixture(scope="session")
def live() -> Iterator[Any]:
    """Tiffin installed on a cluster of its own with a real node; see live_world.py."""
    archive = os.environ.get("TIFFIN_RUNTIME_ARCHIVE")
    if not archive or not live_world.MODEL.exists():
        pytest.skip("TIFFIN_RUNTIME_ARCHIVE names no image of Tiffin: `make kind-like` makes one, and runs this")
    try:
        with live_world.installed(Path(archive)) as found:
            yield found
    except clusters.Missing as error:
        _missing(str(error))


@pytest.fixture(scope="session")
def kinds_of_others(cluster: Any) -> Any:
    """The cluster with the kinds of Gateway API, KEDA, Knative, prometheus-operator and cert-manager."""
    try:
        for name in ("gateway-api", "keda", "knative", "prometheus-operator", "cert-manager"):
            cluster.add_kinds(name)
    except clusters.Missing as error:
        _missing(str(error))
    return cluster


@pytest.fixture
def namespace(cluster: Any) -> Iterator[str]:
    with cluster.namespace() as name:
        yield name

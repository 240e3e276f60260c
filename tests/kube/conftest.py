"""The cluster that these tests share; without its binaries they are skipped, or fail when TIFFIN_KUBE=required."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def _module() -> Any:
    # There are no packages of tests, so that a test's file is imported by its path.
    name = "tiffin_test_cluster"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("cluster.py"))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """A real API server; tests use namespaces of their own."""
    module = _module()
    try:
        module.assets()
    except module.Missing as error:
        if os.environ.get("TIFFIN_KUBE") == "required":
            pytest.fail(str(error))
        pytest.skip(str(error))
    with module.running() as found:
        yield found


@pytest.fixture(scope="session")
def controllers(cluster: Any) -> Any:
    """The cluster with what makes pods of Deployments and collects garbage."""
    cluster.start_controllers()
    return cluster


@pytest.fixture
def namespace(cluster: Any) -> Iterator[str]:
    with cluster.namespace() as name:
        yield name

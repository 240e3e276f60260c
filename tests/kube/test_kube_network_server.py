"""The real API server takes every route, autoscaler and monitor, by the definitions that others ship."""

from pathlib import Path
from typing import Any

import pytest

GOLDEN = sorted((Path(__file__).parents[1] / "unit" / "kube" / "golden_network").glob("*.yaml"))


@pytest.fixture(scope="module")
def ml(kinds_of_others: Any) -> Any:
    """The cluster, with the namespace that the reviewed files are of."""
    given = "{apiVersion: v1, kind: Namespace, metadata: {name: ml}}"
    kinds_of_others.kubectl("apply", "-f", "-", given=given)
    return kinds_of_others


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_the_server_takes_every_reviewed_route_and_autoscaler(ml: Any, file: Path) -> None:
    text = file.read_text()
    if "kind: " not in text:
        assert file.stem == "kserve-internal", "nothing is rendered for what nobody outside may call, and no other"
        return
    arguments = ("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", str(file))
    applied = ml.kubectl(*arguments).stdout.splitlines()
    assert len(applied) == sum(line.startswith("kind: ") for line in text.splitlines())
    assert all("serverside-applied (server dry run)" in line for line in applied)


def test_the_server_refuses_what_is_beyond_the_bounds(ml: Any) -> None:
    text = next(file for file in GOLDEN if file.stem == "kserve").read_text()
    done = ml.kubectl(
        "apply", "--server-side", "--dry-run=server", "-f", "-",
        given=text.replace("request: 60s", "request: 120000ms"), check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "timeouts.request" in done.stderr

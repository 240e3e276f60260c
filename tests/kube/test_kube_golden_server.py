"""The real API server takes what a cluster is given, field by field."""

from pathlib import Path
from typing import Any

import pytest

GOLDEN = sorted((Path(__file__).parents[1] / "unit" / "kube" / "golden").glob("*.yaml"))


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_the_server_takes_every_reviewed_manifest(cluster: Any, file: Path) -> None:
    namespaces = {line.split()[1] for line in file.read_text().splitlines() if line.startswith("  namespace: ")}
    for namespace in namespaces - {"default"}:
        given = f"{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}}}}}"
        cluster.kubectl("apply", "-f", "-", given=given)
    arguments = ("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", str(file))
    done = cluster.kubectl(*arguments)
    applied = done.stdout.splitlines()
    assert len(applied) == file.read_text().count("\nkind: ")
    assert all("serverside-applied (server dry run)" in line for line in applied)

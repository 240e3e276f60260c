"""The real API server takes every route and autoscaler, with the definitions that their authors ship."""

from pathlib import Path

import pytest
import yaml

GOLDEN = sorted((Path(__file__).parents[1] / "unit" / "kube" / "golden_network").glob("*.yaml"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_the_server_takes_it(kinds_of_others, namespace, path):
    manifests = [one for one in yaml.safe_load_all(path.read_text()) if one]
    for one in manifests:
        one["metadata"]["namespace"] = namespace
        del one["metadata"]["ownerReferences"]
    text = yaml.safe_dump_all(manifests)
    if manifests:
        kinds_of_others.kubectl(
            "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", given=text
        )
    assert bool(manifests) == (path.stem != "kserve-internal")

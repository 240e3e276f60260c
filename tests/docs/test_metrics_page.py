"""The metrics page lists what a replica counts, and nothing else."""

import re
from pathlib import Path

from tiffin.runtime.exchange import Endpoint
from tiffin.runtime.metrics import Metrics

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "metrics.md").read_text()


def test_every_metric_is_on_the_page_with_its_kind() -> None:
    endpoint = Endpoint("POST", "/predict", lambda exchange: None)
    endpoint.index = 0
    families = Metrics([endpoint]).collect()
    counted = {
        (f"{family.name}_total" if family.type == "counter" else family.name, family.type) for family in families
    }
    assert counted == set(re.findall(r"^\| `([a-z_]+)` \| ([a-z]+) \|", PAGE, re.MULTILINE))

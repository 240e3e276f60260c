"""The metrics page lists what a replica and an activator count, and nothing else."""

import asyncio
import re
from pathlib import Path

from tiffin.operator.activator import pages
from tiffin.operator.activator.asking import Asking
from tiffin.operator.activator.holder import Holder
from tiffin.runtime.exchange import Endpoint
from tiffin.runtime.metrics import Metrics

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "metrics.md").read_text()
REPLICA, _, ACTIVATOR = PAGE.partition("\n## The activator\n")


def listed(text: str) -> set[tuple[str, str]]:
    return set(re.findall(r"^\| `([a-z_]+)` \| ([a-z]+) \|", text, re.MULTILINE))


def test_every_metric_is_on_the_page_with_its_kind() -> None:
    endpoint = Endpoint("POST", "/predict", lambda exchange: None)
    endpoint.index = 0
    families = Metrics([endpoint]).collect()
    counted = {
        (f"{family.name}_total" if family.type == "counter" else family.name, family.type) for family in families
    }
    assert counted == listed(REPLICA)


def test_every_metric_of_an_activator_is_on_the_page_with_its_kind() -> None:
    async def ask(namespace: str, name: str, replicas: int) -> bool:
        return False

    async def said() -> str:
        asking = Asking(ask)
        holder = Holder(asking)
        try:
            return pages.metrics(holder, asking)
        finally:
            await holder.close()

    found = re.findall(r"^# TYPE (\S+) (\S+)$", asyncio.run(said()), re.MULTILINE)
    assert set(found) == listed(ACTIVATOR)

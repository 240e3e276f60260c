"""Every field of KServe's and Seldon's objects is on one of the pages that say what becomes of it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tiffin.kube import crds

DOCS = Path(__file__).parents[2] / "docs"
PAGES = "\n".join((DOCS / page).read_text() for page in ("guides/migrating.md", "reference/dialects.md"))
PROSE = re.sub(r"^```.*?^```", "", PAGES, flags=re.MULTILINE | re.DOTALL)
NAMED = frozenset(re.findall(r"[A-Za-z_]\w+", " ".join(re.findall(r"`([^`]+)`", PROSE))))
KINDS = ("InferenceService", "ServingRuntime", "ClusterServingRuntime", "SeldonDeployment")


def fields(schema: dict[str, Any]) -> Iterator[str]:
    for name, own in (schema.get("properties") or {}).items():
        yield name
        yield from fields(own)
    for inner in (schema.get("items"), schema.get("additionalProperties")):
        if isinstance(inner, dict):
            yield from fields(inner)


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_named(kind: str) -> None:
    (definition,) = [one for one in crds.manifests() if one["spec"]["names"]["kind"] == kind]
    for version in definition["spec"]["versions"]:
        spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
        assert sorted(set(fields(spec)) - NAMED) == []

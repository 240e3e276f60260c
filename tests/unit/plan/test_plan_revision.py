"""What makes a new revision, and what does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tiffin import dialects
from tiffin.plan import revision
from tiffin.spec import Artefact, Component, ModelSource, Resources, Scaling, Variant

TESTS = Path(__file__).parents[2]
SAMPLES = [
    *sorted((TESTS / "unit/dialects/samples").glob("*.yaml")),
    *sorted((TESTS.parent / "examples").glob("*/*.yaml")),
]


def variant(**changes: Any) -> Variant:
    component = Component(source=ModelSource(artefact=Artefact(uri="/m")))
    return Variant(name="main", components=(msgspec.structs.replace(component, **changes),))


def digest(**changes: Any) -> str:
    return revision.digest(variant(**changes), "open-inference")


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"environment": {"A": "1"}}, id="environment"),
        pytest.param({"source": ModelSource(artefact=Artefact(uri="/other"))}, id="artefact"),
        pytest.param({"source": ModelSource(artefact=Artefact(uri="/m"), method="predict_proba")}, id="method"),
        pytest.param({"resources": Resources(cpu=2)}, id="resources"),
        pytest.param({"workers": 2}, id="workers"),
    ],
)
def test_what_replicas_are_started_from_makes_a_revision(changes: dict[str, Any]) -> None:
    assert digest(**changes) != digest()


@pytest.mark.parametrize(("uri", "same"), [("/m", True), ("s3://bucket/m", True), ("./m", False)])
def test_where_a_file_lies_makes_one_only_for_relative_paths(uri: str, same: bool) -> None:
    here, there = (digest(source=ModelSource(artefact=Artefact(uri=uri, base=base))) for base in ("/a", "/b"))
    assert (here == there) == same


def test_how_many_replicas_there_are_makes_none() -> None:
    assert digest(scaling=Scaling(min_replicas=0, max_replicas=9)) == digest()


def test_a_value_written_as_its_default_makes_none() -> None:
    assert digest(workers=1, resources=Resources(), environment={}) == digest()


def test_a_whole_number_makes_none_once_it_was_read_back_from_the_store() -> None:
    written = variant(resources=Resources(cpu=2))
    read = msgspec.json.decode(msgspec.json.encode(written), type=Variant)
    assert revision.digest(read, "open-inference") == revision.digest(written, "open-inference")


def test_the_protocol_makes_a_revision() -> None:
    assert revision.digest(variant(), "kserve-v1") != revision.digest(variant(), "open-inference")


def test_a_field_that_is_added_later_makes_none() -> None:
    class Later(Component, frozen=True, kw_only=True):
        news: str = ""

    source = ModelSource(artefact=Artefact(uri="/m"))
    before, after = Component(source=source, workers=2), Later(source=source, workers=2)
    assert revision._said(before)[1] == revision._said(after)[1]


def test_digests_are_the_same_in_another_process() -> None:
    code = (
        "import sys; from pathlib import Path; from tiffin import dialects; from tiffin.plan import revision\n"
        "for path in sys.argv[1:]:\n"
        "    for one in dialects.read(Path(path)):\n"
        "        for variant in one.all_variants: print(revision.digest(variant, one.protocol))"
    )
    done = [
        subprocess.run(
            [sys.executable, "-c", code, *map(str, SAMPLES)],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    here = [
        revision.digest(each, one.protocol)
        for path in SAMPLES
        for one in dialects.read(path)
        for each in one.all_variants
    ]
    assert done[0] == done[1]
    assert done[0].split() == here

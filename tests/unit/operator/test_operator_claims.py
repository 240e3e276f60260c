"""Who has a name when several want it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.operator import claims


def written(kind: str, created: str | None, uid: str) -> dict[str, Any]:
    metadata = {"name": "iris", "namespace": "ml", "uid": uid}
    return {"kind": kind, "metadata": metadata | ({"creationTimestamp": created} if created else {})}


OLD = written("InferenceService", "2026-01-01T00:00:00Z", "b")
NEW = written("SeldonDeployment", "2026-01-02T00:00:00Z", "a")
SAME = written("Deployment", "2026-01-02T00:00:00Z", "c")
UNBORN = written("Deployment", None, "")
SERVED = SAME | {"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "Pending"}]}}
TOLD = NEW | {"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "NameTaken"}]}}


@pytest.mark.parametrize(
    ("document", "others", "first"),
    [
        (OLD, [], None),
        (OLD, [NEW], None),
        (NEW, [OLD], OLD),
        (NEW, [SAME], None),
        (SAME, [NEW, OLD], OLD),
        (SAME, [NEW], NEW),
        (SERVED, [NEW], None),  # Of one second: who has objects already keeps them.
        (NEW, [SERVED], SERVED),
        (SERVED, [TOLD], None),
        (TOLD, [SERVED], SERVED),
        (TOLD, [SAME], None),
        (SERVED, [OLD], OLD),
        (UNBORN, [NEW], NEW),
        (UNBORN, [], None),
    ],
)
def test_the_one_that_was_there_first_has_it(document: Any, others: Any, first: Any) -> None:
    assert claims.holder(document, others) is first


TIMES = st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"])
STATUSES = st.sampled_from([{}, {"status": {}}, {"status": SERVED["status"]}, {"status": TOLD["status"]}])
DOCUMENTS = st.lists(
    st.builds(lambda *of: written("Deployment", *of[:2]) | of[2], TIMES, st.text(), STATUSES),
    min_size=1,
    max_size=3,
    unique_by=lambda one: one["metadata"]["uid"],
)


@given(DOCUMENTS)
def test_exactly_one_has_it_and_all_agree_on_which(documents: list[Any]) -> None:
    told = [claims.holder(one, [other for other in documents if other is not one]) for one in documents]
    (first,) = [one for one, other in zip(documents, told, strict=True) if other is None]
    assert all(other is first for other in told if other is not None)


def test_what_is_said_names_the_other_and_what_to_do() -> None:
    error = claims.taken_by(OLD)
    assert "InferenceService iris" in str(error)
    assert error.hint is not None
    assert "another name" in error.hint

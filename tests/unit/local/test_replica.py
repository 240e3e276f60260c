import pytest

from tiffin.local.replica import told_reason

LINE = "2026-01-01T00:00:00 ERROR   tiffin.runtime.worker: could not load: "


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param([LINE + "m.pkl: no"], ("m.pkl: no", None), id="a-reason"),
        pytest.param(["x", LINE + "no", "hint: do y"], ("no", "do y"), id="with-a-hint"),
        pytest.param([LINE + "no", "  and more", "hint: y"], ("no\n  and more", "y"), id="over-two-lines"),
        pytest.param([LINE + "old", LINE + "new"], ("new", None), id="the-last-one"),
        pytest.param([LINE + "no", "2026-01-01T00:00:00 INFO x: bye"], ("no", None), id="then-another-record"),
        pytest.param(
            ["error: cannot read the file", "hint: z"], ("cannot read the file", "z"), id="before-logging"
        ),
        pytest.param(["Traceback", "ValueError: error: x"], None, id="a-traceback-is-no-reason"),
        pytest.param([], None, id="nothing-said"),
    ],
)
def test_the_reason_a_replica_gives_is_found_in_its_log(lines: list[str], expected: object) -> None:
    assert told_reason(lines) == expected

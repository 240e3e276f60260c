"""Shares: KServe's canary semantics as a table, and what must hold in every history."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.plan.share import Aim, Standing, aim, spread
from tiffin.spec import Artefact, Component, Deployment, ModelSource, Variant

R1 = Standing(current=1, rolled_out=1, latest_ready=1, proven=(1,), serving={1: 100.0})
R2 = msgspec.structs.replace(R1, current=2)


def test_the_first_revision_gets_nothing_until_it_is_ready_and_then_everything() -> None:
    before = aim(Standing(current=1), frozenset())
    assert (before.shares, before.wanted, before.is_reached) == ({}, (1,), False)
    after = aim(before.standing, frozenset({1}))
    assert (after.shares, after.standing.rolled_out, after.is_reached) == ({1: 100.0}, 1, True)


def test_a_new_revision_that_is_not_ready_leaves_everything_with_the_old_one() -> None:
    found = aim(R2, frozenset({1}))
    assert found.shares == {1: 100.0}
    assert found.wanted == (1, 2)
    assert found.standing.rolled_out == 1
    assert not found.is_reached


def test_a_new_revision_that_is_ready_takes_over_and_the_old_one_is_no_longer_wanted() -> None:
    found = aim(R2, frozenset({1, 2}))
    assert (found.shares, found.wanted) == ({2: 100.0}, (2,))
    assert (found.standing.rolled_out, found.standing.previous) == (2, 1)


@pytest.mark.parametrize(
    ("percent", "shares"), [(0, {1: 100}), (10, {1: 90, 2: 10}), (100, {2: 100}), (None, {2: 100})]
)
def test_a_canary_percentage_splits_between_the_newest_and_the_rolled_out(
    percent: float | None, shares: dict[int, float]
) -> None:
    found = aim(R2, frozenset({1, 2}), canary_percent=percent)
    assert found.shares == shares
    assert found.standing.rolled_out == (2 if shares == {2: 100} else 1)


def test_a_pinned_revision_still_runs_so_that_its_readiness_is_known() -> None:
    assert aim(R2, frozenset({1, 2}), canary_percent=0).wanted == (1, 2)


def test_a_canary_of_a_deployment_that_never_was_ready_gets_everything() -> None:
    first = Standing(current=1)
    assert aim(first, frozenset({1}), canary_percent=10).shares == {1: 100.0}


def test_a_newer_canary_leaves_the_share_with_the_older_one_until_it_is_ready() -> None:
    second = aim(R2, frozenset({1, 2}), canary_percent=10).standing
    third = msgspec.structs.replace(second, current=3)
    assert aim(third, frozenset({1, 2}), canary_percent=10).shares == {1: 90.0, 2: 10.0}
    found = aim(third, frozenset({1, 2, 3}), canary_percent=20)
    assert (found.shares, found.wanted) == ({1: 80.0, 3: 20.0}, (1, 3))


def test_a_percentage_on_what_is_rolled_out_already_goes_back_to_the_one_before() -> None:
    promoted = aim(R2, frozenset({1, 2})).standing
    waiting = aim(promoted, frozenset({2}), canary_percent=0)
    assert (waiting.shares, waiting.wanted) == ({2: 100.0}, (1, 2))
    back = aim(waiting.standing, frozenset({1, 2}), canary_percent=0)
    assert back.shares == {1: 100.0}
    assert aim(back.standing, frozenset({1, 2})).shares == {2: 100.0}


def test_a_rollout_gives_the_candidate_what_the_judge_says_until_it_has_all() -> None:
    start = aim(R2, frozenset({1, 2}), has_rollout=True)
    assert (start.shares, start.contest) == ({1: 100.0}, (1, 2))
    half = aim(msgspec.structs.replace(start.standing, override=50.0), frozenset({1, 2}), has_rollout=True)
    assert half.shares == {1: 50.0, 2: 50.0}
    done = aim(msgspec.structs.replace(half.standing, override=100.0), frozenset({1, 2}), has_rollout=True)
    assert (done.shares, done.contest, done.standing.rolled_out) == ({2: 100.0}, None, 2)
    assert done.standing.override is None


def test_a_candidate_that_was_rolled_back_gets_nothing_and_need_not_run() -> None:
    rejected = msgspec.structs.replace(R2, rejected=2, override=0.0)
    found = aim(rejected, frozenset({1, 2}), has_rollout=True)
    assert (found.shares, found.wanted, found.contest, found.is_reached) == ({1: 100.0}, (1,), None, False)


def test_a_revision_that_served_and_is_down_is_still_wanted_while_its_successor_is_not_ready() -> None:
    found = aim(R2, frozenset())
    assert (found.shares, found.wanted) == ({}, (1, 2))


def test_tags_are_those_of_revisions_that_can_serve() -> None:
    assert aim(R2, frozenset({1, 2}), canary_percent=10).tags == {"latest": 2, "canary": 2, "prev": 1}
    assert aim(R2, frozenset({1}), canary_percent=10).tags == {"prev": 1}
    assert aim(R1, frozenset({1})).tags == {"latest": 1}


STEPS = st.lists(
    st.tuples(
        st.booleans(),  # a new revision
        st.sets(st.integers(1, 8)),  # who can serve
        st.none() | st.floats(0, 100),  # the canary percentage
        st.booleans(),  # a rollout
        st.none() | st.floats(0, 100),  # what the judge says
    ),
    max_size=12,
)


@given(STEPS)
def test_in_every_history_shares_sum_to_100_and_reach_only_who_can_serve(
    steps: list[tuple[bool, set[int], float | None, bool, float | None]],
) -> None:
    standing = Standing(current=1)
    for is_new, able, percent, has_rollout, override in steps:
        if is_new:
            standing = msgspec.structs.replace(standing, current=standing.current + 1, override=None)
        if override is not None:
            standing = msgspec.structs.replace(standing, override=override)
        known = {standing.current, standing.rolled_out, standing.previous, *standing.serving}
        servable = frozenset(able & known)
        found = aim(standing, servable, canary_percent=percent, has_rollout=has_rollout)
        assert set(found.shares) <= servable
        assert set(found.shares) <= set(found.wanted)
        assert not found.shares or sum(found.shares.values()) == pytest.approx(100)
        # Whoever served and still can is never left for nothing.
        if servable & standing.serving.keys():
            assert found.shares
        assert standing.current in found.wanted or standing.current == standing.rejected
        if found.standing.rolled_out != standing.rolled_out:
            assert found.shares == {standing.current: 100.0}
        standing = found.standing


def component() -> Component:
    return Component(source=ModelSource(artefact=Artefact(uri="m")))


def shares(found: dict[int, float]) -> Aim:
    return Aim(shares=found, wanted=tuple(found), standing=Standing())


def test_weights_of_variants_multiply_with_those_of_revisions() -> None:
    other = Variant(name="b", components=(component(),), weight=40)
    deployment = Deployment(name="d", components=(component(),), variants=(other,))
    found = spread(deployment, {"main": shares({1: 90.0, 3: 10.0}), "b": shares({2: 100.0})})
    assert found.weights == pytest.approx({1: 54, 3: 6, 2: 40})


def test_a_variant_that_cannot_serve_leaves_its_calls_to_the_others() -> None:
    other = Variant(name="b", components=(component(),), weight=40)
    deployment = Deployment(name="d", components=(component(),), variants=(other,))
    assert spread(deployment, {"main": shares({1: 100.0}), "b": shares({})}).weights == {1: 100.0}


def test_a_shadow_gets_copies_and_no_calls() -> None:
    shadow = Variant(name="s", components=(component(),), mirror_percent=20)
    deployment = Deployment(name="d", components=(component(),), variants=(shadow,))
    found = spread(deployment, {"main": shares({1: 100.0}), "s": shares({2: 100.0})})
    assert (found.weights, found.mirrors) == ({1: 100.0}, {2: 20.0})
    assert spread(deployment, {"s": shares({2: 100.0})}).weights == {}


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=4))
def test_weights_of_a_deployment_sum_to_100_whatever_variants_can_serve(
    arms: list[tuple[float, bool]],
) -> None:
    variants = [Variant(name=f"v{n}", components=(component(),), weight=w) for n, (w, _) in enumerate(arms)]
    deployment = Deployment(name="d", components=(component(),), variants=tuple(variants))
    aims = {f"v{n}": shares({n + 2: 100.0} if able else {}) for n, (_, able) in enumerate(arms)}
    weights = spread(deployment, {"main": shares({1: 100.0}), **aims}).weights
    assert not weights or sum(weights.values()) == pytest.approx(100)

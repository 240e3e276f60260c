import msgspec
import pytest

from tiffin.gateway.router import PoolSample
from tiffin.local.scaling import Autoscaler, most_held
from tiffin.local.seams import Observed
from tiffin.spec import Artefact, Component, Measure, ModelSource, Scaling, Windows

POOL = "default/iris-00001/predictor"
COMPONENT = Component(
    source=ModelSource(artefact=Artefact("/m")),
    scaling=Scaling(
        min_replicas=0,
        max_replicas=5,
        measures=(Measure(target=10),),
        windows=Windows(utilization_percent=100, stable_seconds=6.0, initial_scale=0),
    ),
)


def seen(time: float, counters: PoolSample | None, *, held: int = 0, wanted: int = 1, ready: int = 1) -> Observed:
    return Observed(time=time, counters=counters, held=held, wanted=wanted, ready=ready)


def test_numbers_follow_what_the_gateway_counts_and_what_is_held() -> None:
    scaler = Autoscaler()
    assert scaler.decide(POOL, COMPONENT, seen(0, PoolSample(), wanted=0, ready=0)) == 0
    assert scaler.decide(POOL, COMPONENT, seen(1, PoolSample(), held=25, wanted=0, ready=0)) >= 1
    wanted = 1
    for second in range(2, 12):
        sample = PoolSample(active=35, calls=100 * second)
        wanted = scaler.decide(POOL, COMPONENT, seen(second, sample, wanted=wanted, ready=wanted))
    assert wanted == 4
    last = scaler.last(POOL)
    assert last is not None
    assert "35 calls at once" in last.reason
    for second in range(12, 40):
        sample = PoolSample(calls=1200)
        wanted = scaler.decide(POOL, COMPONENT, seen(second, sample, wanted=wanted, ready=wanted))
    assert wanted == 0
    scaler.forget(POOL)
    assert scaler.last(POOL) is None


def test_a_gateway_that_does_not_answer_changes_nothing_but_held_calls_count() -> None:
    scaler = Autoscaler()
    wanted = 0
    for second in range(10):
        wanted = scaler.decide(POOL, COMPONENT, seen(second, PoolSample(active=20), wanted=wanted, ready=wanted))
    assert wanted == 2
    for second in range(10, 60):
        wanted = scaler.decide(POOL, COMPONENT, seen(second, None, wanted=wanted, ready=wanted))
    assert wanted == 2
    # It counts from nothing when it was started again, which is no negative load and no burst.
    wanted = scaler.decide(POOL, COMPONENT, seen(60, PoolSample(active=20, calls=3), wanted=wanted, ready=wanted))
    assert wanted == 2
    assert Autoscaler().decide(POOL, COMPONENT, seen(0, None, held=1, wanted=0, ready=0)) == 1


@pytest.mark.parametrize(
    ("limit", "low", "high", "most"),
    [(None, 0, 5, 1000), (4, 0, 5, 20), (4, 0, None, 4), (4, 2, None, 8), (4, 0, 0, 1000), (500, 0, 9, 1000)],
)
def test_as_many_wait_as_all_replicas_take_at_once(limit, low, high, most) -> None:
    scaling = Scaling(min_replicas=low, max_replicas=high)
    assert most_held(msgspec.structs.replace(COMPONENT, max_concurrency=limit, scaling=scaling)) == most

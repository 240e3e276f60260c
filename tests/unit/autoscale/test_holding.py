from hypothesis import given
from hypothesis import strategies as st

from tiffin.autoscale.holding import Entry, Holds

POOLS = ("a", "b")


def test_a_pool_nobody_spoke_of_is_held_and_lets_go_in_the_order_of_arrival() -> None:
    holds = Holds()
    tickets = [holds.arrive("a")[1] for _ in range(5)]
    holds.leave("a", tickets[2])
    assert holds.held("a") == 4
    assert holds.release("a", ["/r1"]) == [tickets[0], tickets[1], tickets[3], tickets[4]]
    assert holds.held("a") == 0
    assert holds.arrive("a") == (Entry.PASSES, 0)
    assert holds.held("b") == 0


def test_a_pool_that_is_held_again_has_no_endpoints() -> None:
    holds = Holds()
    holds.release("a", ["/r1", "/r2", "/r3"])
    assert holds.endpoints("a") == ("/r2", "/r3", "/r1")
    assert holds.endpoints("a") == ("/r3", "/r1", "/r2")
    holds.hold("a")
    assert holds.endpoints("a") == ()
    assert holds.arrive("a")[0] is Entry.WAITS
    assert holds.endpoints("never") == ()


def test_no_more_wait_than_is_allowed() -> None:
    holds = Holds(most_in_all=5)
    holds.hold("a", most=2, seconds=7.0)
    assert holds.seconds("a") == 7
    assert [holds.arrive("a")[0] for _ in range(3)] == [Entry.WAITS, Entry.WAITS, Entry.IS_TOO_MUCH]
    assert [holds.arrive("b")[0] for _ in range(4)] == [Entry.WAITS] * 3 + [Entry.IS_TOO_MUCH]
    holds.refuse("b")
    assert holds.arrive("b")[0] is Entry.WAITS


def test_what_is_forgotten_is_like_new() -> None:
    holds = Holds()
    holds.hold("a", most=1, seconds=1.0)
    _, ticket = holds.arrive("a")
    assert holds.forget("a") == [ticket]
    assert holds.pools == []
    assert holds.forget("a") == []
    assert holds.seconds("a") == 300


def test_leaving_twice_or_after_being_let_go_changes_nothing() -> None:
    holds = Holds(most_in_all=1)
    _, ticket = holds.arrive("a")
    holds.release("a", [])
    holds.leave("a", ticket)
    holds.leave("a", ticket)
    holds.leave("gone", ticket)
    holds.hold("a")
    assert holds.arrive("a")[0] is Entry.WAITS
    assert holds.arrive("a")[0] is Entry.IS_TOO_MUCH


steps = st.tuples(
    st.sampled_from(["arrive", "arrive", "arrive", "leave", "release", "refuse", "hold", "forget"]),
    st.sampled_from(POOLS),
    st.integers(0, 30),
)


@given(st.lists(steps, max_size=80), st.integers(1, 10), st.integers(1, 10))
def test_every_ticket_is_given_back_once_in_order_and_counts_are_right(script, most, in_all) -> None:
    holds = Holds(most_in_all=in_all)
    for pool in POOLS:
        holds.hold(pool, most=most)
    waiting: dict[str, list[int]] = {pool: [] for pool in POOLS}
    is_open = dict.fromkeys(POOLS, False)
    seen: set[int] = set()
    for step, pool, which in script:
        if step == "arrive":
            entry, ticket = holds.arrive(pool)
            assert (entry is Entry.PASSES) == is_open[pool]
            if entry is Entry.WAITS:
                assert ticket not in seen
                seen.add(ticket)
                waiting[pool].append(ticket)
        elif step == "leave" and waiting[pool]:
            ticket = waiting[pool].pop(which % len(waiting[pool]))
            holds.leave(pool, ticket)
        elif step in ("release", "refuse", "forget"):
            given_back = holds.release(pool, []) if step == "release" else getattr(holds, step)(pool)
            assert given_back == waiting[pool]
            waiting[pool] = []
            is_open[pool] = step == "release" or (step == "refuse" and is_open[pool])
        elif step == "hold":
            holds.hold(pool)
            is_open[pool] = False
        assert all(holds.held(pool) == len(waiting[pool]) for pool in POOLS)
        assert sum(map(len, waiting.values())) <= in_all

from hypothesis import given
from hypothesis import strategies as st

from tiffin.autoscale.placement import Machine, Replica, placement, shown_bytes
from tiffin.spec import Resources

GIB = 1024**3
MACHINE = Machine(cpu=4, memory_bytes=8 * GIB)


def asks(name: str, cpu: float | None = None, memory: int | None = None, gpu: float | None = None) -> Replica:
    return Replica(name=name, resources=Resources(cpu=cpu, memory_bytes=memory, gpu=gpu))


def test_in_order_until_there_is_no_room_and_the_reason_says_what_is_missing() -> None:
    found = placement(MACHINE, [asks("a", 2)], [asks("b", 1.5), asks("c", 1), asks("d", 0.5)])
    assert [place.fits for place in found] == [True, False, True]
    assert found[1].reason == "1 core asked for, 0.5 of 4 cores free"


def test_memory_and_gpus_are_limits_too() -> None:
    (place,) = placement(MACHINE, [asks("a", memory=6 * GIB)], [asks("b", 5, 3 * GIB, 1)])
    assert place.reason == (
        "5 cores asked for, 4 of 4 cores free; 3 GiB of memory asked for, 2 GiB of 8 GiB free; "
        "1 GPU asked for, 0 of 0 free"
    )


def test_what_asks_for_nothing_always_fits() -> None:
    full = [asks("a", 100, 100 * GIB)]
    assert all(place.fits for place in placement(MACHINE, full, [asks("b"), asks("c")]))


def test_tenths_of_cores_add_up() -> None:
    machine = Machine(cpu=1, memory_bytes=GIB)
    assert all(place.fits for place in placement(machine, [], [asks(str(i), 0.1) for i in range(10)]))


@given(st.lists(st.tuples(st.floats(0.1, 3), st.integers(0, 4 * GIB)), max_size=20))
def test_what_is_placed_never_asks_for_more_than_there_is(wanted: list[tuple[float, int]]) -> None:
    found = placement(MACHINE, [], [asks(str(i), cpu, memory) for i, (cpu, memory) in enumerate(wanted)])
    placed = [place.replica.resources for place in found if place.fits]
    assert sum(one.cpu or 0 for one in placed) <= 4 + 1e-6
    assert sum(one.memory_bytes or 0 for one in placed) <= 8 * GIB


def test_bytes_are_shown_in_a_unit_people_read() -> None:
    assert [shown_bytes(n) for n in (0, 512, 1536, 5 * 1024**2, 3 * GIB)] == [
        "0 B",
        "512 B",
        "1.5 KiB",
        "5 MiB",
        "3 GiB",
    ]

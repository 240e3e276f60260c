import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.errors import PlatformError
from tiffin.kube.names import ACTIVATOR_PORTS
from tiffin.operator import ports
from tiffin.operator.ports import FIRST, LAST, LAST_PREFERRED, Ports

NAMES = st.text("abc/", min_size=1, max_size=4)


@given(st.lists(st.tuples(NAMES, st.sampled_from(["of", "forget"])), max_size=60))
def test_no_two_services_share_a_port_whatever_comes_and_goes(steps: list[tuple[str, str]]) -> None:
    book = Ports()
    held: dict[str, int] = {}
    for name, action in steps:
        if action == "of":
            port = book.of(name)
            assert held.setdefault(name, port) == port
        else:
            book.forget(name)
            held.pop(name, None)
    taken = [port + one for port in held.values() for one in range(ACTIVATOR_PORTS)]
    assert len(taken) == len(set(taken)) == ACTIVATOR_PORTS * len(book)
    assert all(FIRST <= port <= LAST for port in taken)


@given(st.dictionaries(NAMES, st.integers(FIRST - 5, LAST + 5), max_size=20), st.lists(NAMES, max_size=20))
def test_what_services_say_is_believed_once_and_kept_after_a_restart(
    written: dict[str, int], asked: list[str]
) -> None:
    book = Ports(written)
    given_now = {name: book.of(name) for name in (*written, *asked)}
    assert len(set(given_now.values())) == len(given_now)
    again = Ports(given_now)
    assert {name: again.of(name) for name in given_now} == given_now


def test_a_port_two_services_claim_stays_with_the_first_by_name() -> None:
    book = Ports({"b/x": FIRST, "a/x": FIRST})
    assert book.of("a/x") == FIRST
    assert book.of("b/x") != FIRST
    assert not book.found("b/x", FIRST)


def test_a_service_made_again_finds_its_old_port() -> None:
    book = Ports()
    before = book.of("models/iris-predictor")
    assert before <= LAST_PREFERRED
    book.forget("models/iris-predictor")
    assert book.of("models/iris-predictor") == before == Ports().of("models/iris-predictor")


def test_a_port_beside_the_rows_is_no_port() -> None:
    book = Ports()
    assert not book.found("a/a", FIRST + 1)
    assert not book.found("a/a", 8080)
    assert not book.found("a/a", LAST + 1)
    assert len(book) == 0


def test_all_ports_are_given_before_one_is_refused() -> None:
    book = Ports()
    places = (LAST + 1 - FIRST) // ACTIVATOR_PORTS
    # All but the digest's walk through what is taken: filled from what Services say.
    for place in range(places - 1):
        assert book.found(f"n/{place}", FIRST + place * ACTIVATOR_PORTS)
    assert book.of("n/last") == FIRST + (places - 1) * ACTIVATOR_PORTS > ports.LAST_PREFERRED
    with pytest.raises(PlatformError, match="n/more"):
        book.of("n/more")

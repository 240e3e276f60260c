"""What leaves a node's cache: the choice by tables and properties, the directories for real."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.models import contents, eviction
from tiffin.models.eviction import Entry, Removed, victims

NOW = 1_000_000.0
OLD = NOW - 2 * eviction.YOUNG_SECONDS


def entry(name: str, size: int, age: float, **fields: bool) -> Entry:
    return Entry(name, size, NOW - age, **fields)


@pytest.mark.parametrize(
    ("entries", "bound", "gone"),
    [
        ([], 0, ""),
        ([entry("a", 5, 10), entry("b", 5, 20)], 10, ""),
        ([entry("a", 5, 10), entry("b", 5, 20)], 9, "b"),
        ([entry("a", 5, 10), entry("b", 5, 20)], 0, "ba"),
        ([entry("a", 5, 10), entry("b", 1, 20), entry("c", 9, 15)], 10, "bc"),
        # What is in use counts, and stays.
        ([entry("a", 5, 10), entry("b", 5, 20, is_in_use=True)], 9, "a"),
        ([entry("a", 9, 10, is_in_use=True), entry("b", 5, 20)], 8, "b"),
        # What no address has goes before what was used last month, unless it is young.
        ([entry("a", 5, 9e5), entry("b", 5, 7200, is_named=False)], 9, "b"),
        ([entry("a", 5, 9e5), entry("b", 5, 3000, is_named=False)], 9, "a"),
        ([entry("a", 5, 9e5), entry("b", 5, 3000, is_named=False)], 0, "a"),
        # What never fits would push out all others: it goes alone.
        ([entry("a", 5, 20), entry("b", 11, 0)], 10, "b"),
        ([entry("a", 6, 20), entry("b", 11, 0), entry("c", 6, 9)], 10, "ba"),
    ],
)
def test_what_goes(entries: list[Entry], bound: int, gone: str) -> None:
    assert "".join(one.content for one in victims(entries, bound, now=NOW, largest=bound)) == gone


def test_on_a_full_disk_age_counts_alone() -> None:
    entries = [entry("a", 5, 20), entry("b", 95, 0)]
    assert [one.content for one in victims(entries, 95, now=NOW)] == ["a"]


ENTRIES = st.lists(
    st.builds(
        Entry,
        st.uuids().map(str),
        st.integers(0, 100),
        st.floats(OLD, NOW),
        is_named=st.booleans(),
        is_in_use=st.booleans(),
    ),
    max_size=12,
)


@given(ENTRIES, st.integers(0, 500))
def test_as_few_go_as_it_takes_and_none_that_is_in_use(entries: list[Entry], bound: int) -> None:
    gone = victims(entries, bound, now=NOW, largest=bound)
    stay = [one for one in entries if one not in gone]
    assert all(eviction.can_go(one, NOW) for one in gone)
    left = sum(one.size for one in stay)
    assert left <= bound or not any(eviction.can_go(one, NOW) for one in stay)
    if gone:
        assert left + gone[-1].size > bound
    for kept in stay:
        for one in gone:
            if eviction.can_go(kept, NOW) and one.is_named and one.size <= bound:
                assert kept.is_named
                assert kept.size <= bound
                assert one.last_used <= kept.last_used


# ---- directories


def put(cache: Path, uri: str, text: str, *, age: float = 0.0) -> Path:
    """A content that came from an address so many seconds ago."""
    with contents.partial(cache) as partial:
        directory = contents.new_directory(partial / "download")
        (directory / "model").write_text(text)
        home = contents.keep(cache, uri, "key", directory)
    when = time.time() - age
    os.utime(cache / "index" / contents.digest(uri), (when, when))
    os.utime(home, (when, when))
    return home


def test_what_was_used_longest_ago_goes_and_its_address_with_it(tmp_path: Path) -> None:
    first = put(tmp_path, "s3://a", "1" * 100, age=300)
    second = put(tmp_path, "s3://b", "2" * 100, age=200)
    third = put(tmp_path, "s3://c", "3" * 100, age=100)
    assert eviction.keep_within(tmp_path, 300) == Removed()
    assert eviction.keep_within(tmp_path, 250) == Removed(1, 100)
    assert not first.exists()
    assert second.exists()
    assert third.exists()
    assert contents.known(tmp_path, "s3://a", "key") is None
    assert contents.known(tmp_path, "s3://b", "key") == second
    assert sorted(path.name for path in (tmp_path / "index").iterdir()) == sorted(
        map(contents.digest, ("s3://b", "s3://c"))
    )
    assert list((tmp_path / "partial").iterdir()) == []


@pytest.mark.parametrize("held", ["s3://a", "s3://same", "content"])
def test_what_somebody_uses_by_any_of_its_names_stays(tmp_path: Path, held: str) -> None:
    first = put(tmp_path, "s3://a", "1" * 100, age=300)
    assert put(tmp_path, "s3://same", "1" * 100, age=300) == first
    second = put(tmp_path, "s3://b", "2" * 100, age=200)
    with contents.using(tmp_path, first.name if held == "content" else contents.digest(held)):
        assert eviction.keep_within(tmp_path, 150) == Removed(1, 100)
    assert first.exists()
    assert not second.exists()
    assert eviction.keep_within(tmp_path, 0) == Removed(1, 100)
    assert not first.exists()


def test_a_content_that_two_addresses_have_is_as_young_as_the_younger(tmp_path: Path) -> None:
    first = put(tmp_path, "s3://a", "1" * 100, age=300)
    put(tmp_path, "s3://b", "2" * 100, age=200)
    put(tmp_path, "s3://same", "1" * 100, age=100)
    os.utime(tmp_path / "index" / contents.digest("s3://a"), (1, 1))
    assert eviction.keep_within(tmp_path, 100) == Removed(1, 100)
    assert first.exists()


def test_what_no_address_has_any_more_goes_first_once_nobody_can_be_about_to_use_it(tmp_path: Path) -> None:
    before = put(tmp_path, "s3://a", "1" * 100, age=9e5)
    now = put(tmp_path, "s3://a", "2" * 100, age=8e5)
    assert eviction.keep_within(tmp_path, 150) == Removed(1, 100)
    assert not now.exists(), "what an address just ceased to have counts as used now"
    put(tmp_path, "s3://a", "2" * 100, age=8e5)
    os.utime(before, (1, 1))
    assert eviction.keep_within(tmp_path, 150) == Removed(1, 100)
    assert not before.exists()
    assert now.exists()


def test_remains_are_removed_although_everything_fits(tmp_path: Path) -> None:
    home = put(tmp_path, "s3://a", "1" * 100)
    (tmp_path / "index" / contents.digest("s3://gone")).write_bytes(
        (tmp_path / "index" / contents.digest("s3://a")).read_bytes().replace(home.name.encode(), b"0" * 64)
    )
    for name, age in (("stale", 8 * 86400), ("held", 8 * 86400), ("fresh", 0)):
        part = tmp_path / "arrivals" / contents.digest(name) / "listing" / "0.part"
        part.parent.mkdir(parents=True)
        part.write_text("1")
        for path in (part, part.parent, part.parent.parent):
            os.utime(path, (time.time() - age,) * 2)
    with contents.using(tmp_path, contents.digest("held")):
        assert eviction.keep_within(tmp_path, 1000) == Removed()
    assert [path.name for path in (tmp_path / "index").iterdir()] == [contents.digest("s3://a")]
    left = {path.name for path in (tmp_path / "arrivals").iterdir()}
    assert left == {contents.digest("held"), contents.digest("fresh")}


@pytest.mark.parametrize(
    ("free", "needed", "left"), [(50, 50, "ab"), (50, 60, "b"), (50, 151, ""), (50, 251, "ab"), (0, 100, "b")]
)
def test_room_is_made_on_a_full_disk_and_nothing_goes_in_vain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, needed: int, left: str
) -> None:
    monkeypatch.setattr(eviction.archives, "free_bytes", lambda path: free)
    homes = {name: put(tmp_path, f"s3://{name}", name * 100, age=age) for name, age in (("a", 200), ("b", 100))}
    eviction.make_room(tmp_path, needed)
    assert "".join(name for name, home in homes.items() if home.exists()) == left

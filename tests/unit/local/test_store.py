"""The controller's store, on a real file."""

import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from tiffin.errors import Conflict, NoSuchDeployment, PlatformError
from tiffin.kits.processes import Identity
from tiffin.local.store import EVENTS_KEPT, Problematic, ReplicaRecord, Resource, Store
from tiffin.plan.revision import Revision
from tiffin.plan.share import Standing
from tiffin.plan.state import Event
from tiffin.spec import Artefact, Component, Deployment, ModelSource


def made(name: str = "iris", uri: str = "m") -> Deployment:
    return Deployment(name=name, components=(Component(source=ModelSource(artefact=Artefact(uri=uri))),))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "controller.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    made = Store(path)
    yield made
    made.close()


def test_a_version_that_was_not_reached_yet_is_a_conflict(store: Store) -> None:
    version = store.put(made(), {}).version
    with pytest.raises(Conflict, match=f"expected version {version + 5}"):
        store.put(made(uri="n"), {}, expected=version + 5)
    with pytest.raises(Conflict):
        store.delete("default/iris", expected=version + 5)
    store.bump()
    # A version that only a change of its status made is as good as the one before.
    assert store.put(made(uri="n"), {}, expected=version + 1).version == version + 2


def test_what_was_written_is_there_after_the_file_is_opened_again(path: Path) -> None:
    first = Store(path)
    put = first.put(made(), {"kind": "x"}, managed_by="up", problem=Problematic("spec", "no", "do"))
    revision = Revision(
        namespace="default",
        deployment="iris",
        number=1,
        variant="main",
        protocol="seldon",
        components=made().components,
        digest="d",
    )
    standing = Standing(current=1, serving={1: 100.0}, judged=b"\0state")
    record = ReplicaRecord(
        id="r1", key="default/iris", revision=1, component="predictor", identity=Identity(5, 1.5), ready=True
    )
    resource = Resource(kind="Secret", namespace="default", name="s", document={"data": {"a": "b"}})
    first.add_revision(revision)
    first.put_standing("default/iris", "main", standing)
    first.put_replica(record)
    assert first.put_resource(resource)
    assert not first.put_resource(resource)
    # Not closed: the controller was killed.
    second = Store(path)
    assert second.get("default/iris") == put
    assert second.deployments() == [put]
    assert second.revisions("default/iris") == [revision]
    assert second.next_revision("default/iris") == 2
    assert second.standings("default/iris") == {"main": standing}
    assert second.replicas() == [record]
    assert second.resources("Secret") == [resource]
    assert second.resources("ConfigMap") == []
    second.forget("default/iris")
    assert (second.revisions("default/iris"), second.standings("default/iris")) == ([], {})
    first.close()
    second.close()


def test_only_its_owner_may_read_it(path: Path, store: Store) -> None:
    assert path.stat().st_mode & 0o077 == 0


def test_the_generation_grows_with_the_spec_and_an_equal_write_changes_nothing(store: Store) -> None:
    first = store.put(made(), {})
    assert (first.generation, store.put(made(), {}), store.version) == (1, first, first.version)
    managed = store.put(made(), {}, managed_by="up")
    assert (managed.generation, managed.version) == (1, first.version + 1)
    assert store.put(made(uri="n"), {}).generation == 2
    assert store.put(made(uri="n"), {}).created == first.created


def test_a_writer_that_names_an_old_version_is_told(store: Store) -> None:
    first = store.put(made(), {}, expected=0)
    with pytest.raises(Conflict, match="expected version 0, and it is of version 1"):
        store.put(made(uri="n"), {}, expected=0)
    store.put(made(uri="n"), {}, expected=first.version)
    with pytest.raises(Conflict):
        store.put(made(uri="o"), {}, expected=first.version)
    with pytest.raises(Conflict):
        store.delete("default/iris", expected=first.version)
    assert store.get("default/iris").deployment == made(uri="n")
    # A version that only status changes have moved on from is still good.
    store.bump()
    store.delete("default/iris", expected=store.version)
    with pytest.raises(NoSuchDeployment):
        store.get("default/iris")
    with pytest.raises(NoSuchDeployment):
        store.delete("default/iris")
    with pytest.raises(Conflict, match="is gone"):
        store.put(made(), {}, expected=3)


def test_deployments_come_in_the_order_they_were_first_written(store: Store) -> None:
    for name in ("b", "a", "c"):
        store.put(made(name), {})
    store.put(made("b", "changed"), {})
    assert [one.deployment.name for one in store.deployments()] == ["b", "a", "c"]


def test_equal_events_in_a_row_are_counted_and_old_ones_go(store: Store) -> None:
    event = Event(deployment="default/iris", reason="Started", message="one", time=1.0)
    for _ in range(3):
        store.add_event(event)
    (found,) = store.events("default/iris")
    assert (found.count, found.message) == (3, "one")
    for number in range(EVENTS_KEPT + 20):
        store.add_event(msgspec.structs.replace(event, message=str(number)))
    store.add_event(msgspec.structs.replace(event, deployment="default/other"))
    found_all = store.events("default/iris")
    assert len(found_all) == EVENTS_KEPT
    assert found_all[-1].message == str(EVENTS_KEPT + 19)
    assert len(store.events()) == EVENTS_KEPT + 1


def test_names_of_replicas_are_never_used_twice(store: Store) -> None:
    assert [store.next_replica() for _ in range(3)] == ["r1", "r2", "r3"]


def test_facts_are_kept_and_forgotten(store: Store) -> None:
    assert store.fact("x") is None
    store.put_fact("x", b"\1")
    assert store.fact("x") == b"\1"
    store.put_fact("x", None)
    assert store.fact("x") is None


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_told_with_what_to_do(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(PlatformError, match=r"controller\.db is damaged") as caught:
        Store(path)
    assert "move it aside" in str(caught.value.hint)


def test_a_value_in_another_form_is_damage_too(path: Path, store: Store) -> None:
    store.put(made(), {})
    with sqlite3.connect(path) as other:
        other.execute("UPDATE deployments SET spec='{}'")
    other.close()
    with pytest.raises(PlatformError, match="damaged"):
        store.deployments()


def test_a_full_disk_is_told_and_nothing_is_half_written(path: Path, store: Store) -> None:
    store.put(made(), {})
    pages = store._execute("PRAGMA page_count").fetchone()[0]
    store._execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(PlatformError, match="no room on the disk") as caught:
        store.put(made("big", "x" * 100_000), {})
    assert "nothing was changed" in str(caught.value.hint)
    assert [one.deployment.name for one in store.deployments()] == ["iris"]


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="cannot be opened for writing"):
        Store(tmp_path / "none" / "controller.db")


def test_two_writers_at_once_get_different_versions(path: Path) -> None:
    stores = [Store(path), Store(path)]
    seen: list[int] = []

    def write(store: Store, name: str) -> None:
        seen.extend(store.put(made(name, str(n)), {}).version for n in range(20))

    threads = [threading.Thread(target=write, args=(store, f"d{n}")) for n, store in enumerate(stores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(1, 41))
    for store in stores:
        store.close()


class Clients(RuleBasedStateMachine):
    """Clients that read, and write with the version they read: no write of another is ever lost."""

    read = Bundle("read")

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.store = Store(Path(self.directory.name) / "controller.db")
        self.value: str | None = None
        self.version = 0
        self.highest = 0

    def teardown(self) -> None:
        self.store.close()
        self.directory.cleanup()

    @rule(target=read)
    def look(self) -> tuple[str | None, int]:
        return self.value, self.version

    @rule(seen=read, value=st.sampled_from("abc"))
    def write(self, seen: tuple[str | None, int], value: str) -> None:
        stale = self.version > seen[1] or (self.value is None and seen[1] > 0)
        try:
            put = self.store.put(made(uri=value), {}, expected=seen[1])
        except Conflict:
            assert stale
        else:
            assert not stale
            assert put.version > self.highest or value == self.value
            self.value, self.version = value, put.version
            self.highest = max(self.highest, put.version)

    @rule(seen=read)
    def delete(self, seen: tuple[str | None, int]) -> None:
        try:
            version = self.store.delete("default/iris", expected=seen[1])
        except NoSuchDeployment:
            assert self.value is None
        except Conflict:
            assert self.version > seen[1]
        else:
            assert version > self.highest
            self.value, self.version, self.highest = None, 0, version

    @invariant()
    def the_store_holds_what_was_written_last(self) -> None:
        found = [one.deployment for one in self.store.deployments()]
        assert found == ([] if self.value is None else [made(uri=self.value)])


TestClients = Clients.TestCase
TestClients.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)

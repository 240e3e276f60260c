"""How the cache is kept as the API server is, with a server that does as it is told."""

import asyncio
import contextlib

from tiffin.kube.client import Event, Expired, Kind, Listing, NotFound, Unreachable
from tiffin.operator import reflector
from tiffin.operator.cache import Cache, Change
from tiffin.operator.reflector import Reflector

MAPS = Kind("", "v1", "ConfigMap", "configmaps")


def item(name, version, namespace="n", **more):
    metadata = {"name": name, "namespace": namespace, "uid": f"u-{name}", "resourceVersion": str(version)}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **more}


def bookmark(version):
    return Event("BOOKMARK", {"metadata": {"resourceVersion": str(version)}})


class Server:
    """Answers lists and watches from a script; the last watch lasts for ever."""

    def __init__(self, lists, watches):
        self.lists, self.watches, self.asked = list(lists), list(watches), []

    async def list(self, kind, namespace="", *, labels=""):
        self.asked.append("list")
        found = self.lists.pop(0)
        if isinstance(found, Exception):
            raise found
        return Listing(*found)

    async def watch(self, kind, namespace="", *, version, labels=""):
        self.asked.append(version)
        if not self.watches:
            await asyncio.Event().wait()
        for one in self.watches.pop(0):
            if isinstance(one, Exception):
                raise one
            yield one


def follow(monkeypatch, lists, watches):
    """What was asked, told and slept until the script is at its end."""
    pauses = []
    server, cache = Server(lists, watches), Cache()
    told = []

    def changed(change: Change) -> None:
        told.append((change.before is not None, change.after is not None, change.object["metadata"]["name"]))

    cache.changed = changed
    wait = asyncio.sleep

    async def sleep(seconds):
        pauses.append(seconds)
        await wait(0)

    async def whole():
        monkeypatch.setattr(reflector.asyncio, "sleep", sleep)
        task = asyncio.create_task(Reflector(server, cache, MAPS).run())
        for _ in range(1000):
            await wait(0)
        assert not task.done(), task
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(whole())
    assert not server.lists, "the script was not played to its end"
    return server.asked, told, pauses, cache


def test_what_was_deleted_while_nobody_watched_is_told(monkeypatch):
    gone = [Expired("too old")]
    asked, told, _, cache = follow(
        monkeypatch,
        [([item("a", 1), item("b", 2)], "5"), ([item("b", 7)], "9")],
        [[Event("ADDED", item("c", 6)), *gone], [bookmark(9)]],
    )
    assert asked[:4] == ["list", "5", "list", "9"]
    assert (True, False, "a") in told
    assert (True, False, "c") in told
    assert [one["metadata"]["name"] for one in cache.all(MAPS)] == ["b"]


def test_a_watch_that_breaks_off_goes_on_from_where_it_was(monkeypatch):
    asked, _, _, _ = follow(
        monkeypatch,
        [([], "5")],
        [[bookmark(8), Unreachable("broken off")], [Event("ADDED", item("a", 9))], [bookmark(11)]],
    )
    assert asked == ["list", "5", "8", "9", "11"]


def test_a_server_that_stays_away_is_asked_more_and_more_seldom(monkeypatch):
    _, _, pauses, _ = follow(monkeypatch, [([], "5")], [[Unreachable("away")]] * 12)
    longest = [min(0.2 * 2**count, 30.0) for count in range(12)]
    assert all(most / 2 <= pause <= most for pause, most in zip(pauses, longest, strict=True))


def test_watches_that_end_at_once_are_no_busy_loop(monkeypatch):
    _, _, pauses, _ = follow(monkeypatch, [([], "5")], [[], [], []])
    assert len(pauses) == 3
    assert pauses[2] > pauses[0]


def test_an_object_that_nobody_expected_does_not_end_the_watch(monkeypatch):
    asked, _, _, cache = follow(
        monkeypatch, [([], "5"), ([item("a", 7)], "8")], [[Event("ADDED", {"metadata": {"uid": "nameless"}})]]
    )
    assert asked == ["list", "5", "list", "8"]
    assert [one["metadata"]["name"] for one in cache.all(MAPS)] == ["a"]


def test_a_kind_that_is_taken_away_has_no_objects(monkeypatch):
    _, told, _, cache = follow(
        monkeypatch, [([item("a", 1)], "5"), ([item("a", 20)], "21")], [[NotFound("no such kind")]]
    )
    assert told == [(False, True, "a"), (True, False, "a"), (False, True, "a")]
    assert [one["metadata"]["resourceVersion"] for one in cache.all(MAPS)] == ["20"]

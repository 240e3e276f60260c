"""Who leads: the decision in a table, and several that take part with a server that loses nothing."""

import asyncio

import pytest

from tiffin.kube.client import Conflict, NotFound, Unreachable
from tiffin.kube.install import programs
from tiffin.operator import election
from tiffin.operator.election import LEASE_SECONDS, Election, LostLease, Sighting, action, pauses, written

PAUSE, TERM = pauses(LEASE_SECONDS)


def lease(holder, renewed="t1", *, seconds=LEASE_SECONDS, transitions=0):
    spec = {"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": seconds}
    return {"metadata": {"name": "l", "resourceVersion": "1"}, "spec": spec | {"leaseTransitions": transitions}}


SEEN = Sighting(("other", "t1", 0), 100.0)


@pytest.mark.parametrize(
    ("found", "sighting", "now", "wanted"),
    [
        (None, None, 0.0, "create"),
        (lease("me"), None, 0.0, "renew"),
        (lease("other"), None, 1e9, "wait"),
        (lease("other"), SEEN, 100.0 + LEASE_SECONDS - 1, "wait"),
        (lease("other"), SEEN, 100.0 + LEASE_SECONDS, "take"),
        (lease("other", "t2"), SEEN, 100.0 + 10 * LEASE_SECONDS, "wait"),
        (lease("other", transitions=1), SEEN, 100.0 + 10 * LEASE_SECONDS, "wait"),
        (lease("other", seconds=1), SEEN, 101.0, "take"),
        (lease(""), SEEN, 100.0, "take"),
    ],
)
def test_a_lease_is_over_when_it_was_not_seen_to_change(found, sighting, now, wanted):
    assert action(found, "me", sighting, now)[0] == wanted


def test_what_is_remembered_begins_when_it_was_first_seen_so():
    _, first = action(lease("other"), "me", None, 5.0)
    _, again = action(lease("other"), "me", first, 9.0)
    _, newer = action(lease("other", "t2"), "me", again, 11.0)
    assert (first.since, again.since, newer.since) == (5.0, 5.0, 11.0)


def test_what_is_written_keeps_the_version_and_counts_changes_of_hands():
    took = written(lease("other", transitions=3), "me", "take", "now", namespace="n", name="l")
    assert took["metadata"]["resourceVersion"] == "1"
    assert (took["spec"]["holderIdentity"], took["spec"]["leaseTransitions"]) == ("me", 4)
    again = written(took, "me", "renew", "later", namespace="n", name="l")
    assert (again["spec"]["acquireTime"], again["spec"]["renewTime"]) == ("now", "later")
    assert again["spec"]["leaseTransitions"] == 4
    made = written(None, "me", "create", "now", namespace="n", name="l")
    assert made["spec"]["leaseTransitions"] == 0


class Server:
    """Keeps one lease as an API server does; can be away."""

    def __init__(self):
        self.lease, self.version, self.is_away = None, 0, False

    async def get(self, kind, namespace, name):
        await asyncio.sleep(0)
        if self.is_away:
            raise Unreachable("away")
        if self.lease is None:
            raise NotFound("none")
        return {"metadata": dict(self.lease["metadata"]), "spec": dict(self.lease["spec"])}

    async def create(self, kind, manifest):
        await asyncio.sleep(0)
        if self.lease is not None:
            raise Conflict("there")
        self._keep(manifest)

    async def replace(self, kind, manifest):
        await asyncio.sleep(0)
        if self.is_away:
            raise Unreachable("away")
        if manifest["metadata"]["resourceVersion"] != str(self.version):
            raise Conflict("newer")
        self._keep(manifest)

    def _keep(self, manifest):
        self.version += 1
        metadata = manifest["metadata"] | {"resourceVersion": str(self.version)}
        self.lease = {"metadata": metadata, "spec": dict(manifest["spec"])}


class QuickLoop(asyncio.SelectorEventLoop):
    """Sleeps by setting the clock."""

    ahead = 0.0

    def time(self):
        return super().time() + self.ahead

    def _run_once(self):
        if not self._ready and self._scheduled:
            self.ahead += max(0.0, self._scheduled[0].when() - self.time())
        super()._run_once()


def run(whole):
    with asyncio.Runner(loop_factory=QuickLoop) as runner:
        return runner.run(whole)


def test_of_several_one_leads_at_a_time_and_the_next_follows():
    async def whole():
        server, leading, order = Server(), [], []

        async def take_part(me, terms):
            taking = Election(server, "n", me)

            async def lead():
                leading.append(me)
                order.append(me)
                assert leading == [me], "two lead"
                await asyncio.sleep(terms)
                leading.remove(me)

            await taking.run(lead)
            await taking.release()

        await asyncio.gather(*(take_part(f"o{number}", 120.0) for number in range(3)))
        return order

    assert sorted(run(whole())) == ["o0", "o1", "o2"]


def test_who_cannot_renew_stops_before_another_may_lead():
    async def whole():
        server, stopped = Server(), []
        loop = asyncio.get_running_loop()

        async def lead():
            server.is_away = True
            began = loop.time()
            try:
                await asyncio.Event().wait()
            finally:
                stopped.append(loop.time() - began)

        with pytest.raises(LostLease, match="could not be renewed"):
            await Election(server, "n", "me").run(lead)
        return stopped

    (after,) = run(whole())
    assert TERM <= after < LEASE_SECONDS


def test_an_answer_that_comes_late_does_not_make_a_term_longer():
    async def whole():
        server, stopped = Server(), []
        loop = asyncio.get_running_loop()
        keep = server.replace
        wrote = 0.0

        async def replace(kind, manifest):
            nonlocal wrote
            await keep(kind, manifest)
            wrote = loop.time()
            server.is_away = True
            await asyncio.sleep(TERM - PAUSE - 1)

        server.replace = replace

        async def lead():
            try:
                await asyncio.Event().wait()
            finally:
                stopped.append(loop.time() - wrote)

        with pytest.raises(LostLease):
            await Election(server, "n", "me").run(lead)
        return stopped

    (after,) = run(whole())
    assert after < LEASE_SECONDS


def test_who_sees_another_lead_stops():
    async def whole():
        server = Server()

        async def lead():
            server._keep(lease("other", "t9"))
            await asyncio.Event().wait()

        with pytest.raises(LostLease, match="other leads now"):
            await Election(server, "n", "me").run(lead)

    run(whole())


def test_an_end_of_its_own_is_no_loss_and_a_defect_comes_through():
    async def whole():
        server = Server()

        async def lead():
            raise ValueError("a defect")

        with pytest.raises(ValueError, match="a defect"):
            await Election(server, "n", "me").run(lead)

    run(whole())


def test_a_long_lease_is_renewed_less_than_once_a_minute():
    async def whole():
        server = Server()

        async def lead():
            await asyncio.sleep(3600.0)

        await Election(server, "n", "me", seconds=programs.ALONE_SECONDS).run(lead)
        return server

    server = run(whole())
    assert 20 < server.version < 60
    assert server.lease["spec"]["leaseDurationSeconds"] == programs.ALONE_SECONDS


def test_who_misses_one_renewal_tries_again_soon_and_leads_on():
    async def whole():
        server = Server()

        async def lead():
            await asyncio.sleep(2 * PAUSE - 1)
            server.is_away = True
            await asyncio.sleep(election.RETRY_SECONDS)
            server.is_away = False
            before = server.version
            await asyncio.sleep(election.RETRY_SECONDS + 0.1)
            return server.version - before

        found = []

        async def whole_lead():
            found.append(await lead())

        await Election(server, "n", "me").run(whole_lead)
        return found[0]

    assert run(whole()) == 1


def test_who_waits_waits_as_long_as_the_holder_said():
    async def whole():
        server, loop = Server(), asyncio.get_running_loop()
        server._keep(lease("gone", seconds=programs.ALONE_SECONDS))
        began = loop.time()

        async def lead():
            return None

        await Election(server, "n", "me").run(lead)
        return loop.time() - began

    after = run(whole())
    assert programs.ALONE_SECONDS <= after <= programs.ALONE_SECONDS + 2 * election.RETRY_SECONDS


def test_who_starts_again_with_its_name_leads_at_once():
    async def whole():
        server, loop = Server(), asyncio.get_running_loop()
        server._keep(lease("me", seconds=programs.ALONE_SECONDS))
        began = loop.time()

        async def lead():
            return None

        await Election(server, "n", "me").run(lead)
        return loop.time() - began

    assert run(whole()) < 1

"""Connections held and passed on by the real holder over real sockets; pods and callers are of this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.integration.activator_world import HOST, call, free_port, http_pod, pod, world

from tiffin.kits.waiting import until

Scenario = Callable[[], Awaitable[None]]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Scenario], None]:
    factory: Any = None
    if request.param == "uvloop":
        factory = pytest.importorskip("uvloop").new_event_loop

    def started(scenario: Scenario) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(asyncio.wait_for(scenario(), 60))

    return started


def test_a_call_waits_for_the_replica_it_asks_for(run: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        async with pod(http_pod) as address, world() as here:
            port = await here.serve(activation_scale="2")
            here.on_ask = lambda: here.ready(address)
            answer = await call(port, b"x" * 100)
            assert answer.endswith(b'{"length": 100}')
            assert here.asks == [("models", "iris-predictor", 2)]
            assert (await call(port)).endswith(b'{"length": 2}')
            assert len(here.asks) == 1

    run(scenario)


def test_two_hundred_calls_wait_together_and_all_are_answered(run: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        served: list[int] = []

        def counted(place: int) -> Any:
            async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                served.append(place)
                await http_pod(reader, writer)

            return handler

        async with pod(counted(0)) as first, pod(counted(1)) as second, world() as here:
            port = await here.serve()
            calls = [asyncio.create_task(call(port, b"y" * size)) for size in range(200)]
            await here.held(200)
            assert len(here.asks) == 1
            here.ready(first, second)
            answers = await asyncio.gather(*calls)
            assert all(one.endswith(b'{"length": %d}' % size) for size, one in enumerate(answers))
            assert min(served.count(0), served.count(1)) > 50
            await here.held(0)

    run(scenario)


def test_who_only_connects_wakes_nobody(run: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            port = await here.serve()
            reader, writer = await asyncio.open_connection(HOST, port)
            assert (await _refused_by_silence(reader)) is None
            assert here.asks == []
            writer.close()

    async def _refused_by_silence(reader: asyncio.StreamReader) -> bytes | None:
        try:
            return await asyncio.wait_for(reader.read(1), 0.3)
        except TimeoutError:
            return None

    run(scenario)


def test_a_replica_that_is_ready_is_reached_straight_through(run: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        async with pod(http_pod) as address, world() as here:
            port = await here.serve()
            here.ready(address)
            assert (await call(port)).endswith(b'{"length": 2}')
            assert here.asks == []

    run(scenario)


def test_who_waits_in_vain_is_told_so_with_503(run: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            port = await here.serve(hold_seconds="0.3")
            # More than is read before the answer: it must not be lost for what is still on its way.
            answer = await call(port, b"z" * 3_000_000)
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: " in head
            assert "no replica was ready within 0.3 s" in json.loads(body)["error"]

    run(scenario)


def test_a_caller_that_leaves_frees_its_place(run: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        async with pod(http_pod) as address, world(most=1) as here:
            port = await here.serve()
            _, writer = await asyncio.open_connection(HOST, port)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            await here.held(1)
            refused = await call(port)
            assert b" 503 " in refused.split(b"\r\n")[0]
            assert b"too many calls" in refused
            writer.close()
            await here.held(0)
            waiting = asyncio.create_task(call(port))
            await here.held(1)
            here.ready(address)
            assert (await waiting).endswith(b'{"length": 2}')

    run(scenario)


def test_a_call_is_not_lost_with_the_pod_that_dies_as_it_is_handed_over(run: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        taken = asyncio.Event()

        async def dying(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(10)
            taken.set()
            writer.transport.abort()

        async with pod(dying) as bad, pod(http_pod) as good, world() as here:
            port = await here.serve()
            here.on_ask = lambda: here.ready(bad)
            waiting = asyncio.create_task(call(port, b"once"))
            await taken.wait()
            here.ready(good)
            assert (await waiting).endswith(b'{"length": 4}')
            assert here.holder.counts["models/iris-predictor"].replayed >= 1

    run(scenario)


def test_a_call_that_kills_every_pod_is_given_up(run: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        deaths = 0

        async def dying(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal deaths
            deaths += 1
            await reader.read(10)
            writer.transport.abort()

        async with pod(dying) as bad, world() as here:
            port = await here.serve()
            here.ready(bad)
            answer = await call(port)
            assert b"broke off" in answer
            assert deaths == 3

    run(scenario)


def test_pods_that_refuse_are_passed_over_and_then_waited_for(run: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        async with pod(http_pod) as good, world() as here:
            port = await here.serve()
            here.ready((HOST, free_port()), good)
            assert (await call(port)).endswith(b'{"length": 2}')
            here.ready((HOST, free_port()))
            waiting = asyncio.create_task(call(port))
            done, _ = await asyncio.wait([waiting], timeout=0.3)
            assert not done
            here.ready(good)
            assert (await waiting).endswith(b'{"length": 2}')

    run(scenario)


def test_both_sides_may_end_their_half_first(run: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        async def whole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            said = await reader.read()  # Until the caller has ended.
            writer.write(b"heard %d" % len(said))
            writer.write_eof()
            await writer.drain()

        async with pod(whole) as address, world() as here:
            port = await here.serve()
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(b"x" * 500_000)
            await here.held(1)
            here.ready(address)
            await writer.drain()
            writer.write_eof()
            assert await reader.read() == b"heard 500000"
            writer.close()

            async def over() -> bool | None:
                return True if here.holder.connections == 0 else None

            assert await until(over, seconds=5)

    run(scenario)


def test_closing_lets_what_waits_find_its_replica_and_refuses_the_rest(run: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        async with pod(http_pod) as address, world(grace_seconds=1.0) as here:
            first = await here.serve()
            second = await here.serve("other-predictor")
            lucky, unlucky = asyncio.create_task(call(first)), asyncio.create_task(call(second))
            await here.held(1)
            await here.held(1, "other-predictor")
            closing = asyncio.create_task(here.holder.close())
            await asyncio.sleep(0)
            here.ready(address)
            assert (await lucky).endswith(b'{"length": 2}')
            assert b"the platform is stopping" in await unlucky
            await closing
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(HOST, first)

    run(scenario)


def test_a_service_that_goes_takes_its_port_and_its_waiting_calls_along(run: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            port = await here.serve()
            waiting = asyncio.create_task(call(port))
            await here.held(1)
            here.holder.update(here.holder.targets.no_service("models", "iris-predictor"))
            assert b"was deleted" in await waiting

            async def closed() -> bool | None:
                return None if here.holder.listening else True

            assert await until(closed, seconds=5)

    run(scenario)

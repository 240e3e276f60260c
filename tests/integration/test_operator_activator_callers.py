"""Callers of every protocol, with clients that others wrote, through a holder; and what it takes to hold them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.integration.activator_world import HOST, call, endpoints, free_port, http_pod, pod, service, world

from tiffin.kits.waiting import until

CHILD = Path(__file__).with_name("activator_child.py")


def run(scenario: Any) -> None:
    asyncio.run(asyncio.wait_for(scenario, 90))


# -- gRPC ------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def grpc_pod() -> AsyncIterator[int]:
    grpc = pytest.importorskip("grpc")

    class Echo(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, details: Any) -> Any:
            async def one(request: bytes, context: Any) -> bytes:
                return request[::-1]

            async def stream(requests: Any, context: Any) -> Any:
                async for request in requests:
                    yield request[::-1]

            if details.method.endswith("/Stream"):
                return grpc.stream_stream_rpc_method_handler(stream)
            return grpc.unary_unary_rpc_method_handler(one)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Echo(),))
    port = server.add_insecure_port(f"{HOST}:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


def test_a_call_of_grpc_waits_and_is_answered_then_streams_flow() -> None:
    grpc = pytest.importorskip("grpc")

    async def scenario() -> None:
        async with grpc_pod() as pod_port, world() as here:
            port = await here.serve()
            async with grpc.aio.insecure_channel(f"{HOST}:{port}") as channel:
                waiting = asyncio.ensure_future(
                    channel.unary_unary("/echo.Echo/One")(b"hello" * 20_000, timeout=30)
                )
                await here.held(1)

                async def greeted() -> bool | None:
                    ready = channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY
                    return True if ready else None

                # The channel counts as connected: it does not give up before there is a replica.
                assert await until(greeted, seconds=10)
                here.ready((HOST, pod_port))
                assert await waiting == b"olleh" * 20_000

                async def said() -> AsyncIterator[bytes]:
                    for one in (b"ab", b"cd"):
                        yield one

                streamed = channel.stream_stream("/echo.Echo/Stream")(said())
                assert [one async for one in streamed] == [b"ba", b"dc"]

    run(scenario())


def test_a_call_of_grpc_that_waits_in_vain_is_unavailable() -> None:
    grpc = pytest.importorskip("grpc")

    async def scenario() -> None:
        async with world() as here:
            port = await here.serve(hold_seconds="0.5")
            async with grpc.aio.insecure_channel(f"{HOST}:{port}") as channel:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await channel.unary_unary("/echo.Echo/One")(b"hello", timeout=20)
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
                assert "no replica was ready" in str(caught.value.details())

    run(scenario())


# -- WebSockets ------------------------------------------------------------------------------------------------


def test_a_websocket_waits_and_then_speaks_both_ways() -> None:
    client = pytest.importorskip("websockets.asyncio.client")
    server = pytest.importorskip("websockets.asyncio.server")

    async def scenario() -> None:
        async def echo(connection: Any) -> None:
            async for message in connection:
                await connection.send(message[::-1])

        async with server.serve(echo, HOST, 0) as serving, world() as here:
            pod_port = serving.sockets[0].getsockname()[1]
            port = await here.serve()
            connecting = asyncio.ensure_future(client.connect(f"ws://{HOST}:{port}/", open_timeout=30))
            await here.held(1)
            here.ready((HOST, pod_port))
            async with await connecting as connection:
                for message in ("abc", "x" * 300_000):
                    await connection.send(message)
                    assert await connection.recv() == message[::-1]

    run(scenario())


# -- memory ----------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def child() -> AsyncIterator[tuple[int, psutil.Process, Any, Any]]:
    """The port of a Service, the process, what tells it of manifests, and what gives its next line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(CHILD), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None

    def tell(manifest: dict[str, Any]) -> None:
        assert process.stdin is not None
        process.stdin.write(json.dumps(manifest).encode() + b"\n")

    async def said() -> Any:
        assert process.stdout is not None
        return json.loads(await process.stdout.readline())

    port = free_port()
    tell(service(port))

    async def listening() -> bool | None:
        try:
            _, writer = await asyncio.open_connection(HOST, port)
        except OSError:
            return None
        writer.close()
        return True

    try:
        assert await until(listening, seconds=20)
        yield port, psutil.Process(process.pid), tell, said
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), 20) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def test_a_body_of_a_hundred_megabytes_is_never_kept() -> None:
    async def scenario() -> None:
        async with pod(http_pod) as address, child() as (port, process, tell, _):
            before = process.memory_info().rss
            reader, writer = await asyncio.open_connection(HOST, port)
            size = 100 * 1024 * 1024
            writer.write(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % size)

            async def send() -> None:
                chunk = bytes(1024 * 1024)
                for _ in range(100):
                    writer.write(chunk)
                    await writer.drain()

            sending = asyncio.create_task(send())
            done, _ = await asyncio.wait([sending], timeout=0.5)
            assert not done  # Held back at the caller's.
            peak = process.memory_info().rss
            tell(endpoints([address])[0])
            while not sending.done():
                peak = max(peak, process.memory_info().rss)
                await asyncio.wait([sending], timeout=0.01)
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(21) == b'{"length": 104857600}'
            writer.close()
            assert peak - before < 8 * 1024 * 1024

    run(scenario())


def test_a_thousand_connections_are_held_in_little_memory_and_all_answered() -> None:
    async def scenario() -> None:
        async with pod(http_pod) as address, child() as (port, process, tell, said):
            before = process.memory_info().rss
            calls = [asyncio.create_task(call(port, b"x" * 10_000)) for _ in range(1000)]

            async def all_held() -> bool | None:
                tell({"kind": "Held"})
                return True if await said() == 1000 else None

            assert await said() == ["models", "iris-predictor", 1]
            assert await until(all_held, seconds=30, every_seconds=0.2)
            each = (process.memory_info().rss - before) / 1000
            print(f"{each / 1024:.1f} KiB a held connection; {process.memory_info().rss / 2**20:.1f} MiB in all")
            tell(endpoints([address])[0])
            answers = await asyncio.gather(*calls)
            assert all(one.endswith(b'{"length": 10000}') for one in answers)
            assert each < 40 * 1024

    run(scenario())

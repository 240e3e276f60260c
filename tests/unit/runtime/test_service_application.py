import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Callable, Generator

import numpy as np
import pytest

import tiffin
from tiffin.errors import CallError, ServiceError, TiffinError
from tiffin.kits import waiting
from tiffin.protocol.head import Head
from tiffin.protocol.reply import Reply
from tiffin.runtime.application import RouteTable
from tiffin.runtime.service_application import ServiceApplication
from tiffin.service.context import get_current_service, server_context
from tiffin.service.exceptions import InvalidArgument
from tiffin.spec import Artefact, Component, Limits, ReplicaSpec, ServiceSource

REQUEST_ID = b"x-bentoml-request-id"
life: list[str] = []
release = threading.Event()


@tiffin.service
class Helper:
    @tiffin.on_startup
    def up(self):
        life.append("helper up")

    @tiffin.api
    def one(self) -> int:
        return 1


@tiffin.service(traffic={"timeout": 5})
class Everything:
    """All kinds."""

    helper = tiffin.depends(Helper)
    healthy = True

    def __init__(self):
        life.append("made")

    @tiffin.on_deployment
    def deploy():
        life.append("deployed")

    @tiffin.on_startup
    async def up(self):
        life.append("up")

    @tiffin.on_shutdown
    def down(self):
        life.append("down")

    def __is_ready__(self):
        return self.healthy

    async def __is_alive__(self):
        return self.healthy

    @tiffin.api
    def double(self, x: np.ndarray) -> np.ndarray:
        return x * 2

    @tiffin.api
    async def later(self, a: int) -> int:
        await asyncio.sleep(0)
        return a + self.helper.one()

    @tiffin.api
    def thread(self) -> str:
        return threading.current_thread().name

    @tiffin.api(batchable=True)
    def batch(self, xs: list[int]) -> list[int]:
        return [x + 1 for x in xs]

    @tiffin.api
    def stream(self, n: int = 2, fail: int = -1) -> Generator[str, None, None]:
        for i in range(n):
            if i == fail:
                raise InvalidArgument("broke")
            yield f"{i},"

    @tiffin.api
    async def astream(self, n: int = 2) -> AsyncGenerator[dict, None]:
        for i in range(n):
            yield {"i": i}

    @tiffin.api
    def told(self, ctx: tiffin.Context) -> str:
        ctx.response.status_code = 201
        ctx.response.headers["x-seen"] = ctx.request.headers["x-asked"]
        ctx.state["calls"] = ctx.state.get("calls", 0) + 1
        return f"{ctx.state['calls']}"

    @tiffin.api
    async def scratch(self, ctx: tiffin.Context) -> str:
        return ctx.temp_dir

    @tiffin.api
    def fail(self, kind: str) -> int:
        if kind == "type":
            return "not a number"
        raise {"caller": InvalidArgument("no"), "author": RuntimeError("boom")}[kind]

    @tiffin.api
    def patient(self, ctx: tiffin.Context) -> str:
        life.append(f"{ctx.deadline:.0f} {ctx.cancelled}")
        life.append(f"{ctx.wait_cancelled(10)} {ctx.is_cancelled()} {ctx.cancelled}")
        return "nobody hears this"

    @tiffin.api(batchable=True)
    def joined(self, xs: list[int], ctx: tiffin.Context) -> list[int]:
        ctx.state["batches"] = ctx.state.get("batches", 0) + 1
        if 13 in xs:
            raise InvalidArgument("unlucky")
        return [x + len(ctx.request.headers) if x < 0 else x for x in xs]

    @tiffin.api
    def held(self) -> str:
        release.wait(5)
        return "done"

    @tiffin.api
    async def ticks(self) -> AsyncGenerator[str, None]:
        try:
            yield "tick"
            await asyncio.Event().wait()
        finally:
            life.append("no more ticks")

    @tiffin.api
    async def forever(self) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            life.append("cancelled")
            raise
        return ""


class Exchange:
    """A request in memory, and what it was answered with."""

    def __init__(self, method: str, path: str, body: bytes, headers: dict[bytes, bytes]) -> None:
        self.head = Head(method, path, b"", headers, len(body), True, False)
        self.body = body
        self.closed = False
        self.on_close: Callable[[], None] | None = None
        self.answer: Reply | None = None
        self.chunks: list[bytes] = []
        self.aborted = False
        self.done = asyncio.Event()

    def reply(self, reply: Reply) -> None:
        assert self.answer is None, "answered twice"
        self.answer = reply
        self.done.set()

    def start(self, reply: Reply) -> None:
        assert self.answer is None, "answered twice"
        self.answer = reply
        self.chunks.append(reply.body)

    async def send(self, chunk: bytes) -> None:
        if self.closed:
            raise ConnectionResetError
        self.chunks.append(chunk)

    def finish(self) -> None:
        self.done.set()

    def abort(self) -> None:
        self.aborted = True
        self.done.set()

    def leave(self) -> None:
        self.closed = True
        if self.on_close is not None:
            self.on_close()


class Replica:
    """An application in its life, and a way to ask it."""

    def __init__(self, service, **component) -> None:
        source = ServiceSource(artefact=Artefact(uri="."), target="here:Everything")
        spec = ReplicaSpec(
            deployment="d",
            model_name="d",
            path=".",
            limits=Limits(),
            component=Component(source=source, **component),
        )
        self.application = ServiceApplication(spec, service)
        self.table = RouteTable(self.application.endpoints())

    async def __aenter__(self):
        life.clear()
        await asyncio.to_thread(self.application.load)
        await self.application.start()
        return self

    async def __aexit__(self, *_):
        release.set()
        await self.application.stop()

    def begin(self, path: str, body=None, method: str = "POST", **headers: bytes) -> Exchange:
        raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        exchange = Exchange(method, path, raw, {k.replace("_", "-").encode(): v for k, v in headers.items()})
        try:
            self.table.find(method, path).handler(exchange)
        except TiffinError as error:
            exchange.reply(self.application.render_error(path, error))
        return exchange

    async def ask(self, path: str, body=None, method: str = "POST", **headers: bytes) -> Exchange:
        exchange = self.begin(path, body, method, **headers)
        async with asyncio.timeout(10):
            await exchange.done.wait()
        return exchange


async def until(condition: Callable[[], object]) -> None:
    async def ask() -> bool | None:
        return bool(condition()) or None

    assert await waiting.until(ask, seconds=5, every_seconds=0.001)


def run(test):
    """Run an async test in a replica of Everything."""

    def wrapped():
        async def main():
            release.clear()
            Everything._shared = Helper._shared = None
            async with Replica(Everything) as replica:
                await test(replica)

        asyncio.run(main())

    wrapped.__name__ = test.__name__
    return wrapped


@run
async def test_a_plain_method_answers_from_a_thread(replica):
    exchange = await replica.ask("/double", {"x": [[1, 2]]})
    assert (exchange.answer.status, exchange.answer.body) == (200, b"[[2, 4]]")
    assert (await replica.ask("/thread")).answer.body.startswith(b"Everything_")


@run
async def test_an_async_method_answers_from_the_loop_with_its_dependency(replica):
    assert (await replica.ask("/later", {"a": 1})).answer.body == b"2"


@run
async def test_a_batchable_method_answers(replica):
    assert (await replica.ask("/batch", {"xs": [1, 2]})).answer.body == b"[2, 3]"


@run
async def test_every_answer_has_an_id_of_its_own(replica):
    ids = [dict((await replica.ask("/later", {"a": a})).answer.headers)[REQUEST_ID] for a in (1, "x")]
    assert len(set(ids)) == 2
    assert all(len(i) == 16 for i in ids)


@run
async def test_streams_come_in_their_pieces(replica):
    exchange = await replica.ask("/stream", {"n": 3})
    assert exchange.answer.content_type == b"text/event-stream; charset=utf-8"
    assert exchange.chunks == [b"0,", b"1,", b"2,"]
    assert (await replica.ask("/astream")).chunks == [b'{"i": 0}', b'{"i": 1}']
    assert (await replica.ask("/stream", {"n": 0})).chunks == [b""]


@run
async def test_an_error_before_the_first_item_has_a_status(replica):
    answer = (await replica.ask("/stream", {"fail": 0})).answer
    assert (answer.status, answer.body) == (400, b'[{"error":"broke"}]')


@run
async def test_an_error_after_the_first_item_breaks_the_stream_off(replica):
    exchange = await replica.ask("/stream", {"fail": 1})
    assert exchange.answer.status == 200
    assert exchange.chunks == [b"0,"]
    assert exchange.aborted


@run
async def test_the_context_is_of_the_call(replica):
    for count in (b"1", b"2"):
        answer = (await replica.ask("/told", x_asked=b"this")).answer
        assert (answer.status, answer.body) == (201, count)
        assert dict(answer.headers)[b"x-seen"] == b"this"


@run
async def test_the_directory_of_a_call_is_gone_after_it(replica):
    from pathlib import Path

    assert not Path((await replica.ask("/scratch")).answer.body.decode()).exists()


@run
async def test_errors_go_to_who_can_mend_them(replica):
    answers = [(await replica.ask("/fail", {"kind": kind})).answer for kind in ("caller", "author", "type", 5)]
    assert [answer.status for answer in answers] == [400, 500, 500, 400]
    assert b"boom" not in answers[1].body


@run
async def test_health_is_what_the_service_says(replica):
    assert await replica.application.is_ready()
    assert await replica.application.is_alive()
    replica.application.instance.healthy = False
    assert not await replica.application.is_ready()
    assert not await replica.application.is_alive()


@run
async def test_it_describes_itself(replica):
    schema = json.loads((await replica.ask("/schema.json", method="GET")).answer.body)
    assert schema["name"] == "Everything"
    document = json.loads((await replica.ask("/docs.json", method="GET")).answer.body)
    assert document["openapi"] == "3.1.0"
    assert document["paths"]["/double"]["post"]["operationId"] == "Everything__double"
    page = (await replica.ask("/", method="GET")).answer
    assert page.content_type.startswith(b"text/html")
    assert b"<script src" not in page.body
    example = json.loads((await replica.ask("/tiffin/example", method="GET")).answer.body)
    assert (await replica.ask(example["path"], example["body"])).answer.status == 200


@run
async def test_other_paths_and_methods_are_plain_text(replica):
    assert (await replica.ask("/none")).answer.body == b"Not Found"
    assert (await replica.ask("/double", method="GET")).answer.status == 405


@run
async def test_a_waiting_thread_does_not_hold_up_the_loop(replica):
    held = replica.begin("/held")
    assert (await replica.ask("/later", {"a": 1})).answer.status == 200
    release.set()
    await held.done.wait()
    assert held.answer.body == b"done"


@run
async def test_an_async_call_ends_with_its_caller(replica):
    exchange = replica.begin("/forever")
    await asyncio.sleep(0)
    exchange.leave()
    await until(lambda: "cancelled" in life)
    assert exchange.answer is None


@run
async def test_a_stream_ends_with_its_caller(replica):
    exchange = replica.begin("/ticks")
    await until(lambda: exchange.chunks)
    exchange.leave()
    await until(lambda: "no more ticks" in life)
    assert exchange.aborted


@run
async def test_a_call_that_waits_for_a_thread_ends_with_its_caller(replica):
    exchange = replica.begin("/held")
    exchange.leave()
    release.set()
    await until(lambda: replica.application._in_flight == 0)
    assert exchange.answer is None


def test_a_life_in_order():
    async def main():
        Everything._shared = Helper._shared = None
        async with Replica(Everything) as replica:
            assert get_current_service() is replica.application.instance
            assert server_context.worker_index == 1
        assert get_current_service() is None

    asyncio.run(main())
    assert life == ["deployed", "made", "helper up", "up", "down"]


@pytest.mark.parametrize("path", ["/held", "/forever"])
def test_a_late_call_is_a_504_and_answered_once(path):
    async def main():
        release.clear()
        async with Replica(Everything, timeout_seconds=0.02) as replica:
            exchange = await replica.ask(path)
            assert (exchange.answer.status, exchange.answer.body) == (
                504,
                b'{"error":"Not able to process the request in 0.02 seconds"}',
            )
            assert REQUEST_ID not in dict(exchange.answer.headers)
            release.set()
            await until(lambda: replica.application._in_flight == 0)

    asyncio.run(main())


def test_too_many_calls_are_a_429_at_once():
    async def main():
        release.clear()
        async with Replica(Everything, max_concurrency=2, workers=2) as replica:
            held = replica.begin("/held")
            refused = await replica.ask("/double", {"x": [1]})
            assert (refused.answer.status, refused.answer.body) == (429, b'{"error":"Too many requests"}')
            assert (await replica.ask("/schema.json", method="GET")).answer.status == 200
            release.set()
            await held.done.wait()
            assert (await replica.ask("/double", {"x": [1]})).answer.status == 200

    asyncio.run(main())


def test_as_many_methods_run_as_there_are_threads():
    async def main():
        release.clear()
        async with Replica(Everything, threads=1) as replica:
            first, second = replica.begin("/held"), replica.begin("/double", {"x": [1]})
            await asyncio.sleep(0)
            assert second.answer is None
            release.set()
            await asyncio.gather(first.done.wait(), second.done.wait())
            assert second.answer.body == b"[2]"

    asyncio.run(main())


@pytest.mark.parametrize("where", ["init", "startup", "deployment"])
def test_a_service_that_cannot_start_says_where(where):
    class Broken:
        def __init__(self):
            if where == "init":
                raise ValueError("no weights")

        @tiffin.on_startup
        def up(self):
            if where == "startup":
                raise ValueError("no weights")

        @tiffin.on_deployment
        def deploy():
            if where == "deployment":
                raise ValueError("no weights")

    async def main():
        async with Replica(tiffin.service(Broken)):
            pass

    with pytest.raises(ServiceError, match="ValueError: no weights"):
        asyncio.run(main())


def test_an_init_that_needs_the_loop_gets_it():
    @tiffin.service
    class Tasks:
        def __init__(self):
            self.task = asyncio.get_running_loop().create_task(asyncio.sleep(0))

        @tiffin.api
        async def wait(self) -> str:
            await self.task
            return "ok"

    async def main():
        async with Replica(Tasks) as replica:
            assert (await replica.ask("/wait")).answer.body == b"ok"

    asyncio.run(main())


def test_a_wrong_target_is_an_error_of_the_author(tmp_path):
    source = ServiceSource(artefact=Artefact(uri="."), target="nothere:X")
    spec = ReplicaSpec(deployment="d", model_name="d", path=str(tmp_path), component=Component(source=source))
    with pytest.raises(ServiceError, match="nothere"):
        ServiceApplication(spec)
    assert not issubclass(ServiceError, CallError)


@run
async def test_a_plain_method_learns_that_its_caller_left_and_how_long_it_has(replica):
    exchange = replica.begin("/patient", x_request_timeout=b"2.2")
    await until(lambda: "2 False" in life)
    exchange.leave()
    await until(lambda: "True True True" in life)
    assert exchange.answer is None


@run
async def test_a_call_that_still_waits_for_a_thread_is_dropped_when_its_caller_leaves(replica):
    threads = replica.application._threads
    held = [replica.begin("/held") for _ in range(threads)]
    dropped = replica.begin("/patient")
    dropped.leave()
    release.set()
    await asyncio.gather(*(exchange.done.wait() for exchange in held))
    assert (await replica.ask("/thread")).answer.status == 200
    assert life.count("5 False") == 0


@run
async def test_a_caller_may_wait_less_than_the_service_allows_and_not_more(replica):
    short = await replica.ask("/forever", x_request_timeout=b"20ms")
    assert (short.answer.status, json.loads(short.answer.body)) == (
        504,
        {"error": "Not able to process the request in 0.02 seconds"},
    )
    await until(lambda: "cancelled" in life)
    exchange = replica.begin("/patient", grpc_timeout=b"1H")
    await until(lambda: "5 False" in life)
    exchange.leave()


@run
async def test_a_time_that_is_none_is_refused_by_its_header(replica):
    refused = await replica.ask("/thread", request_timeout=b"soon")
    assert refused.answer.status == 400
    assert json.loads(refused.answer.body)["detail"][0]["loc"] == ["request-timeout"]


@run
async def test_one_bad_call_of_eight_fails_alone(replica):
    items = [1, 2, 3, 13, 5, 6, 7, 8]
    calls = [replica.begin("/joined", {"xs": [item]}) for item in items]
    await asyncio.gather(*(exchange.done.wait() for exchange in calls))
    assert [exchange.answer.status for exchange in calls] == [400 if item == 13 else 200 for item in items]
    assert [json.loads(c.answer.body) for c in calls if c.answer.status == 200] == [
        [1],
        [2],
        [3],
        [5],
        [6],
        [7],
        [8],
    ]


@run
async def test_a_batch_sees_no_request_of_any_one_call(replica):
    exchange = await replica.ask("/joined", {"xs": [-1]})
    assert exchange.answer.status == 500

"""Splits, rules, tokens, cookies, shadows and limits: the real Envoy, and upstreams that keep what they get."""

import asyncio
import base64
import collections
import contextlib
import hashlib
import hmac
import http.client
import json
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from tiffin.errors import SpecError
from tiffin.gateway.envoy import Envoy
from tiffin.gateway.router import Choice, Pool, Routed, Share, Snapshot
from tiffin.kits import waiting
from tiffin.spec import (
    Artefact,
    ClassSource,
    Component,
    Deployment,
    Jwt,
    Match,
    ModelSource,
    Route,
    Sticky,
    Traffic,
)

pytestmark = pytest.mark.slow

MODEL = Component(source=ModelSource(artefact=Artefact(uri="/m")))


class Upstream:
    """A replica that keeps what it gets."""

    def __init__(self, name: str, path: str) -> None:
        self.name, self.path = name, path
        self.seen: list[tuple[str, Mapping[str, str], bytes]] = []
        self._runner = web.ServerRunner(web.Server(self._answer))

    async def start(self) -> None:
        await self._runner.setup()
        await web.UnixSite(self._runner, self.path).start()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/readyz":
            return web.Response()
        body = await request.read()
        self.seen.append((request.path_qs, {name.lower(): value for name, value in request.headers.items()}, body))
        if request.path == "/fail":
            return web.Response(status=503)
        return web.Response(text=self.name)

    async def stop(self) -> None:
        await self._runner.cleanup()


class Stage:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.upstreams: dict[str, Upstream] = {}
        (directory / "envoy").mkdir()
        self.envoy = self.another()

    def another(self) -> Envoy:
        """An Envoy with the same files, as of another controller."""
        return Envoy(self.directory / "envoy", sockets=self.directory, log=self.directory / "envoy.log", port=0)

    async def pool(self, name: str, component: Component = MODEL, **settings: Any) -> Pool:
        """A pool with one upstream of that name."""
        upstream = self.upstreams[name] = Upstream(name, str(self.directory / f"{name}.sock"))
        await upstream.start()
        return Pool(f"default/{name}/predictor", component, [upstream.path], **settings)

    def dead(self, name: str) -> Pool:
        return Pool(f"default/{name}/predictor", MODEL, [str(self.directory / f"{name}.sock")])

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self.envoy.address)


@contextlib.asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    directory = Path(tempfile.mkdtemp(prefix="tiffin-"))
    made = Stage(directory)
    try:
        yield made
    finally:
        await made.envoy.stop()
        for upstream in made.upstreams.values():
            await upstream.stop()
        shutil.rmtree(directory)


def play(scenario: Callable[[Stage, httpx.AsyncClient], Awaitable[None]]) -> None:
    async def run() -> None:
        async with stage() as made, httpx.AsyncClient(timeout=20, verify=False) as client:
            await scenario(made, client)

    asyncio.run(asyncio.wait_for(run(), 60))


def deployment(traffic: Traffic | None = None, *routes: Route) -> Deployment:
    return Deployment(
        name="iris",
        components=(MODEL,),
        routes=routes or (Route(path="/iris", rewrite="/"),),
        traffic=traffic or Traffic(),
    )


def routed(found: Deployment, pools: Sequence[Pool], *choices: Choice, **settings: Any) -> Snapshot:
    return Snapshot((Routed(found, pools, {"predictor": choices}, **settings),))


def share(pool: Pool, weight: float = 100.0) -> Share:
    return Share(pool.name, weight)


def by_weight(*parts: tuple[Pool, float]) -> Choice:
    return Choice([share(pool, weight) for pool, weight in parts])


async def ask(client: httpx.AsyncClient, url: str, **settings: Any) -> str:
    answer = await client.get(url, **settings)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_calls_are_split_by_weight_and_nobody_gets_what_weighs_nothing() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        one, two, three = [await made.pool(name) for name in ("one", "two", "three")]
        found = deployment()
        await made.envoy.start(routed(found, (one, two, three), by_weight((one, 80), (two, 20), (three, 0))))
        seen = collections.Counter([await ask(client, f"{made.url}/iris") for _ in range(600)])
        assert set(seen) == {"one", "two"}
        assert 70 < seen["two"] < 180
        await made.envoy.publish(routed(found, (one, two, three), by_weight((one, 0), (two, 0.1))))
        assert {await ask(client, f"{made.url}/iris") for _ in range(20)} == {"two"}
        await made.envoy.publish(routed(found, (one, two), by_weight((one, 0))))
        answer = await client.get(f"{made.url}/iris")
        assert (answer.status_code, set(answer.json())) == (503, {"error"})

    play(scenario)


def test_200_changes_of_weights_under_load_fail_no_call() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        one, two = await made.pool("one"), await made.pool("two")
        found = deployment()
        await made.envoy.start(routed(found, (one, two), by_weight((one, 100), (two, 0))))
        failures: list[str] = []
        count = 0
        stop = asyncio.Event()

        async def call() -> None:
            nonlocal count
            while not stop.is_set():
                answer = await client.get(f"{made.url}/iris")
                count += 1
                if answer.status_code != 200:
                    failures.append(answer.text)

        callers = [asyncio.create_task(call()) for _ in range(8)]
        for number in range(1, 201):
            weight = number * 37 % 101
            await made.envoy.publish(routed(found, (one, two), by_weight((one, 100 - weight), (two, weight))))
        stop.set()
        await asyncio.gather(*callers)
        assert failures == []
        assert count > 500
        assert made.upstreams["one"].seen
        assert made.upstreams["two"].seen

    play(scenario)


def test_headers_choose_before_weights() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        names = ("exact", "prefix", "regex", "present", "both", "rest")
        pools = {name: await made.pool(name) for name in names}
        choices = [
            Choice(
                [share(pools["both"])],
                [Match(header="X-User", value="ann"), Match(header="x-team", how="present")],
            ),
            Choice([share(pools["exact"])], [Match(header="X-User", value="ann")]),
            Choice([share(pools["prefix"])], [Match(header="x-user", value="be", how="prefix")]),
            Choice([share(pools["regex"])], [Match(header="x-user", value=r"c\d+|[d-f]x", how="regex")]),
            Choice([share(pools["present"])], [Match(header="x-beta", how="present")]),
            by_weight((pools["rest"], 100)),
        ]
        await made.envoy.start(routed(deployment(), tuple(pools.values()), *choices))
        for headers, expected in (
            ({"x-user": "ann"}, "exact"),
            ({"x-user": "ann", "x-team": ""}, "both"),
            ({"x-user": "anna"}, "rest"),
            ({"x-user": "bert"}, "prefix"),
            ({"x-user": "c12"}, "regex"),
            ({"x-user": "c12a"}, "rest"),
            ({"x-user": "ex"}, "regex"),
            ({"x-beta": "1"}, "present"),
            ({}, "rest"),
        ):
            assert await ask(client, f"{made.url}/iris", headers=headers) == expected, headers

    play(scenario)


@pytest.mark.parametrize("by", ["header", "cookie"])
def test_2000_callers_keep_their_variant_and_a_higher_weight_moves_them_one_way(by: str) -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        stable, canary = await made.pool("stable"), await made.pool("canary")
        found = deployment(Traffic(sticky=Sticky(by=by, name="who", ttl_seconds=60)))  # type: ignore[arg-type]

        def snapshot(weight: float) -> Snapshot:
            return routed(found, (stable, canary), by_weight((stable, 100 - weight), (canary, weight)))

        def headers(user: int) -> dict[str, str]:
            return {"who": f"u{user}"} if by == "header" else {"cookie": f"a=b; who=u{user}"}

        def ask_all() -> list[str]:
            # Not httpx, which takes milliseconds for a call.
            connection = http.client.HTTPConnection(*made.envoy.address)
            answers = []
            for user in range(2000):
                connection.request("GET", "/iris", headers=headers(user))
                answers.append(connection.getresponse().read().decode())
            connection.close()
            return answers

        async def everybody() -> list[str]:
            return await asyncio.to_thread(ask_all)

        await made.envoy.start(snapshot(10))
        first = await everybody()
        assert await everybody() == first
        assert 120 < first.count("canary") < 290
        await made.envoy.publish(snapshot(35))
        second = await everybody()
        assert 580 < second.count("canary") < 820
        moved = {(before, after) for before, after in zip(first, second, strict=True) if before != after}
        assert moved == {("stable", "canary")}

    play(scenario)


def test_a_caller_without_the_cookie_gets_one_that_leads_where_the_first_call_went() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        one, two = await made.pool("one"), await made.pool("two")
        found = deployment(Traffic(sticky=Sticky(by="cookie", name="who", ttl_seconds=60)))
        await made.envoy.start(routed(found, (one, two), by_weight((one, 50), (two, 50))))
        seen = set()
        for _ in range(100):
            client.cookies.clear()
            first = await client.get(f"{made.url}/iris")
            cookie = first.headers["set-cookie"]
            assert cookie.startswith("who=")
            assert "Max-Age=60; Path=/; HttpOnly" in cookie
            # Now with the cookie.
            second = await client.get(f"{made.url}/iris")
            assert second.text == first.text
            assert "set-cookie" not in second.headers
            seen.add(first.text)
        assert seen == {"one", "two"}

    play(scenario)


def token(claims: Mapping[str, Any], key: bytes = b"hello") -> dict[str, str]:
    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    text = ".".join(part(json.dumps(each).encode()) for each in ({"alg": "HS256", "kid": "1"}, claims))
    signature = hmac.new(key, text.encode(), hashlib.sha256).digest()
    return {"authorization": f"Bearer {text}.{part(signature)}"}


KEYS = json.dumps(
    {"keys": [{"kty": "oct", "k": base64.urlsafe_b64encode(b"hello").decode(), "alg": "HS256", "kid": "1"}]}
)


def test_a_caller_who_is_refused_gets_no_cookie() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        one, two = await made.pool("one"), await made.pool("two")
        keys = made.directory / "keys.json"
        keys.write_text(KEYS)
        jwt = Jwt(issuer="me", audiences=("tiffin",), jwks_file=str(keys))
        found = deployment(Traffic(sticky=Sticky(by="cookie", name="who", ttl_seconds=60), jwt=jwt))
        await made.envoy.start(routed(found, (one, two), by_weight((one, 50), (two, 50))))
        refused = await client.get(f"{made.url}/iris")
        assert (refused.status_code, refused.headers.get("set-cookie")) == (401, None)
        good = token({"iss": "me", "aud": "tiffin", "exp": time.time() + 60})
        taken = await client.get(f"{made.url}/iris", headers=good)
        assert taken.status_code == 200
        assert re.match(r"who=[^;]+; Max-Age=60; Path=/; HttpOnly", taken.headers["set-cookie"])

    play(scenario)


def test_claims_of_a_valid_token_choose_and_forged_ones_do_not() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        beta, stable = await made.pool("beta"), await made.pool("stable")
        keys = made.directory / "keys.json"
        keys.write_text(KEYS)

        def snapshot(required: bool) -> Snapshot:
            jwt = Jwt(issuer="me", audiences=("tiffin",), jwks_file=str(keys), required=required)
            rules = [
                Choice([share(beta)], [Match(claim="realm.roles", value="beta")]),
                Choice([share(beta)], [Match(claim="level", value="7")]),
                Choice([share(beta)], [Match(claim="staff", value="true")]),
            ]
            return routed(deployment(Traffic(jwt=jwt)), (beta, stable), *rules, by_weight((stable, 100)))

        await made.envoy.start(snapshot(required=True))
        good = {"iss": "me", "aud": "tiffin", "exp": time.time() + 60}
        url = f"{made.url}/iris"
        for claims, expected in (
            ({"realm": {"roles": ["a", "beta"]}}, "beta"),
            ({"realm": {"roles": "beta"}}, "beta"),
            ({"realm": {"roles": ["alpha"]}}, "stable"),
            ({"realm": "beta"}, "stable"),
            ({"level": 7}, "beta"),
            ({"level": 8}, "stable"),
            ({"staff": True}, "beta"),
            ({}, "stable"),
        ):
            assert await ask(client, url, headers=token({**good, **claims})) == expected, claims
        assert "authorization" in made.upstreams["beta"].seen[-1][1]
        role = {"realm": {"roles": ["beta"]}}
        bad: list[Mapping[str, str]] = [
            {},
            {"x-jwt-payload": json.dumps(role), "claims": "beta", "realm.roles": "beta"},
            token({**good, **role}, key=b"other"),
            token({**good, **role, "iss": "you"}),
            token({**good, **role, "aud": "other"}),
            token({**good, **role, "exp": time.time() - 3600}),
        ]
        for headers in bad:
            answer = await client.get(url, headers=headers)
            assert (answer.status_code, set(answer.json())) == (401, {"error"})
        await made.envoy.publish(snapshot(required=False))
        for headers in bad:
            assert await ask(client, url, headers=headers) == "stable"
        assert await ask(client, url, headers=token({**good, **role})) == "beta"

    play(scenario)


@pytest.mark.parametrize(
    "keys", ["", "{}", "nonsense", '{"keys": []}', '{"keys": [{"kty": "oct"}]}', '{"keys": 3}']
)
def test_keys_that_cannot_be_used_are_refused_and_nothing_changes(keys: str) -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        one = await made.pool("one")
        await made.envoy.start(routed(deployment(), (one,), by_weight((one, 100))))
        locked = deployment(Traffic(jwt=Jwt(issuer="me", jwks=keys)))
        with pytest.raises(SpecError, match="key"):
            await made.envoy.publish(routed(locked, (one,), by_weight((one, 100))))
        assert await ask(client, f"{made.url}/iris") == "one"
        with_other_keys = deployment(Traffic(jwt=Jwt(issuer="me", jwks=KEYS, required=False)))
        await made.envoy.publish(routed(with_other_keys, (one,), by_weight((one, 100))))
        assert await ask(client, f"{made.url}/iris") == "one"

    play(scenario)


def test_a_shadow_gets_copies_and_a_dead_one_loses_nothing() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        one, shadow = await made.pool("one"), await made.pool("shadow")
        dead = made.dead("nobody")
        pools = (one, shadow, dead)

        def snapshot(to: Pool, weight: float, correlate: bool = True) -> Snapshot:
            mirrors = {"predictor": [share(to, weight)]}
            return routed(deployment(), pools, by_weight((one, 100)), mirrors=mirrors, correlate=correlate)

        await made.envoy.start(snapshot(shadow, 100))
        copies = made.upstreams["shadow"].seen

        async def arrived() -> bool | None:
            return True if len(copies) == 50 else None

        for number in range(50):
            headers = {"x-request-id": "mine"} if number == 7 else {}
            answer = await client.post(f"{made.url}/iris/v2?q=1", content=b"x" * number, headers=headers)
            assert answer.text == "one"
        assert await waiting.until(arrived, seconds=5)
        first = {headers["x-request-id"]: (path, body) for path, headers, body in made.upstreams["one"].seen}
        second = {headers["x-request-id"]: (path, body) for path, headers, body in copies}
        assert len(first) == 50
        assert "mine" in first
        assert first == second
        assert {headers["host"] for _, headers, _ in copies} == {f"127.0.0.1:{made.envoy.address[1]}"}
        copies.clear()
        await made.envoy.publish(snapshot(shadow, 25))
        for _ in range(400):
            await ask(client, f"{made.url}/iris")
        assert 55 < len(copies) < 150
        await made.envoy.publish(snapshot(dead, 100, correlate=False))
        begin = time.monotonic()
        for _ in range(100):
            await ask(client, f"{made.url}/iris")
        assert time.monotonic() - begin < 5
        assert "x-request-id" not in made.upstreams["one"].seen[-1][1]

    play(scenario)


def test_tags_have_hosts_and_a_route_may_lead_to_one_variant() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        one, two = await made.pool("one"), await made.pool("two")
        found = deployment(None, Route(path="/iris", rewrite="/"), Route(path="/two", variant="b"))
        variants = {("b", "predictor"): [share(two)], ("canary", "predictor"): [share(two)]}
        tags = {"canary": ("canary-iris.default.example.com",), "prev": ("prev-iris.default.example.com",)}
        snapshot = routed(found, (one, two), by_weight((one, 100)), variants=variants, tags=tags)
        await made.envoy.start(snapshot)
        assert await ask(client, f"{made.url}/iris") == "one"
        assert await ask(client, f"{made.url}/two/x") == "two"
        host = {"host": "canary-iris.default.example.com"}
        assert await ask(client, f"{made.url}/v2/models", headers=host) == "two"
        assert made.upstreams["two"].seen[-1][0] == "/v2/models"
        answer = await client.get(f"{made.url}/", headers={"host": "prev-iris.default.example.com"})
        assert answer.status_code == 503

    play(scenario)


def test_bodies_that_are_too_large_are_refused_whether_or_not_their_size_is_told() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        one, two = await made.pool("one"), await made.pool("two")
        small = deployment(Traffic(max_body_bytes=1000))
        other = Deployment(name="other", components=(MODEL,), routes=(Route(path="/other", rewrite="/"),))
        await made.envoy.start(
            Snapshot(
                (
                    Routed(small, (one,), {"predictor": [by_weight((one, 100))]}),
                    Routed(other, (two,), {"predictor": [by_weight((two, 100))]}),
                )
            )
        )

        async def chunks(size: int) -> AsyncIterator[bytes]:
            for _ in range(size // 100):
                yield b"x" * 100

        for content in (b"x" * 1000, chunks(1000)):
            assert (await client.post(f"{made.url}/iris", content=content)).text == "one"
            assert len(made.upstreams["one"].seen[-1][2]) == 1000
        for content in (b"x" * 1001, chunks(1100)):
            answer = await client.post(f"{made.url}/iris", content=content)
            assert (answer.status_code, answer.json()) == (413, {"error": "the request is too large"})
        assert len(made.upstreams["one"].seen) == 2
        assert (await client.post(f"{made.url}/other", content=b"x" * 100_000)).text == "two"
        reader, writer = await asyncio.open_connection(*made.envoy.address)
        writer.write(b"POST /other HTTP/1.1\r\nhost: x\r\ncontent-length: 67108865\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 413")
        writer.close()

    play(scenario)


def test_what_authored_code_wants_to_be_asked_again_is_its_say() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        source = ClassSource(artefact=Artefact(uri="/c"))
        one = await made.pool("one", Component(source=source, retry_reset=True))
        await made.envoy.start(routed(deployment(), (one,), by_weight((one, 100))))
        assert await ask(client, f"{made.url}/iris") == "one"

    play(scenario)


def test_the_only_replica_is_never_put_aside_whatever_it_answers() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        one = await made.pool("one")
        await made.envoy.start(routed(deployment(), (one,), by_weight((one, 100))))
        for _ in range(60):
            assert (await client.get(f"{made.url}/iris/fail")).status_code == 503
        assert await ask(client, f"{made.url}/iris") == "one"

    play(scenario)


def test_counters_say_what_every_pool_did() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        one, two, dead = await made.pool("one"), await made.pool("two"), made.dead("nobody")
        found = deployment(None, Route(path="/iris", rewrite="/"), Route(path="/dead", variant="b"))
        variants = {("b", "predictor"): [share(dead)]}
        assert await made.envoy.sample() == {}
        await made.envoy.start(routed(found, (one, two, dead), by_weight((one, 100)), variants=variants))
        for _ in range(7):
            await ask(client, f"{made.url}/iris")
        assert (await client.get(f"{made.url}/iris/fail")).status_code == 503
        assert (await client.get(f"{made.url}/dead")).status_code == 503
        samples = await made.envoy.sample()
        assert set(samples) == {one.name, two.name, dead.name}
        first = samples[one.name]
        assert (first.calls, first.failed, first.active, first.waiting) == (8, 1, 0, 0)
        assert (samples[two.name].calls, samples[dead.name].calls, samples[dead.name].failed) == (0, 1, 1)

        async def latencies() -> Sequence[tuple[float, int]] | None:
            return (await made.envoy.sample())[one.name].latency or None

        latency = await waiting.until(latencies, seconds=5)
        assert latency
        bounds, counts = zip(*latency, strict=True)
        assert list(bounds) == sorted(bounds)
        assert list(counts) == sorted(counts)
        assert counts[-1] == 8

    play(scenario)

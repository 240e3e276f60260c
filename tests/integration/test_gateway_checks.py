"""Whatever is rendered, the real Envoy takes it; and what it cannot take is refused before anything changes."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiffin.errors import SpecError
from tiffin.gateway import watches
from tiffin.gateway.binary import check, find_binary
from tiffin.gateway.bootstrap import static_bundle
from tiffin.gateway.envoy import Envoy
from tiffin.gateway.router import Choice, Pool, Routed, Share, Snapshot
from tiffin.gateway.routes import render
from tiffin.spec import (
    Artefact,
    ClassSource,
    Component,
    ContainerSource,
    Deployment,
    Jwt,
    Match,
    ModelSource,
    Route,
    Scaling,
    Sticky,
    Traffic,
)

pytestmark = pytest.mark.slow

KEYS = '{"keys":[{"kty":"oct","k":"aGVsbG8","alg":"HS256","kid":"1"}]}'
ARTEFACT = Artefact(uri="/m")


def plain(
    deployments: Sequence[Deployment] = (), backends: Mapping[tuple[str, str], Sequence[str]] | None = None
) -> Snapshot:
    """Deployments without variants; endpoints by their key and the name of a component."""
    found = []
    for one in deployments:
        pools = [
            Pool(f"{one.key}/{part.name}", part, (backends or {}).get((one.key, part.name), ()))
            for part in one.components
        ]
        found.append(Routed(one, pools, {pool.component.name: (Choice((Share(pool.name),)),) for pool in pools}))
    return Snapshot(tuple(found))


sources = st.sampled_from(
    [ModelSource(artefact=ARTEFACT), ClassSource(artefact=ARTEFACT), ContainerSource(image="x", ready_path="/up")]
)
components = st.builds(
    Component,
    source=sources,
    scaling=st.builds(Scaling, min_replicas=st.integers(0, 2)),
    timeout_seconds=st.none() | st.floats(0.01, 5000),
    retry_reset=st.none() | st.booleans(),
)
matches = (
    st.builds(
        Match,
        header=st.sampled_from(["x-user", "X-Team", "accept"]),
        claim=st.sampled_from(["", "", "sub", "realm.roles", "a.b.c"]),
        value=st.sampled_from(["", "a", "7", "-1.5", "true", 'é%"\\']),
        how=st.sampled_from(["exact", "present"]),
    )
    | st.builds(Match, header=st.just("x-user"), value=st.sampled_from(["a+", r"^\d$"]), how=st.just("regex"))
    | st.builds(Match, claim=st.just("sub"), value=st.just("a"), how=st.sampled_from(["prefix", "regex"]))
)
traffics = st.builds(
    Traffic,
    sticky=st.none()
    | st.builds(
        Sticky, by=st.sampled_from(["header", "cookie"]), name=st.just("who"), ttl_seconds=st.floats(0, 1e6)
    ),
    jwt=st.none() | st.builds(Jwt, issuer=st.just("me"), jwks=st.just(KEYS), required=st.booleans()),
    max_body_bytes=st.none() | st.integers(1, 2**31),
)
paths = st.lists(st.sampled_from(["a", "v2", "é", "a b", "%"]), max_size=3).map(
    lambda parts: "/" + "/".join(parts)
)
some_routes = st.lists(
    st.builds(
        Route,
        path=paths,
        hosts=st.sampled_from([(), ("h.example.com",)]),
        exact=st.booleans(),
        rewrite=st.none() | paths,
        shared=st.just(True),
        variant=st.sampled_from(["", "b"]),
    ),
    max_size=4,
)
some_weights = st.floats(0, 100)


@st.composite
def deployments(draw: Any, name: str) -> Routed:
    pools = [
        Pool(
            f"default/{name}-{number}/predictor",
            draw(components),
            draw(st.sampled_from([(), ("/a.sock",), ("/a.sock", "127.0.0.1:80", "[::1]:81")])),
            draw(st.booleans()),
        )
        for number in range(3)
    ]

    def shares() -> list[Share]:
        return [Share(pool.name, draw(some_weights)) for pool in pools]

    rules = [
        Choice(shares(), draw(st.lists(matches, min_size=1, max_size=3))) for _ in range(draw(st.integers(0, 2)))
    ]
    found = Deployment(
        name=name, components=(pools[0].component,), routes=tuple(draw(some_routes)), traffic=draw(traffics)
    )
    return Routed(
        found,
        pools,
        {"predictor": [*rules, Choice(shares())]},
        variants={("b", "predictor"): shares(), ("canary", "predictor"): shares()},
        mirrors={"predictor": shares()},
        tags={"canary": (f"canary-{name}.example.com",)},
        correlate=draw(st.booleans()),
    )


@pytest.fixture
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="tf-"))
    yield path
    shutil.rmtree(path)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(one=deployments("one"), two=deployments("two"), activator=st.sampled_from(["", "/act.sock"]))
def test_envoy_takes_whatever_is_rendered(directory: Path, one: Routed, two: Routed, activator: str) -> None:
    resources = render(Snapshot((one, two), activator))
    asyncio.run(check(find_binary(), static_bundle(resources, directory), directory))


def test_envoy_refuses_what_it_cannot_read_and_says_why(directory: Path) -> None:
    pool = Pool("p", Component(source=ModelSource(artefact=ARTEFACT)))
    found = Deployment(name="one", components=(pool.component,), routes=(Route(path="/a"),))
    resources = render(Snapshot((Routed(found, [pool], {"predictor": [Choice([Share("p")])]}),)))
    bundle = static_bundle(resources, directory)
    asyncio.run(check(find_binary(), bundle, directory))
    bundle["static_resources"]["clusters"][0]["no_such_field"] = 1
    with pytest.raises(SpecError, match="no_such_field"):
        asyncio.run(check(find_binary(), bundle, directory))
    assert list(directory.iterdir()) == []


def test_more_deployments_than_files_can_be_watched_are_served(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = Component(source=ModelSource(artefact=ARTEFACT))

    def snapshot(count: int, replicas: tuple[str, ...]) -> Snapshot:
        found = [
            Deployment(name=f"d{n}", components=(part,), routes=(Route(path=f"/d{n}"),)) for n in range(count)
        ]
        return plain(found, {(each.key, "predictor"): replicas for each in found})

    async def run(most: int | None) -> None:
        if most is not None:
            monkeypatch.setattr(watches, "affordable", lambda: most)
        envoy = Envoy(directory / "envoy", sockets=directory, log=directory / "log", port=0)
        await envoy.start(snapshot(200, ()))
        try:
            async with httpx.AsyncClient(verify=False) as client:
                url = "http://{}:{}".format(*envoy.address)

                async def statuses(count: int) -> set[int]:
                    return {(await client.get(f"{url}/d{n}")).status_code for n in range(count)}

                assert await statuses(200) == {503}
                server = await asyncio.start_unix_server(answer, str(directory / "r.sock"))
                await envoy.publish(snapshot(200, (str(directory / "r.sock"),)))
                assert await statuses(200) == {200}
                await envoy.publish(snapshot(100, ()))
                assert await statuses(100) == {503}
                assert (await client.get(f"{url}/d150")).status_code == 404
                server.close()
        finally:
            await envoy.stop()

    for most in (0, None):
        (directory / "envoy").mkdir()
        asyncio.run(asyncio.wait_for(run(most), 60))
        shutil.rmtree(directory / "envoy")
        (directory / "r.sock").unlink()


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()

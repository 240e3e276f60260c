import shlex
from typing import Any

import pytest

from tiffin.local import addresses
from tiffin.local.addresses import Example
from tiffin.spec import Artefact, Component, Deployment, ModelSource, Route

BASE = "http://127.0.0.1:8080"
OWN = Route(path="/default/iris", rewrite="/")
HOST = Route(path="/", hosts=("iris.default.example.com",))


def deployment(*routes: Route) -> Deployment:
    component = Component(source=ModelSource(artefact=Artefact(uri="/m")))
    return Deployment(name="iris", components=(component,), routes=routes)


@pytest.mark.parametrize(
    ("routes", "path", "expected"),
    [
        pytest.param(
            (OWN, HOST, Route(path="/v2/models/iris")),
            "/v2/models/iris/infer",
            "/v2/models/iris/infer",
            id="the-systems-own-address-comes-first",
        ),
        pytest.param(
            (OWN, Route(path="/default/iris/-/variant/b", rewrite="/", variant="b")),
            "/v2/models/iris/infer",
            "/default/iris/v2/models/iris/infer",
            id="all-variants-come-before-one",
        ),
        pytest.param(
            (OWN, HOST), "/v2/models/iris/infer", "/default/iris/v2/models/iris/infer", id="else-tiffins"
        ),
        pytest.param(
            (
                OWN,
                Route(path="/seldon/default/iris", rewrite="/"),
                Route(path="/api/v1.0/predictions", exact=True),
            ),
            "/api/v1.0/predictions",
            "/seldon/default/iris/api/v1.0/predictions",
            id="seldons-ingress-before-its-engine",
        ),
        pytest.param((OWN, Route(path="/predict", exact=True)), "/predict", "/predict", id="exact"),
        pytest.param((Route(path="/predict", exact=True),), "/other", None, id="not-reachable"),
        pytest.param((HOST,), "/v2", None, id="not-without-a-host"),
        pytest.param((Route(path="/a", rewrite="/b/c"),), "/b/c/d", "/a/d", id="rewritten"),
        pytest.param((Route(path="/a", rewrite="/b/c"),), "/b/cd", None, id="rewritten-at-a-segment"),
        pytest.param((Route(path="/a", rewrite="/"),), "/", "/a", id="root"),
    ],
)
def test_a_replicas_path_is_found_from_outside(routes: tuple[Route, ...], path: str, expected: str | None) -> None:
    found = addresses.best_url(deployment(*routes), BASE, path)
    assert found == (None if expected is None else BASE + expected)


def test_urls_without_a_host_name_come_first_and_the_port_is_on_all() -> None:
    assert addresses.urls(deployment(HOST, OWN), BASE) == [
        "http://127.0.0.1:8080/default/iris",
        "http://iris.default.example.com:8080/",
    ]


def test_a_curl_line_is_one_that_a_shell_takes_as_it_is() -> None:
    body = {"inputs": [{"name": "it's", "data": [1.5, 2]}]}
    line = addresses.curl(deployment(OWN), BASE, Example("/v2/infer", {"x-a": "b c"}, body))
    assert line is not None
    words = shlex.split(line)
    assert words[:2] == ["curl", BASE + "/default/iris/v2/infer"]
    assert words[words.index("-d") + 1] == '{"inputs":[{"name":"it\'s","data":[1.5,2]}]}'
    assert "x-a: b c" in words
    assert "content-type: application/json" in words


def test_a_content_type_of_the_example_is_kept() -> None:
    line = addresses.curl(deployment(OWN), BASE, Example("/p", {"Content-Type": "application/x"}, []))
    assert line is not None
    assert "application/json" not in line


def test_without_an_example_the_curl_line_asks_for_readiness() -> None:
    assert addresses.curl(deployment(OWN), BASE, None) == f"curl {BASE}/default/iris/readyz"


@pytest.mark.parametrize("answer", [None, {}, {"path": 1}, {"path": "/a", "headers": []}])
def test_what_is_no_example_is_none(answer: dict[str, Any] | None) -> None:
    assert addresses.example_of(answer) is None


@pytest.mark.parametrize(
    ("host", "shown"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("10.0.0.1", "10.0.0.1")]
)
def test_the_base_url_can_be_typed(host: str, shown: str) -> None:
    assert addresses.base_url(host, 1) == f"http://{shown}:1"

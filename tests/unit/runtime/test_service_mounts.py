"""Mounted applications, middlewares and ``to_asgi``, through ASGI itself: no sockets."""

import asyncio
import warnings
from contextlib import asynccontextmanager

import pytest

import tiffin
from tiffin.errors import ServiceError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from fastapi import BackgroundTasks, FastAPI, Request, WebSocket
    from fastapi.responses import StreamingResponse
    from starlette.testclient import TestClient


def application(life):
    @asynccontextmanager
    async def lifespan(app):
        life.append("up")
        yield {"kept": 5}
        life.append("down")

    app = FastAPI(lifespan=lifespan)

    @app.get("/about")
    def about(request: Request):
        return {"root": request.scope["root_path"], "kept": request.state.kept, "url": str(request.url)}

    @app.get("/numbers")
    def numbers():
        async def each():
            for n in range(3):
                yield f"{n};"
                await asyncio.sleep(0)

        return StreamingResponse(each(), media_type="text/plain")

    @app.post("/later")
    def later(background: BackgroundTasks):
        background.add_task(life.append, "later")

    @app.get("/broken")
    def broken():
        raise RuntimeError("secret")

    @app.post("/size")
    async def size(request: Request):
        return len(await request.body())

    return app


def made(life, path="/v1", **options):
    app = application(life)

    @tiffin.service(**options)
    @tiffin.asgi_app(app, path=path)
    class Mixed:
        bias = 1

        @tiffin.api
        def add(self, a: int) -> int:
            return a + self.bias

        @app.get("/mine/{n}")
        def mine(self, n: int):
            return n + self.bias

        @app.websocket("/echo")
        async def echo(self, socket: WebSocket):
            await socket.accept(subprotocol="two")
            while (text := await socket.receive_text()) != "stop":
                await socket.send_text(text * 2)
            await socket.close(code=4000)

    return Mixed


@pytest.fixture
def life():
    return []


@pytest.fixture
def client(life):
    with TestClient(made(life).to_asgi(), raise_server_exceptions=False) as client:
        yield client


def test_an_application_is_below_its_path(client, life):
    assert client.get("/v1/about").json() == {"root": "/v1", "kept": 5, "url": "http://testserver/v1/about"}
    assert life == ["up"]
    assert client.post("/add", json={"a": 1}).json() == 2
    assert client.get("/about").status_code == 404


def test_a_route_made_of_a_method_gets_self(client):
    assert client.get("/v1/mine/41").json() == 42
    assert client.get("/v1/mine/x").status_code == 422
    [parameter] = client.get("/v1/openapi.json").json()["paths"]["/mine/{n}"]["get"]["parameters"]
    assert parameter["name"] == "n"


def test_an_answer_may_be_a_stream_and_have_work_behind_it(client, life):
    assert client.get("/v1/numbers").text == "0;1;2;"
    assert client.post("/v1/later").status_code == 200
    assert "later" in life


def test_a_body_arrives_whole(client):
    assert client.post("/v1/size", content=b"x" * 300_000).json() == 300_000


def test_what_an_application_raises_stays_in_the_log(client):
    answer = client.get("/v1/broken")
    assert answer.status_code == 500
    assert "secret" not in answer.text


def test_a_websocket_reaches_its_application(client):
    with client.websocket_connect("/v1/echo", subprotocols=["one", "two"]) as socket:
        assert socket.accepted_subprotocol == "two"
        socket.send_text("ab")
        assert socket.receive_text() == "abab"
        socket.send_text("stop")


def test_the_lifespan_is_that_of_the_service(life):
    with TestClient(made(life).to_asgi()):
        assert life == ["up"]
    assert life == ["up", "down"]


def test_without_a_lifespan_the_first_call_starts_the_service(life):
    client = TestClient(made(life).to_asgi())
    assert [client.post("/add", json={"a": n}).json() for n in range(2)] == [1, 2]


def test_the_service_goes_before_an_application_at_the_root(life):
    with TestClient(made(life, path="/").to_asgi()) as client:
        assert client.post("/add", json={"a": 1}).json() == 2
        assert "<title>" in client.get("/").text
        assert client.get("/about").json()["root"] == ""
        assert client.get("/nothing").json() == {"detail": "Not Found"}
        assert client.get("/add").json() == {"detail": "Not Found"}
        assert client.get("/readyz").text == "\n"


def test_an_application_at_the_root_may_have_a_page_of_its_own():
    app = FastAPI()
    app.get("/")(lambda: "mine")

    @tiffin.asgi_app(app, path="/")
    @tiffin.service
    class Paged: ...

    with TestClient(Paged.to_asgi()) as client:
        assert client.get("/").json() == "mine"


def test_the_longest_path_has_the_call():
    outer, inner = FastAPI(), FastAPI()
    outer.get("/a/b")(lambda: "outer")
    inner.get("/b")(lambda: "inner")

    @tiffin.service
    class Nested: ...

    Nested.mount_asgi_app(outer, path="/")
    Nested.mount_asgi_app(inner, path="/a")
    with TestClient(Nested.to_asgi()) as client:
        assert client.get("/a/b").json() == "inner"
        assert client.get("/ab").status_code == 404
    assert Nested.schema()["paths"] == {"/": {"mounted": True}, "/a": {"mounted": True}}


def wsgi(environ, start_response):
    start_response("201 Created", [("Content-Type", "text/plain"), ("X-Name", environ["SCRIPT_NAME"])])
    yield environ["PATH_INFO"].encode("latin-1")
    yield b"|" + environ["wsgi.input"].read() + b"|" + environ["QUERY_STRING"].encode()


def test_a_wsgi_application_is_served_too():
    @tiffin.service
    class Old: ...

    Old.mount_wsgi_app(wsgi, path="/old")
    with TestClient(Old.to_asgi()) as client:
        answer = client.post("/old/é?x=1", content=b"body")
    assert (answer.status_code, answer.content) == (201, "/é".encode() + b"|body|x=1")
    assert answer.headers["x-name"] == "/old"


class Stamp:
    def __init__(self, app, text):
        self.app, self.text = app, text

    async def __call__(self, scope, receive, send):
        async def stamped(message):
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"x-stamp", self.text)]}
            await send(message)

        await self.app(scope, receive, stamped)


def test_middlewares_stand_around_everything_the_first_one_outermost(life):
    service = made(life)
    service.add_asgi_middleware(Stamp, text=b"outer")
    service.add_asgi_middleware(Stamp, text=b"inner")
    with TestClient(service.to_asgi()) as client:
        for answer in (
            client.post("/add", json={"a": 1}),
            client.post("/add", json={"a": "x"}),
            client.get("/v1/about"),
            client.get("/nothing"),
        ):
            assert answer.headers.get_list("x-stamp") == ["inner", "outer"]
        assert "x-stamp" not in client.get("/readyz").headers


def test_cors_is_answered_before_the_endpoint(life):
    cors = {
        "enabled": True,
        "access_control_allow_origins": ["http://a"],
        "access_control_allow_methods": ["POST"],
    }
    with TestClient(made(life, http={"cors": cors}).to_asgi()) as client:
        asked = {"origin": "http://a", "access-control-request-method": "POST"}
        for path in ("/add", "/v1/about", "/elsewhere"):
            assert client.options(path, headers=asked).headers["access-control-allow-origin"] == "http://a"
        failed = client.post("/add", json={"a": "x"}, headers={"origin": "http://a"})
        assert (failed.status_code, failed.headers["access-control-allow-origin"]) == (400, "http://a")


def test_cors_covers_what_there_is_not_and_applications(life):
    cors = {"enabled": True, "access_control_allow_origins": ["http://a"]}
    service = made(life, http={"cors": cors})
    service.add_asgi_middleware(Stamp, text=b"seen")
    with TestClient(service.to_asgi()) as client:
        wrong = client.get("/add", headers={"origin": "http://a"})
        nothing = client.get("/nowhere", headers={"origin": "http://a"})
        mounted = client.get("/v1/about", headers={"origin": "http://a"})
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert nothing.status_code == 404
    for answer in (wrong, nothing, mounted):
        assert answer.headers["access-control-allow-origin"] == "http://a"
        assert answer.headers["x-stamp"] == "seen"


def test_everything_is_below_the_prefix_of_the_service(life):
    service = made(life, path="/app", path_prefix="/team")
    with TestClient(service.to_asgi()) as client:
        assert client.get("/team/app/about").json()["root"] == "/team/app"
        assert client.get("/app/about").status_code == 404
        assert client.get("/team/", follow_redirects=False).headers["location"] == "../"
        for path in ("/team/", "/team/docs.json", "/team/livez", "/team/metrics"):
            assert client.get(path).status_code == 200, path
        with client.websocket_connect("/team/app/echo", subprotocols=["two"]) as socket:
            socket.send_text("stop")
    assert service.schema()["paths"]["/team/app"] == {"mounted": True}


def test_a_service_can_ask_what_it_is(life):
    with TestClient(made(life).to_asgi()):
        assert tiffin.server_context.service_type == "entry_service"


def test_a_trace_id_is_the_callers(life):
    parent = f"00-{'ab' * 16}-{'cd' * 8}-01"
    with TestClient(made(life, http={"response": {"trace_id": True}}).to_asgi()) as client:
        known = client.post("/add", json={"a": 1}, headers={"traceparent": parent})
        assert known.headers["x-bentoml-trace-id"] == "ab" * 16
        fresh = client.post("/add", json={"a": 1}).headers["x-bentoml-trace-id"]
        assert len(bytes.fromhex(fresh)) == 16


def test_calls_are_logged_only_where_that_was_asked_for(life, caplog):
    access = {"enabled": True, "skip_paths": ["/v1/about"]}
    with caplog.at_level("INFO", "tiffin.access"):
        from tiffin.runtime import access_log

        said = []
        original = access_log.log.info
        access_log.log.info = lambda text, *values: said.append(text % values)
        try:
            with TestClient(made(life, logging={"access": access}).to_asgi()) as client:
                client.post("/add", json={"a": 1})
                client.get("/v1/about")
                client.post("/add", json={"a": "x"})
        finally:
            access_log.log.info = original
    assert len(said) == 2
    assert "(scheme=http,method=POST,path=/add,type=application/json,length=7)" in said[0]
    assert "(status=200,type=application/json,length=1)" in said[0]
    assert "status=400" in said[1]


def test_too_many_calls_at_once_are_refused_for_applications_too(life):
    with TestClient(made(life, traffic={"max_concurrency": 1}).to_asgi()) as client:
        client.app.application.admit()
        assert client.get("/v1/about").status_code == 429
        client.app.application.ended()
        assert client.get("/v1/about").status_code == 200


@pytest.mark.parametrize(("app", "path"), [(FastAPI(), "v1"), ("no application", "/v1")])
def test_a_mount_that_can_be_none_is_refused(app, path):
    with pytest.raises(ServiceError, match="expected"):
        tiffin.asgi_app(app, path=path)


def test_an_application_that_cannot_start_stops_the_service():
    @asynccontextmanager
    async def lifespan(app):
        raise RuntimeError("no database")
        yield

    @tiffin.service
    @tiffin.asgi_app(FastAPI(lifespan=lifespan), path="/v1")
    class Broken: ...

    with pytest.raises(ServiceError, match="could not start"), TestClient(Broken.to_asgi()):
        pass


def test_a_method_may_give_a_response_that_sends_itself(life):
    from starlette.background import BackgroundTask

    @tiffin.service
    class Own:
        @tiffin.api
        def plain(self) -> StreamingResponse:
            return StreamingResponse(iter(["a", "b"]), media_type="text/plain", status_code=202)

        @tiffin.api
        async def later(self) -> StreamingResponse:
            work = BackgroundTask(life.append, "behind")
            return StreamingResponse(iter(["a"]), media_type="text/plain", background=work)

        @tiffin.api
        async def broken(self) -> StreamingResponse:
            async def each():
                yield "a"
                raise RuntimeError("secret")

            return StreamingResponse(each())

    with TestClient(Own.to_asgi(), raise_server_exceptions=False) as client:
        answer = client.post("/plain")
        assert (answer.status_code, answer.text) == (202, "ab")
        assert len(answer.headers["x-bentoml-request-id"]) == 16
        assert client.post("/later").text == "a"
        with pytest.raises(Exception, match="broken off"):
            TestClient(client.app).post("/broken")
    assert life == ["behind"]


def test_work_behind_an_answer_is_done_only_for_calls_that_went_well(life):
    @tiffin.service
    class Behind:
        @tiffin.api
        def go(self, n: int, ctx: tiffin.Context) -> float:
            ctx.response.background = lambda: life.append(n)
            return 1 / n

        @tiffin.api
        async def later(self, ctx: tiffin.Context) -> int:
            async def work():
                life.append("async")

            ctx.response.background = work
            return 1

    with TestClient(Behind.to_asgi()) as client:
        assert client.post("/go", json={"n": 0}).status_code == 500
        assert client.post("/go", json={"n": 2}).json() == 0.5
        assert client.post("/later").json() == 1
        client.post("/go", json={"n": 4})
    assert set(life) >= {2, "async"}
    assert 0 not in life

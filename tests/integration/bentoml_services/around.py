"""What stands around endpoints: a prefix, CORS, middlewares, arguments, variables, hooks, dependencies, ASGI."""

from __future__ import annotations

import os
from typing import Any

import bentoml
import pydantic
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

with bentoml.importing():
    import colorsys  # noqa: F401


class Arguments(pydantic.BaseModel):
    words: int = 3
    name: str = "nobody"


arguments = bentoml.use_arguments(Arguments)
calls = bentoml.metrics.Counter("calls_of_mine", "Calls.", ["kind"])


class Marked:
    """Marks every answer."""

    def __init__(self, app: ASGIApp, mark: str) -> None:
        self.app, self.mark = app, mark

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def marking(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-mark", self.mark.encode())]
            await send(message)

        await self.app(scope, receive, marking)


async def hello(request: Request) -> JSONResponse:
    return JSONResponse({"path": request.url.path, "root": request.scope.get("root_path", "")})


async def echo(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text((await socket.receive_text()).upper())
    await socket.close()


mounted = Starlette(routes=[Route("/hello", hello, methods=["GET", "POST"]), WebSocketRoute("/echo", echo)])


@bentoml.service
class Root:
    def __init__(self) -> None:
        self.made = 1

    @bentoml.api
    def one(self, x: int) -> int:
        return x + 1

    @bentoml.api
    def refuse(self) -> str:
        raise bentoml.exceptions.InvalidArgument("inner bad")


@bentoml.service
class Left:
    root = bentoml.depends(Root)

    @bentoml.api
    def left(self, x: int) -> int:
        return self.root.one(x=x) * 2


@bentoml.service
class Right:
    root = bentoml.depends(Root)

    @bentoml.api
    async def right(self, x: int) -> int:
        return await self.root.to_async.one(x=x) * 3


class Base:
    @bentoml.api
    def inherited(self) -> str:
        return "from the base"


@bentoml.asgi_app(mounted, path="/app", name="mounted")
@bentoml.service(
    name="around",
    path_prefix="/v1",
    envs=[{"name": "MARK", "value": "blue"}],
    http={
        "cors": {
            "enabled": True,
            "access_control_allow_origins": ["http://allowed.example"],
            "access_control_allow_methods": ["POST", "GET"],
            "access_control_allow_credentials": True,
            "access_control_allow_headers": ["x-one"],
            "access_control_max_age": 77,
            "access_control_expose_headers": ["x-mark"],
        },
        "response": {"trace_id": True},
    },
    metrics={"namespace": "around"},
)
class Around(Base):
    left = bentoml.depends(Left)
    right = bentoml.depends(Right)
    root = bentoml.depends(Root)

    def __init__(self) -> None:
        self.seen = ["init"]

    @bentoml.on_deployment
    @staticmethod
    def deployed() -> None:
        os.environ.setdefault("DEPLOYED", "1")

    @bentoml.on_startup
    async def started(self) -> None:
        self.seen.append("startup")

    @bentoml.on_startup
    def started_too(self) -> None:
        self.seen.append("startup too")

    def __is_ready__(self) -> bool:
        return "startup" in self.seen

    def __is_alive__(self) -> bool:
        return True

    @bentoml.api
    def order(self) -> list[str]:
        return sorted(self.seen)

    @bentoml.api
    async def sum(self, x: int) -> int:
        return await self.left.to_async.left(x=x) + await self.right.right(x=x)

    @bentoml.api
    def inner_error(self) -> str:
        return self.root.refuse()

    @bentoml.api
    def given(self) -> dict[str, Any]:
        return {"words": arguments.words, "name": arguments.name, "mark": os.environ.get("MARK")}

    @bentoml.api
    def count(self, kind: str) -> None:
        calls.labels(kind=kind).inc()

    @bentoml.api
    def noted(self, x: float) -> float:
        with bentoml.monitor("around") as notes:
            notes.log(x, name="x", role="feature", data_type="numerical")
        return x


Around.add_asgi_middleware(Marked, mark="first")

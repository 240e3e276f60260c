"""What travels, and how it fails, with nothing but numpy and pydantic."""

import asyncio
import time
from collections.abc import AsyncGenerator, Generator
from enum import Enum
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import bentoml
import numpy as np
from bentoml.exceptions import (
    BadInput,
    BentoMLException,
    InternalServerError,
    InvalidArgument,
    NotFound,
    ServiceUnavailable,
    UnprocessableEntity,
)
from bentoml.validators import ContentType, DType, Shape
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, PlainTextResponse


class Teapot(BentoMLException):
    error_code = HTTPStatus.IM_A_TEAPOT


class Row(BaseModel):
    key: str
    n: int = Field(default=3, ge=0)
    tags: list[str] = []


class Colour(str, Enum):  # noqa: UP042 - as it is written for older Pythons
    red = "red"
    blue = "blue"


@bentoml.service(name="plain", labels={"team": "a"}, traffic={"timeout": 2}, threads=8)
class Plain:
    """Plain things."""

    def __init__(self) -> None:
        self.made = 0

    @bentoml.api
    def add(self, a: int, b: int = 2) -> int:
        """Add two numbers."""
        return a + b

    @bentoml.api
    def floats(self, x: float) -> float:
        return x

    @bentoml.api
    def truth(self, x: bool) -> bool:
        return not x

    @bentoml.api
    def text(self, s: str) -> str:
        return s

    @bentoml.api
    def optional(self, s: Optional[str] = None) -> Optional[str]:  # noqa: UP045
        return s

    @bentoml.api
    def either(self, x: int | str) -> int | str:
        return x

    @bentoml.api
    def nothing(self) -> None:
        return None

    @bentoml.api
    def untyped(self, x=1):  # type: ignore[no-untyped-def]
        return x

    @bentoml.api
    def unicode(self) -> dict[str, str]:
        return {"é": "日本 \u2028 \U0001f600"}

    @bentoml.api
    def mapping(self) -> dict[str, Any]:
        return {"a": 1.0, "b": [1, 2], "c": None, "d": float("1e300"), "e": True}

    @bentoml.api
    def not_a_number(self) -> float:
        return float("nan")

    @bentoml.api
    def listed(self, xs: list[int]) -> list[int]:
        return xs[::-1]

    @bentoml.api
    def row(self, p: Row) -> Row:
        return p

    @bentoml.api
    def rows(self, ps: list[Row]) -> list[Row]:
        return ps

    @bentoml.api
    def root_row(self, p: Row, /) -> str:
        return p.key

    @bentoml.api
    def root_text(self, s: str, /) -> str:
        return s

    @bentoml.api
    def root_list(self, xs: list[str], /) -> int:
        return len(xs)

    @bentoml.api
    def root_array(self, x: np.ndarray, /) -> np.ndarray:
        return x

    @bentoml.api
    def root_int(self, x: int, /) -> int:
        return x

    @bentoml.api
    def raw(self) -> bytes:
        return b"\x00\xff"

    @bentoml.api
    def typed_raw(self) -> Annotated[bytes, ContentType("image/png")]:
        return b"\x89PNG"

    @bentoml.api
    def typed_text(self) -> Annotated[str, ContentType("text/html")]:
        return "<b>x</b>"

    @bentoml.api
    def take_bytes(self, b: bytes) -> int:
        return len(b)

    @bentoml.api
    def keywords(self, **kwargs: Any) -> dict[str, Any]:
        return kwargs

    @bentoml.api
    def colour(self, c: Colour) -> Colour:
        return c

    @bentoml.api
    def literal(self, c: Literal["a", "b"] = "a") -> str:
        return c

    @bentoml.api
    def limited(self, n: int = Field(default=3, ge=1, le=10, description="how many", examples=[4])) -> int:
        return n

    @bentoml.api
    def annotated(self, n: Annotated[int, Field(gt=0)], s: Annotated[str, Field(max_length=3)] = "x") -> str:
        return s * n

    @bentoml.api(input_spec=Row)
    def spec(self, **params: Any) -> dict[str, Any]:
        return params

    @bentoml.api(output_spec=Row)
    def spec_out(self) -> Any:
        return {"key": "k"}

    @bentoml.api(route="/some/where/else")
    def moved(self) -> str:
        return "moved"

    @bentoml.api
    def array(self, x: np.ndarray) -> np.ndarray:
        return x

    @bentoml.api
    def shaped(self, x: Annotated[np.ndarray, Shape((2, 2)), DType("float32")]) -> np.ndarray:
        return x

    @bentoml.api
    def arrays(self, n: int) -> dict[str, np.ndarray]:
        return {"a": np.ones(n)}

    @bentoml.api
    def array_of(self, n: int) -> Annotated[np.ndarray, DType("int64")]:
        return np.arange(n)

    @bentoml.api
    def length(self, f: Path) -> str:
        return f"{f.suffix} {f.stat().st_size}"

    @bentoml.api
    def lengths(self, fs: list[Path]) -> list[int]:
        return [f.stat().st_size for f in fs]

    @bentoml.api
    def sound(self, f: Annotated[Path, ContentType("audio/*")]) -> int:
        return f.stat().st_size

    @bentoml.api
    def root_file(self, f: Path, /) -> int:
        return f.stat().st_size

    @bentoml.api
    def file(self, name: str, ctx: bentoml.Context) -> Path:
        path = Path(ctx.temp_dir) / name
        path.write_bytes(b"0123456789")
        return path

    @bentoml.api
    def both(self, f: Path, n: int, note: str = "") -> dict[str, Any]:
        return {"n": n, "note": note, "size": f.stat().st_size}

    @bentoml.api
    def words(self, n: int) -> Generator[str, None, None]:
        for i in range(n):
            yield f"é{i}\n"

    @bentoml.api
    async def objects(self, n: int) -> AsyncGenerator[dict[str, int], None]:
        for i in range(n):
            yield {"i": i}
            await asyncio.sleep(0)

    @bentoml.api
    async def rows_out(self) -> AsyncGenerator[Row, None]:
        yield Row(key="a")
        yield Row(key="b")

    @bentoml.api
    def lines(self) -> Annotated[Generator[str, None, None], ContentType("text/plain")]:
        yield "a\n"
        yield "b\n"

    @bentoml.api
    def numbers(self) -> Generator[int, None, None]:
        yield 1
        yield 2

    @bentoml.api
    def broken_stream(self) -> Generator[str, None, None]:
        if self is not None:
            raise InvalidArgument("before the first")
        yield "never"

    @bentoml.api
    def crashed_stream(self) -> Generator[str, None, None]:
        if self is not None:
            raise RuntimeError("secret")
        yield "never"

    @bentoml.api
    def fails(self, kind: str) -> str:
        raise {
            "invalid": InvalidArgument("bad thing"),
            "bad": BadInput("worse"),
            "missing": NotFound("not here"),
            "unprocessable": UnprocessableEntity("no"),
            "unavailable": ServiceUnavailable("later"),
            "internal": InternalServerError("secret"),
            "teapot": Teapot("short"),
            "chosen": BentoMLException("gone", error_code=HTTPStatus.GONE),
            "denied": BentoMLException("who", error_code=HTTPStatus.UNAUTHORIZED),
            "forbidden": BentoMLException("who", error_code=HTTPStatus.FORBIDDEN),
            "plain": BentoMLException("plain"),
            "value": ValueError("secret"),
            "key": KeyError("secret"),
        }[kind]

    @bentoml.api
    def slow(self, seconds: float) -> str:
        time.sleep(seconds)
        return "done"

    @bentoml.api
    async def slow_async(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "done"

    @bentoml.api
    def told(self, name: str, ctx: bentoml.Context) -> str:
        ctx.response.status_code = 201
        ctx.response.headers["x-seen"] = ctx.request.headers.get("x-asked", "none")
        ctx.response.set_cookie("last", "a b", max_age=3, path="/x", httponly=True)
        ctx.response.cookies  # noqa: B018  # readable
        return f"{ctx.request.method} {ctx.request.url.path} {ctx.request.url.query} {name}"

    @bentoml.api
    def told_and_failed(self, context: bentoml.Context) -> str:
        context.response.status_code = 202
        context.response.headers["x-seen"] = "x"
        raise InvalidArgument("no")

    @bentoml.api
    def remembers(self, ctx: bentoml.Context) -> int:
        ctx.state["n"] = ctx.state.get("n", 0) + 1
        return int(ctx.state["n"])

    @bentoml.api
    def where(self) -> dict[str, Any]:
        seen = bentoml.server_context
        return {
            "name": seen.service_name,
            "type": seen.service_type,
            "worker": seen.worker_index,
            "current": type(bentoml.get_current_service()).__name__,
        }

    @bentoml.api
    def response(self):  # type: ignore[no-untyped-def]
        return JSONResponse({"a": 1}, status_code=202, headers={"x-own": "1"})

    @bentoml.api
    async def response_text(self):  # type: ignore[no-untyped-def]
        return PlainTextResponse("own", status_code=203)

    @bentoml.api(batchable=True, max_batch_size=8, max_latency_ms=2000)
    def doubled(self, x: np.ndarray) -> np.ndarray:
        return x * 2

    @bentoml.api(batchable=True)
    async def upper(self, words: list[str]) -> list[str]:
        return [word.upper() for word in words]

    @bentoml.task
    def crunch(self, n: int) -> int:
        return n * 2

    @bentoml.task
    def bad_work(self, n: int) -> int:
        raise InvalidArgument(f"no {n}")

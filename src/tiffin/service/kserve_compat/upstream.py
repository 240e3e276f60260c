"""How a transformer asks its predictor: HTTP with connections that stay open, the caller's own trace passed on.

The predictor's status and text reach the caller as they are: a 400 stays a 400.
"""

from __future__ import annotations

import asyncio
import contextvars
import weakref
from collections.abc import Mapping
from typing import Any

import orjson

from tiffin.errors import CallError, DeadlineExceeded, MissingExtra, NotReady, PredictError

PASSED_ON = (
    "x-request-id",
    "authorization",
    "traceparent",
    "tracestate",
    "baggage",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
)
"""Headers of the caller's that go with a call to the predictor."""

_LENGTH = "inference-header-content-length"

caller: contextvars.ContextVar[Mapping[str, str] | None] = contextvars.ContextVar("caller", default=None)
"""The headers of the call in hand, for programs that call their predictor without passing them."""

_sessions: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = weakref.WeakKeyDictionary()


class Answered(CallError):
    """The predictor answered with an error; it goes to the caller as it is.

    ``body`` and ``content_type`` are the predictor's; ``retry_after`` is that header of its, or empty.
    """

    code = "predictor"

    def __init__(self, status: int, body: bytes, content_type: str, retry_after: str = "") -> None:
        super().__init__(body[:500].decode("utf-8", "replace") or f"the predictor answered {status}")
        self.status = status
        self.body = body
        self.content_type = content_type
        self.retry_after = retry_after


async def predict(
    model: str,
    config: Any,
    payload: Any,
    headers: Mapping[str, str] | None,
    response_headers: dict[str, str] | None,
) -> Any:
    """Send what ``preprocess`` made to the predictor, and read its answer.

    Args:
        model: the name in the path, the same at the predictor.
        config: kserve's PredictorConfig.
        payload: a dict for V1, an InferRequest (or dict) for V2.
        headers: the caller's; those that may go on do.
        response_headers: filled with the answer's headers, when it is a dict.

    Raises:
        Answered: the predictor answered with an error.
        NotReady, DeadlineExceeded: it cannot be reached, or takes too long.
    """
    is_v1 = config.predictor_protocol == "v1"
    path = f"/v1/models/{model}:predict" if is_v1 else f"/v2/models/{model}/infer"
    sent, lines = _body(payload)
    lines |= _passed_on({**(caller.get() or {}), **(headers or {})})
    status, answered, body = await _post(
        f"{config.predictor_base_url}{path}", sent, lines, float(config.timeout), int(config.retries)
    )
    if status >= 400:
        raise Answered(status, body, answered.get("content-type", ""), answered.get("retry-after", ""))
    if response_headers is not None:
        response_headers.update(_end_to_end(answered))
    return _result(body, answered, is_v1=is_v1, where=path)


def _body(payload: Any) -> tuple[bytes, dict[str, str]]:
    lines = {"content-type": "application/json"}
    if hasattr(payload, "to_rest"):
        payload, json_length = payload.to_rest()
        if json_length is not None:
            return payload, {"content-type": "application/octet-stream", _LENGTH: str(json_length)}
    if isinstance(payload, bytes):
        return payload, lines
    try:
        return orjson.dumps(payload, option=orjson.OPT_SERIALIZE_NUMPY), lines
    except TypeError as error:
        raise PredictError(
            f"expected something JSON can say for the predictor: {error}", at="preprocess()"
        ) from error


def _passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    lower = {name.lower(): value for name, value in headers.items()}
    return {name: lower[name] for name in PASSED_ON if name in lower}


def _end_to_end(headers: Mapping[str, str]) -> dict[str, str]:
    hop = ("connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding", "date", "server")
    return {name: value for name, value in headers.items() if name not in (*hop, "content-type", _LENGTH)}


def _result(body: bytes, headers: Mapping[str, str], *, is_v1: bool, where: str) -> Any:
    try:
        if is_v1:
            return orjson.loads(body)
        from kserve.protocol.infer_type import InferResponse

        return InferResponse.from_bytes(body, int(headers.get(_LENGTH) or len(body)))
    except (ValueError, KeyError, TypeError) as error:
        raise PredictError(f"expected an answer of its protocol from the predictor: {error}", at=where) from error


async def _post(
    url: str, body: bytes, headers: Mapping[str, str], seconds: float, retries: int
) -> tuple[int, dict[str, str], bytes]:
    try:
        import aiohttp
    except ImportError as error:
        raise MissingExtra("calling a predictor needs aiohttp", hint="pip install 'tiffin[http]'") from error
    session = _session(aiohttp)
    for left in range(retries, -1, -1):
        try:
            timeout = aiohttp.ClientTimeout(total=seconds)
            async with session.post(url, data=body, headers=headers, timeout=timeout) as answer:
                lines = {name.lower(): value for name, value in answer.headers.items()}
                return answer.status, lines, await answer.read()
        except TimeoutError as error:
            raise DeadlineExceeded(f"the predictor did not answer within {seconds:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            if not left or not isinstance(error, aiohttp.ClientConnectorError):
                raise NotReady(f"the predictor cannot be reached: {error}") from error
    raise AssertionError("the last try returned or raised")


def _session(aiohttp: Any) -> Any:
    """One pool of connections per event loop."""
    loop = asyncio.get_running_loop()
    session = _sessions.get(loop)
    if session is None or session.closed:
        # As many at once as there are calls: the gateway and the predictor say when it is too much.
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30), auto_decompress=True
        )
        _sessions[loop] = session
    return session


async def close() -> None:
    """Close the connections of the running loop."""
    session = _sessions.pop(asyncio.get_running_loop(), None)
    if session is not None:
        await session.close()

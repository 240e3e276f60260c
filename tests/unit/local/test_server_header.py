"""Answers of the platform do not tell which library made them."""

import asyncio
from typing import Any

from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from tiffin.local.activator import Activator
from tiffin.local.api.server import application
from tiffin.local.streams import Streams


def test_what_the_activator_answers_itself_says_tiffin() -> None:
    async def answer() -> web.StreamResponse:
        return await Activator()._answer(make_mocked_request("GET", "/"))

    assert asyncio.run(answer()).headers["server"] == "tiffin"


def test_a_stream_that_begins_while_its_call_waits_says_tiffin() -> None:
    async def begin() -> web.StreamResponse | None:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.02, waiting.set_result, None)
        streams = Streams(patience_seconds=0.001, comment_seconds=0.001)
        return await streams._entertained(make_mocked_request("GET", "/"), waiting)

    answer = asyncio.run(begin())
    assert answer is not None
    assert answer.headers.getall("server") == ["tiffin"]


def test_every_answer_of_the_api_says_tiffin() -> None:
    async def prepared() -> web.StreamResponse:
        platform: Any = None
        app = application(platform)
        app.freeze()
        answer = web.Response()
        await app.on_response_prepare.send(make_mocked_request("GET", "/", app=app), answer)
        return answer

    assert asyncio.run(prepared()).headers["server"] == "tiffin"

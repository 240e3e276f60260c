"""``depends(url=...)`` against a server that is somewhere else."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tiffin
from tiffin.errors import NotReady, ServiceError
from tiffin.service import exceptions
from tiffin.service.remote_json import JsonService

SERVICE = """
from pathlib import Path

import numpy as np
import tiffin
from PIL import Image
from tiffin.service.exceptions import NotFound


@tiffin.service(path_prefix="/api")
class Words:
    @tiffin.api
    def double(self, x: np.ndarray, by: float = 2.0) -> np.ndarray:
        return x * by

    @tiffin.api(route="/spelled/otherwise")
    def upper(self, text: str, /) -> str:
        return text.upper()

    @tiffin.api
    def size(self, file: Path, times: int = 1) -> Path:
        out = file.with_suffix(".txt")
        out.write_bytes(file.read_bytes() * times)
        return out

    @tiffin.api
    def grey(self, image: Image.Image) -> Image.Image:
        return image.convert("L")

    @tiffin.api
    def missing(self) -> None:
        raise NotFound("no such word")

    @tiffin.api
    async def letters(self, word: str):
        for letter in word:
            yield letter
"""


@pytest.fixture(scope="module")
def url(serving, tmp_path_factory):
    directory = tmp_path_factory.mktemp("words")
    (directory / "words.py").write_text(SERVICE)
    with serving("words:Words", directory=directory) as served:
        yield f"http://127.0.0.1:{served.port}"


def test_its_methods_are_called_as_if_they_were_here(url: str, tmp_path: Path) -> None:
    words = JsonService(url)
    found = words.double(np.ones((1, 2)), by=3)
    assert isinstance(found, np.ndarray)
    assert found.tolist() == [[3, 3]]
    assert words.upper("né") == "NÉ"
    (tmp_path / "a.bin").write_bytes(b"ab")
    assert words.size(tmp_path / "a.bin", times=2).read_bytes() == b"abab"
    assert words.grey(Image.new("RGB", (3, 2))).mode == "L"
    assert "".join(words.letters("wörd")) == "wörd"
    with pytest.raises(exceptions.NotFound, match="no such word"):
        words.missing()
    with pytest.raises(TypeError, match="unexpected argument 'y'"):
        words.double(y=1)
    with pytest.raises(ServiceError, match="has no endpoint 'doubl'") as info:
        words.doubl(1)
    assert "double" in str(info.value.hint)


def test_they_are_awaited_too(url: str) -> None:
    words = JsonService(url)

    async def run() -> None:
        assert (await words.to_async.double(np.ones(1))).tolist() == [2]
        assert "".join([part async for part in await words.to_async.letters("word")]) == "word"
        with pytest.raises(exceptions.NotFound):
            await words.to_async.missing()
        await words.disconnect()

    asyncio.run(run())


def test_an_attribute_of_a_service_stands_for_it(url: str) -> None:
    @tiffin.service
    class Uses:
        words = tiffin.depends(url=url)

        @tiffin.api
        def shout(self, text: str) -> str:
            return self.words.upper(text) + "!"

    assert Uses().shout("hey") == "HEY!"


def test_who_is_not_there_or_is_something_else_is_said(url: str) -> None:
    with pytest.raises(ServiceError, match=r"expected /schema\.json"):
        JsonService(f"{url}/elsewhere").double(1)
    with pytest.raises(NotReady, match="cannot be reached"):
        JsonService("http://127.0.0.1:1").double(1)

"""The page of a service in a real Chromium: forms filled in, sent, and their answers read."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("no Chromium: apt-get install chromium", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SERVICE = '''
import time
from pathlib import Path
from typing import Annotated, Generator, Literal

import numpy as np
import pandas as pd
from PIL.Image import Image
from pydantic import Field

import tiffin
from tiffin import validators as v


@tiffin.service
class Everything:
    """One of <b>each</b>."""

    @tiffin.api
    def add(self, a: int = Field(ge=0), b: float = 2.5, mode: Literal["sum", "product"] = "sum") -> float:
        """Adds or multiplies."""
        return a + b if mode == "sum" else a * b

    @tiffin.api
    def double(self, x: Annotated[np.ndarray, v.Shape((-1, 3))]) -> np.ndarray:
        return x * 2

    @tiffin.api
    def frame(self, df: Annotated[pd.DataFrame, v.DataframeSchema(columns=["p", "q"])]) -> pd.DataFrame:
        return df.assign(r=df.p + df.q)

    @tiffin.api
    def shrink(self, image: Image, size: int = 5) -> Image:
        return image.resize((size, size))

    @tiffin.api
    def words(self, text: str, /) -> Generator[str, None, None]:
        for word in text.split():
            yield word.upper() + " "

    @tiffin.task
    def slow(self, steps: int, ctx: tiffin.Context) -> int:
        for step in range(steps):
            ctx.progress(step / steps, f"step {step}")
            if ctx.wait_cancelled(0.05):
                break
        return steps

    @tiffin.api
    def missing(self) -> str:
        raise tiffin.exceptions.NotFound("there is none")
'''


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page, and fails at the end if the browser complained or the page asked anybody else."""
    complaints: list[str] = []
    contexts = []

    def open_at(url: str, *, width: int = 1200) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda r: complaints.append(r.url) if not r.url.startswith((url, "blob:", "data:")) else None,
        )
        page.goto(url)
        page.evaluate("document.querySelectorAll('details.endpoint').forEach((card) => { card.open = true; })")
        return page

    yield open_at
    for context in contexts:
        context.close()
    # A browser's console names every answer of 400 and more; the page shows those itself.
    assert [c for c in complaints if not c.startswith("Failed to load resource: the server responded")] == []


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def everything(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch_module: pytest.MonkeyPatch, serving: Callable[..., Any]
) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("everything")
    monkeypatch_module.setenv("TIFFIN_HOME", str(directory / "home"))
    (directory / "service.py").write_text(SERVICE)
    with serving("service:Everything", directory=directory) as served:
        yield f"http://127.0.0.1:{served.port}/"


def card_of(page: Any, name: str) -> Any:
    return page.locator(f"details#{name}")


def send(page: Any, name: str) -> Any:
    card = card_of(page, name)
    card.get_by_role("button", name="Send").click()
    card.locator(".answer .facts span").wait_for()
    return card.locator(".answer")


def test_a_form_is_filled_in_sent_and_answered(everything: str, open_page: Callable[..., Any]) -> None:
    page = open_page(everything)
    assert page.title() == "Everything"
    assert "One of <b>each</b>." in page.locator("#about").inner_text()
    card = card_of(page, "add")
    card.get_by_label("a", exact=True).fill("4")
    card.get_by_label("mode").select_option(label="product")
    answer = send(page, "add")
    assert answer.locator("pre").inner_text() == "10"
    assert answer.locator(".facts").inner_text().startswith("200 OK · ")
    assert '"mode":"product"' in card.locator("code").inner_text()
    card.get_by_role("tab", name="Python").click()
    assert '"mode": "product"' in card.locator("code").inner_text()


def test_what_is_wrong_stands_at_its_field(everything: str, open_page: Callable[..., Any]) -> None:
    page = open_page(everything)
    card = card_of(page, "add")
    number = card.get_by_label("a", exact=True)
    number.fill("")
    card.get_by_role("button", name="Send").click()
    assert card.locator(".problem:visible").inner_text() == "expected a number"
    assert number.get_attribute("aria-invalid") == "true"
    number.fill("-1")  # the page does not know better than the service
    answer = send(page, "add")
    assert answer.locator(".facts").inner_text().startswith("400")
    assert "greater than or equal to 0" in card.locator(".problem:visible").inner_text()


def test_arrays_are_tables_that_can_be_pasted_into(everything: str, open_page: Callable[..., Any]) -> None:
    page = open_page(everything)
    card = card_of(page, "double")
    card.get_by_role("button", name="Add row").click()
    card.get_by_label("x, row 2, column 3").fill("7")
    card.get_by_label("x, row 1, column 1").evaluate(
        "(cell) => { const data = new DataTransfer(); data.setData('text', '1\\t2\\t3\\n4\\t5\\t6\\n7\\t8\\t9');"
        " const pasted = {clipboardData: data, bubbles: true, cancelable: true};"
        " cell.dispatchEvent(new ClipboardEvent('paste', pasted)); }"
    )
    cells = send(page, "double").locator("td")
    assert [cells.nth(i).inner_text() for i in range(cells.count())] == [str(2 * n) for n in range(1, 10)]
    card.get_by_label("x, row 1, column 1").fill("one")
    card.get_by_role("button", name="Send").click()
    assert 'row 1, column 1: expected a number, found "one"' in card.locator(".problem:visible").inner_text()


def test_dataframes_are_tables_with_names(everything: str, open_page: Callable[..., Any]) -> None:
    page = open_page(everything)
    card = card_of(page, "frame")
    card.get_by_label("df, row 1, column p").fill("2")
    card.get_by_label("df, row 1, column q").fill("3")
    answer = send(page, "frame")
    assert answer.locator("th").all_inner_texts() == ["p", "q", "r"]
    assert answer.locator("td").all_inner_texts() == ["2", "3", "5"]


def test_an_image_is_sent_and_shown(everything: str, open_page: Callable[..., Any], tmp_path: Path) -> None:
    images = pytest.importorskip("PIL.Image")
    images.new("RGB", (20, 20), "red").save(tmp_path / "red.png")
    page = open_page(everything)
    card = card_of(page, "shrink")
    assert "-F 'image=@FILE'" in card.locator("code").inner_text()
    card.get_by_label("image").set_input_files(tmp_path / "red.png")
    assert "-F 'image=@red.png'" in card.locator("code").inner_text()
    shown = send(page, "shrink").locator("img")
    shown.wait_for()
    sync_api.expect(shown).to_have_js_property("naturalWidth", 5)


def test_a_stream_and_an_error_are_shown(everything: str, open_page: Callable[..., Any]) -> None:
    page = open_page(everything)
    card_of(page, "words").get_by_label("text").fill("a few words")
    answer = send(page, "words")
    sync_api.expect(answer.locator("pre")).to_have_text("A FEW WORDS ")
    assert "200 OK" in answer.inner_text()
    answer = send(page, "missing")
    assert "404" in answer.locator(".facts").inner_text()
    assert "there is none" in answer.locator("pre").last.inner_text()


def test_a_task_is_watched_and_cancelled(everything: str, open_page: Callable[..., Any]) -> None:
    page = open_page(everything)
    card = card_of(page, "slow")
    card.get_by_label("steps").fill("3")
    card.get_by_role("button", name="Submit task").click()
    card.locator(".answer pre").wait_for()
    assert card.locator(".answer pre").inner_text() == "3"
    card.get_by_label("steps").fill("10000")
    card.get_by_role("button", name="Submit task").click()
    sync_api.expect(card.locator(".answer")).to_contain_text(re.compile(r"running .* step \d"))
    card.get_by_role("button", name="Cancel task").click()
    sync_api.expect(card.locator(".answer")).to_contain_text("canceled")
    assert card.locator(".answer pre").count() == 0


def test_it_fits_a_phone_and_each_control_has_a_name(everything: str, open_page: Callable[..., Any]) -> None:
    page = open_page(everything, width=360)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    nameless = page.evaluate(
        "[...document.querySelectorAll('input, select, textarea')]"
        ".filter((control) => !control.ariaLabel && !control.labels.length).length"
    )
    assert nameless == 0


def test_a_saved_model_has_a_page_for_browsers(
    iris_model: Path, serving: Callable[..., Any], open_page: Callable[..., Any]
) -> None:
    with serving(str(iris_model)) as served:
        page = open_page(f"http://127.0.0.1:{served.port}/")
        answer = send(page, "infer")
        assert answer.locator(".facts").inner_text().startswith("200 OK")
        assert '"outputs"' in answer.locator("pre").inner_text()
        assert served.ask("GET", "/")[1] == b'{"status":"alive"}'

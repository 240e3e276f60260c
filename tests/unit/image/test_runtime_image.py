"""The image of Tiffin itself: what is asked for, before anything is fetched."""

from pathlib import Path

from typer.testing import CliRunner

import tiffin
from tiffin.cli import image
from tiffin.errors import SpecError
from tiffin.image import contents, own, packages, runtime


def test_it_is_a_bundle_of_nothing_but_tiffin(tmp_path: Path) -> None:
    bundle = runtime.bundle(tmp_path, python="3.12")
    assert bundle.manifest.python == "3.12"
    assert bundle.manifest.files == ()
    assert bundle.source.is_dir()
    assert contents.start(bundle).target == ["python", "-m", "tiffin"]
    assert bundle.tags == (f"tiffin/runtime:{tiffin.__version__}",)


def test_the_same_environment_gives_the_same_image(tmp_path: Path) -> None:
    assert runtime.bundle(tmp_path / "a").digest == runtime.bundle(tmp_path / "b").digest


def test_packages_have_the_versions_that_are_installed() -> None:
    here = own.installed()
    assert f"msgspec=={here['msgspec']}" not in runtime.pinned(("kubernetes",))  # no extra asks for it
    assert f"lightkube=={here['lightkube']}" in runtime.pinned(("kubernetes",))
    assert runtime.pinned(()) == []


def test_requirements_keep_their_lines_where_one_is_tiffin() -> None:
    text = "tiffin[onnx]\naiohttp==3.14.5\n"
    assert packages._own_extras(text) == text
    assert packages._own_extras("tiffin [onnx] >= 0.1; python_version > '3'\nnumpy\n") == (
        "tiffin [onnx]; python_version > '3'\nnumpy\n"
    )


def test_an_image_is_of_a_bundle_or_of_tiffin(tmp_path: Path, monkeypatch) -> None:
    import typer

    monkeypatch.setenv("TIFFIN_HOME", str(tmp_path))
    app = typer.Typer()
    app.command()(image.image)
    for words, found in (([], "neither"), (["iris:v1", "--runtime"], "both")):
        done = CliRunner().invoke(app, words)
        assert isinstance(done.exception, SpecError)
        assert f"expected a bundle or --runtime, found {found}" in str(done.exception)

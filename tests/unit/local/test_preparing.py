from pathlib import Path

import msgspec
import pytest

from tiffin.errors import BundleError, ProcessError, ServiceError, SpecError
from tiffin.kits.paths import DataDirectory
from tiffin.local import preparing, up
from tiffin.spec import Artefact, ClassSource, Component, ServiceDescription, ServiceSource


def located(tmp_path: Path, source: ClassSource | ServiceSource) -> tuple[Component, Path]:
    data = DataDirectory(tmp_path / "home").make()
    return preparing._located(Component(source=source), data, lambda *progress: None)


def test_a_directory_is_used_in_place_from_its_file_on(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    source = ServiceSource(artefact=Artefact(uri="code", base=str(tmp_path)), target="service:Iris")
    assert located(tmp_path, source)[1] == tmp_path / "code"


def test_an_image_is_a_bundle_even_when_a_directory_has_its_name(tmp_path: Path) -> None:
    (tmp_path / "iris").mkdir()
    source = ClassSource(artefact=Artefact(uri="iris", base=str(tmp_path)), image="iris")
    with pytest.raises(BundleError, match="the image iris is not in the local bundle store") as caught:
        located(tmp_path, source)
    assert caught.value.hint == "make it of the directory with the class: tiffin build -t iris DIR"


def test_a_description_is_read() -> None:
    description = ServiceDescription(name="Iris", target="service:Iris")
    output = msgspec.json.encode(description) + b"\n"
    assert preparing.description_of("service:Iris", Path(), 0, output, b"noise") == description


def test_the_reason_why_a_service_cannot_be_described_is_kept_with_its_hint() -> None:
    output = b'{"code":"service","message":"no module named foo","hint":"install it","traceback":null}'
    with pytest.raises(ServiceError, match="no module named foo") as caught:
        preparing.description_of("s:S", Path(), 1, output, b"")
    assert caught.value.hint == "install it"


def test_a_describing_process_that_died_is_told_with_its_last_words() -> None:
    with pytest.raises(ServiceError, match="gave no description: Segmentation fault"):
        preparing.description_of("s:S", Path(), -11, b"", b"a\nSegmentation fault\n")


def test_when_nothing_started_every_reason_and_each_hint_once_is_told() -> None:
    errors = {"default/a": SpecError("first", hint="do x"), "default/b": SpecError("second", hint="do x")}
    error = up.nothing_started(dict(errors))
    assert isinstance(error, ProcessError)
    assert "default/a: first" in str(error)
    assert "default/b: second" in str(error)
    assert error.hint == "do x"


def test_the_traceback_of_a_service_that_cannot_be_imported_is_told() -> None:
    output = b'{"code":"service","message":"failed","hint":null,"traceback":"Traceback\\n  File x"}'
    with pytest.raises(ServiceError) as caught:
        preparing.description_of("s:S", Path(), 1, output, b"")
    assert str(caught.value) == "failed\n    Traceback\n      File x"

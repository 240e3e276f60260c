import pydantic
import pytest

import tiffin
from tiffin.errors import ServiceError
from tiffin.service import arguments


class Wanted(pydantic.BaseModel):
    model: str = "iris"
    size: int = 3


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in arguments.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    yield
    arguments.set_defaults({})


def test_without_any_the_models_defaults_apply():
    assert tiffin.use_arguments(Wanted) == Wanted()


def test_those_of_the_command_line_go_over_those_of_the_build_file(monkeypatch):
    arguments.set_defaults({"model": "wine", "size": 4})
    monkeypatch.setenv("TIFFIN_ARGS", '{"size": "5"}')
    assert tiffin.use_arguments(Wanted) == Wanted(model="wine", size=5)
    assert tiffin.use_arguments().model == "wine"


def test_values_that_do_not_fit_are_told(monkeypatch):
    monkeypatch.setenv("BENTOML_ARGS", '{"size": "many"}')
    with pytest.raises(ServiceError, match="do not fit Wanted"):
        tiffin.use_arguments(Wanted)


def test_words_go_over_a_file(tmp_path):
    file = tmp_path / "args.yaml"
    file.write_text("size: 7\nmodel: wine\n")
    assert arguments.parse(["model=iris=2"], str(file)) == {"size": 7, "model": "iris=2"}


@pytest.mark.parametrize(("words", "said"), [(["size"], "found 'size'"), (["=3"], "found '=3'")])
def test_a_word_without_a_name_or_value_is_refused(words, said):
    with pytest.raises(ServiceError, match=said):
        arguments.parse(words)

"""What ``tiffin serve TARGET`` means."""

from pathlib import Path

import pytest

from tiffin.errors import SpecError
from tiffin.runtime.target import model_name, resolve
from tiffin.spec import ContainerSource, ModelSource, ServiceSource


def files(directory: Path, *names: str) -> Path:
    for name in names:
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    return directory


def test_a_file_is_a_model_named_after_it(tmp_path: Path) -> None:
    home = files(tmp_path, "iris.joblib")
    found = resolve("iris.joblib", home)
    assert (found.name, found.path) == ("iris", home / "iris.joblib")
    assert isinstance(found.source, ModelSource)
    assert resolve(str(home / "iris.joblib"), Path("/")).path == home / "iris.joblib"


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("oci://registry.example.com:5000/team/iris:v1", "iris"),
        ("oci://127.0.0.1/iris@sha256:" + "ab" * 32, "iris"),
        ("hf://acme/tiny-bert:main", "tiny-bert"),
        ("s3://bucket/models/iris", "iris"),
    ],
)
def test_a_tag_is_no_part_of_a_name(tmp_path: Path, address: str, name: str) -> None:
    assert resolve(address, tmp_path).name == name


def test_model_joblib_takes_the_name_of_its_directory(tmp_path: Path) -> None:
    files(tmp_path, "fraud/model.joblib")
    assert resolve("fraud/model.joblib", tmp_path).name == "fraud"
    assert resolve("fraud", tmp_path).name == "fraud"


def test_an_address_is_a_model_yet_to_be_fetched(tmp_path: Path) -> None:
    found = resolve("s3://bucket/models/iris.json", tmp_path)
    assert (found.name, found.path) == ("iris", None)
    assert isinstance(found.source, ModelSource)
    assert found.source.artefact.uri == "s3://bucket/models/iris.json"


@pytest.mark.parametrize(
    ("text", "target", "name"),
    [
        ("service:Iris", "service:Iris", "iris"),
        ("service:IrisClassifier", "service:IrisClassifier", "iris_classifier"),
        ("package.module:Thing", "package.module:Thing", "thing"),
        ("service.py:Iris", "service:Iris", "iris"),
        ("service.py", "service", "service"),
        ("service", "service", "service"),
        ("package.module", "package.module", "module"),
    ],
)
def test_a_module_is_a_service(tmp_path: Path, text: str, target: str, name: str) -> None:
    files(tmp_path, "service.py", "package/module.py")
    found = resolve(text, tmp_path)
    assert isinstance(found.source, ServiceSource)
    assert (found.source.target, found.name, found.path) == (target, name, tmp_path)


@pytest.mark.parametrize("file", ["bentofile.yaml", "bentofile.yml", "service.py"])
def test_a_directory_with_a_project_is_a_service(tmp_path: Path, file: str) -> None:
    home = files(tmp_path / "My Project", file)
    for text in (".", str(home), *([file] if file.startswith("bento") else [])):
        found = resolve(text, home)
        assert isinstance(found.source, ServiceSource)
        assert found.path == home


def test_a_build_table_makes_a_project(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    assert isinstance(resolve(".", tmp_path).source, ModelSource)
    (tmp_path / "pyproject.toml").write_bytes(b"[tool.bentoml.build]\nservice = 's:S' # \xff\n")
    assert isinstance(resolve(".", tmp_path).source, ServiceSource)


def test_a_deployment_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "iris.yaml").write_text("apiVersion: serving.kserve.io/v1beta1\n")
    with pytest.raises(SpecError, match="deployment file") as caught:
        resolve("iris.yaml", tmp_path)
    assert caught.value.hint == "tiffin up iris.yaml"


@pytest.mark.parametrize("text", ["nothing", "nothing.joblib", "missing.py:Iris", "a b", "no-such.py"])
def test_what_is_nowhere_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SpecError):
        resolve(text, tmp_path)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("iris.joblib", "iris"),
        ("a/my model (1).pkl", "my-model--1"),
        ("a/model.joblib", "a"),
        ("a/saved_model.onnx", "a"),
        ("model.joblib", "model"),
        ("a/.hidden", "a"),
        ("x/v1.2.onnx", "v1"),
        ("été.onnx", "été"),
        ("---.onnx", "model"),
    ],
)
def test_names_of_models(path: str, name: str) -> None:
    assert model_name(Path(path)) == name


def test_an_archive_is_yet_to_be_unpacked(tmp_path: Path) -> None:
    home = files(tmp_path, "iris.tar.gz")
    found = resolve("iris.tar.gz", home)
    assert (found.name, found.path) == ("iris", None)
    assert isinstance(found.source, ModelSource)
    assert found.source.artefact.uri == str(home / "iris.tar.gz")


@pytest.mark.parametrize("text", ["iris.joblib", "models/iris", "/nowhere/iris.onnx"])
def test_what_looks_like_a_path_and_is_none_is_told_as_a_path(tmp_path: Path, text: str) -> None:
    with pytest.raises(SpecError, match="there is no file or directory") as caught:
        resolve(text, tmp_path)
    assert str(tmp_path / text) in str(caught.value)


def test_a_device_is_not_served() -> None:
    with pytest.raises(SpecError, match="expected a file or a directory, found something else at /dev/zero"):
        resolve("zero", Path("/dev"))


def test_a_program_that_starts_kserves_server_is_run_as_one(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("import kserve\nkserve.ModelServer().start([])\n")
    (tmp_path / "service.py").write_text("import kserve\n")
    found = resolve("model.py", tmp_path)
    assert isinstance(found.source, ContainerSource)
    assert found.source.command == ("python", "model.py")
    assert (found.path, found.name, found.address) == (tmp_path, "model", "")
    assert not isinstance(resolve("service.py", tmp_path).source, ContainerSource)

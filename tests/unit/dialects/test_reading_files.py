import json
import os
from pathlib import Path

import pytest

from tiffin.dialects import Resources, gather, parse, read
from tiffin.errors import SpecError
from tiffin.spec import ModelSource, ServiceSource

SAMPLES = Path(__file__).parent / "samples"
SMALL = "apiVersion: tiffin.dev/v1\nkind: Deployment\nmetadata: {name: %s}\nspec: {model: m.joblib}\n"


def refusal(call) -> SpecError:
    with pytest.raises(SpecError) as caught:
        call()
    return caught.value


def test_a_file_of_several_documents_keeps_their_order_and_lists_what_goes_with_them():
    first, second = read(SAMPLES / "mixed.yaml")
    assert [first.key, second.key] == ["default/first", "default/second"]
    assert first.warnings == second.warnings == ()


def test_an_object_that_changes_nothing_here_is_listed():
    text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n---\n" + (SAMPLES / "tiffin.yaml").read_text()
    (found,) = parse(text)
    assert [str(warning) for warning in found.warnings] == [
        "kind: the Namespace in document 1 has no effect on this machine"
    ]


def test_a_text_of_resources_alone_has_no_deployments():
    text = "apiVersion: v1\nkind: Secret\nmetadata: {name: a.b}\ndata: {KEY: dmFsdWU=}\nstringData: {OTHER: x}"
    assert parse(text) == []
    (secret,) = gather(text).secrets
    assert (secret.name, secret.data) == ("a.b", {"KEY": "value", "OTHER": "x"})
    assert "value" not in repr(secret)


def test_what_is_read_later_counts_where_two_objects_have_one_name():
    first, second = (
        gather(f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{a: {value}}}")
        for name, value in (("x", "old"), ("x", "new"))
    )
    assert (first | second).config_map("default", "x").data == {"a": "new"}
    assert not Resources()
    assert first


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        ("kind: Secret\nmetadata: {name: a}\ndata: {k: '%'}", "data.k", "expected base64"),
        ("kind: Secret\nmetadata: {name: a}\nstringDate: {k: v}", "stringDate", "unknown field"),
        ("kind: ConfigMap\nmetadata: {name: A}", "metadata.name", "lower case"),
        ("kind: ServiceAccount\nmetadata: {name: a}\nsecrets: [{nam: x}]", "secrets[0].nam", "unknown field"),
    ],
)
def test_a_resource_that_says_something_wrong_is_refused_by_its_path(text, at, message):
    error = refusal(lambda: parse(f"apiVersion: v1\n{text}", file="f.yaml"))
    assert (error.at, message in error.message) == (at, True), str(error)


def test_resources_in_the_files_of_a_directory_are_read_before_its_deployments(tmp_path):
    (tmp_path / "z.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: b}")
    assert read(tmp_path) == []
    (tmp_path / "a.yaml").write_text((SAMPLES / "tiffin.yaml").read_text())
    assert [found.name for found in read(tmp_path)] == ["iris"]


def test_an_item_of_a_list_is_named_by_its_path_and_line():
    item = "- apiVersion: tiffin.dev/v1\n  kind: Deployment\n  metadata: {}\n  spec: {model: m}\n"
    text = f"apiVersion: v1\nkind: List\nitems:\n{item}"
    assert str(refusal(lambda: parse(text, file="l.yaml"))) == (
        "l.yaml:6: items[0].metadata.name: required, found nothing"
    )


def test_json_is_read_like_yaml(tmp_path):
    file = tmp_path / "d.json"
    document = {
        "apiVersion": "tiffin.dev/v1",
        "kind": "Deployment",
        "metadata": {"name": "iris"},
        "spec": {"model": "m.joblib"},
    }
    file.write_text(json.dumps(document))
    (found,) = read(file)
    assert (found.key, found.components[0].source.artefact.base) == ("default/iris", str(tmp_path))


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        ("apiVersion: apps/v1\nkind: Deployment", "apiVersion", "apps/v1 Deployment is not a kind"),
        ("apiVersion: serving.kserve.io/v1alpha1\nkind: InferenceGraph", "kind", "later version"),
        ("apiVersion: serving.kserve.io/v1alpha1\nkind: TrainedModel", "kind", "later version"),
        ("apiVersion: serving.kserve.io/v1\nkind: InferenceService", "apiVersion", "is not a kind"),
        ("kind: InferenceService", "apiVersion", "required"),
        ("apiVersion: tiffin.dev/v1", "kind", "required"),
        ("apiVersion: 1\nkind: x", "apiVersion", "required, found 1 (an integer)"),
        ("- 1", None, "expected a mapping, found a list"),
        ("hello", None, 'expected a mapping, found "hello"'),
        ("", None, "expected a deployment, found none"),
        ("apiVersion: v1\nkind: Secret", "metadata", "required"),
        ("apiVersion: v1\nkind: Namespace", None, "expected a deployment, found none"),
        ("apiVersion: v1\nkind: List\nitems: 1", "items", "expected a list"),
        ("apiVersion: v1\nkind: List\nitems: []\nitemz: []", "itemz", "unknown field"),
        ("apiVersion: v1\nkind: List\nitems: [1]", "items[0]", "expected a mapping"),
    ],
)
def test_another_kind_is_refused(text, at, message):
    error = refusal(lambda: parse(text, file="f.yaml"))
    assert (error.at, message in error.message) == (at, True), str(error)


def test_a_refused_kind_comes_with_the_known_ones():
    hint = refusal(lambda: parse("apiVersion: a/v1\nkind: B", file="f.yaml")).hint
    for kind in (
        "tiffin.dev/v1 Deployment",
        "serving.kserve.io/v1beta1 InferenceService",
        "v1alpha2 SeldonDeployment",
    ):
        assert kind in hint


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("iris.joblib", "iris"),
        ("Iris Model.pkl", "iris-model"),
        ("model.joblib", "flowers"),
        ("model.onnx", "flowers"),
        ("saved_model.pkl", "flowers"),
        ("iris.skops", "iris"),
        ("iris.bst", "iris"),
        ("iris.ubj", "iris"),
    ],
)
def test_a_saved_model_is_called_after_its_file_or_its_directory(tmp_path, name, expected):
    directory = tmp_path / "flowers"
    directory.mkdir()
    (directory / name).write_bytes(b"x")
    (found,) = read(directory / name)
    assert (found.name, found.derived_name) == (expected, False)
    assert found.components[0].source == ModelSource(artefact=found.components[0].source.artefact)
    assert found.components[0].source.artefact.uri == str(directory / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.json", '{"learner":{"attributes":{}},"version":[2,1,0]}'),
        ("m.txt", "tree\nversion=v4\nnum_class=1\n"),
    ],
)
def test_a_model_with_a_common_suffix_is_known_by_its_beginning(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert read(tmp_path / name)[0].name == "m"


def test_a_bentofile_is_a_service_of_its_directory(tmp_path):
    (tmp_path / "bentofile.yaml").write_text("service: service:Iris\n")
    (tmp_path / "other.yaml").write_text(SMALL % "other")
    for path in (tmp_path, tmp_path / "bentofile.yaml"):
        (found,) = read(path)
        assert (found.name, found.file) == ("iris", str(tmp_path / "bentofile.yaml"))
        assert found.components[0].source.artefact.uri == str(tmp_path)


def test_a_build_file_under_another_name_is_known_by_its_content(tmp_path):
    (tmp_path / "bento-prod.yaml").write_text("service: service:Iris\nname: prod\n")
    assert read(tmp_path / "bento-prod.yaml")[0].name == "prod"


def test_a_pyproject_with_a_build_table_is_a_service(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.bentoml.build]\nservice = "service:Iris"\n')
    (tmp_path / "src").mkdir()
    for path in (tmp_path, tmp_path / "pyproject.toml"):
        (found,) = read(path)
        assert found.components[0].source.target == "service:Iris"
        assert found.components[0].environment == {"PYTHONPATH": str(tmp_path / "src")}


def test_a_pyproject_without_a_build_table_is_refused_by_itself_and_passed_over_in_a_directory(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.ruff]\n")
    (tmp_path / "d.yaml").write_text(SMALL % "iris")
    assert refusal(lambda: read(tmp_path / "pyproject.toml")).at == "tool.bentoml.build"
    assert read(tmp_path)[0].name == "iris"


@pytest.mark.parametrize("name", ["service.py", "app.py"])
def test_a_python_file_is_a_service_whose_class_is_found_later(tmp_path, name):
    (tmp_path / name).write_text("")
    (found,) = read(tmp_path / name)
    source = found.components[0].source
    assert source == ServiceSource(artefact=source.artefact, target=name.removesuffix(".py"))
    assert found.derived_name


def test_a_directory_with_service_py_is_a_service(tmp_path):
    (tmp_path / "service.py").write_text("")
    assert read(tmp_path)[0].components[0].source.target == "service"


def test_a_directory_gives_all_files_that_declare_a_kind_in_order(tmp_path):
    (tmp_path / "b.yaml").write_text(SMALL % "second")
    (tmp_path / "a.yml").write_text(SMALL % "first")
    (tmp_path / "compose.yaml").write_text("services: {}\n")
    (tmp_path / "notes.json").write_text("[1, 2]")
    (tmp_path / "README.md").write_text("x")
    assert [found.name for found in read(tmp_path)] == ["first", "second"]


def test_a_directory_with_a_saved_model_only_is_that_model(tmp_path):
    directory = tmp_path / "Iris_v2"
    directory.mkdir()
    (directory / "model.joblib").write_bytes(b"x")
    (found,) = read(directory)
    assert (found.name, found.components[0].source.artefact.uri) == ("iris-v2", str(directory))


def test_nothing_to_serve_is_said_with_what_could_be(tmp_path):
    assert "found nothing" in str(refusal(lambda: read(tmp_path)))
    assert "service.py" in refusal(lambda: read(tmp_path)).hint
    assert str(refusal(lambda: read(tmp_path / "no.yaml"))).endswith(
        "no.yaml: expected a file or directory, found nothing"
    )


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    refused = refusal(lambda: read(tmp_path / "pipe.yaml"))
    assert str(refused).endswith("pipe.yaml: expected a file or directory, found a pipe or device")
    assert "-f -" in refused.hint


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("README.md", b"x", "expected a deployment file or a saved model"),
        ("notes.txt", b"hello", "expected a deployment file or a saved model"),
        ("my-app.py", b"", "expected the name of a Python module"),
        ("a.yaml", b"\xff\xfe\xff", "expected UTF-8 text"),
        ("a.yaml", b"#" * 2_000_000, "expected at most 1048576 bytes"),
    ],
)
def test_a_file_that_is_nothing_of_the_kind_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    assert message in str(refusal(lambda: read(tmp_path / name)))


def test_the_domain_ends_the_host_names(tmp_path):
    (tmp_path / "d.yaml").write_text(SMALL % "iris")
    (found,) = read(tmp_path / "d.yaml", domain="ml.test")
    assert ("iris.default.ml.test", "iris.default.localhost") in [route.hosts for route in found.routes]

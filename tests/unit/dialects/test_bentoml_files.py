from pathlib import Path

import pytest

from tiffin.dialects import bentoml, parse
from tiffin.errors import SpecError
from tiffin.spec import EndpointDescription, Resources, ServiceDescription

SAMPLES = Path(__file__).parent / "samples"


def refusal(text: str) -> SpecError:
    with pytest.raises(SpecError) as caught:
        bentoml.parse(text, "bentofile.yaml")
    return caught.value


def test_every_field_of_a_build_file_is_kept():
    found = bentoml.parse((SAMPLES / "bentofile.yaml").read_text(), "bentofile.yaml")
    assert (found.service, found.name) == ("service:IrisClassifier", "iris-bento")
    assert found.description == "file: ./README.md"
    assert found.labels == {"owner": "data-team", "stage": "dev"}
    assert found.include == ("*.py", "models/*.joblib")
    assert found.exclude == ("tests/",)
    assert found.envs == (
        bentoml.Variable(name="OMP_NUM_THREADS", value="2"),
        bentoml.Variable(name="HF_TOKEN"),
        bentoml.Variable(name="PIP_CACHE", value="off", stage="build"),
    )
    assert found.python == bentoml.PythonOptions(
        requirements_txt="./requirements.txt",
        packages=("scikit-learn",),
        lock_packages=False,
        index_url="https://packages.example.com/simple",
        no_index=False,
        trusted_host=("packages.example.com",),
        find_links=("https://packages.example.com/links",),
        extra_index_url=("https://other.example.com/simple",),
        pip_args="--pre",
    )
    assert found.docker.env == {"BENTOML_PORT": "3000"}
    assert found.docker.python_version == "3.11"


def test_what_a_build_file_asks_of_an_image_is_listed():
    found = bentoml.parse((SAMPLES / "bentofile.yaml").read_text(), "bentofile.yaml")
    assert [warning.path for warning in found.warnings] == [
        "docker.distro",
        "docker.python_version",
        "docker.system_packages",
        "envs",
    ]


def test_models_arguments_and_conda_are_kept_and_listed():
    text = "models: [a:1, {tag: b:2, alias: b}]\nargs: {x: 1}\nconda: {channels: [c], dependencies: [d], pip: [p]}"
    found = bentoml.parse(text)
    assert found.models == (bentoml.ModelReference(tag="a:1"), bentoml.ModelReference(tag="b:2", alias="b"))
    assert found.args == {"x": 1}
    assert found.conda == bentoml.CondaOptions(channels=("c",), dependencies=("d",), pip=("p",))
    assert [warning.path for warning in found.warnings] == ["models", "conda"]


@pytest.mark.parametrize(
    ("env", "expected", "file"),
    [
        ("{A: 1, B: x}", {"A": "1", "B": "x"}, ""),
        ("[A=1, B=x=y]", {"A": "1", "B": "x=y"}, ""),
        (".env", {}, ".env"),
    ],
)
def test_the_environment_of_an_image_has_three_forms(env, expected, file):
    found = bentoml.parse(f"docker: {{env: {env}}}").docker
    assert (found.env, found.env_file) == (expected, file)


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        ("servicee: a:B", "servicee", 'did you mean "service"?'),
        ("python: {requirement_txt: a}", "python.requirement_txt", 'did you mean "requirements_txt"?'),
        ("python: {packages: numpy}", "python.packages", "expected a list"),
        ("service: a b", "service", 'expected "module:Name", found "a b"'),
        ("service: 1", "service", "expected a string"),
        ("name: 'a b'", "name", "expected letters"),
        ("include: [../secret]", "include[0]", "expected a pattern below the directory"),
        ("envs: [{value: x}]", "envs[0].name", "required"),
        ("envs: [{name: A, value: [x]}]", "envs[0].value", "expected a string, found a list"),
        ("envs: [{name: A, stage: later}]", "envs[0].stage", 'expected "all", "build" or "runtime"'),
        ("envs: [{name: A=B, value: x}]", "envs[0].name", "expected the name of a variable"),
        ("docker: {env: [A]}", "docker.env[0]", "expected NAME=value"),
        ("models: [{alias: x}]", "models[0].tag", "required"),
        ("args: [1]", "args", "expected a mapping"),
        ("- a", None, "expected a mapping, found a list"),
        ("a: 1\n---\nb: 1", None, "expected one document"),
    ],
)
def test_a_slip_in_a_build_file_is_refused_by_its_path(text, at, message):
    error = refusal(text)
    assert (error.at, message in error.message) == (at, True), str(error)


def test_a_pyproject_adds_its_name_and_dependencies():
    text = '[project]\nname = "Iris"\ndependencies = ["numpy"]\n[tool.bentoml.build]\nservice = "service:Iris"\n'
    found = bentoml.parse_pyproject(text + '[tool.bentoml.build.python]\npackages = ["pandas"]\n')
    assert (found.service, found.project_name) == ("service:Iris", "Iris")
    assert found.python.packages == ("pandas", "numpy")
    assert bentoml.deployment(found, ".").name == "iris"


@pytest.mark.parametrize("text", ["", "[tool.ruff]\nline-length = 1", "tool = 1"])
def test_a_pyproject_of_something_else_is_none_of_ours(text):
    assert bentoml.parse_pyproject(text) is None


def test_an_unknown_field_of_a_pyproject_is_refused_by_its_whole_path():
    with pytest.raises(SpecError) as caught:
        bentoml.parse_pyproject('[tool.bentoml.build]\nservicee = "a:B"')
    assert caught.value.at == "tool.bentoml.build.servicee"


@pytest.mark.parametrize("text", ["[", "a = nan\n[tool.bentoml.build]\nservice = 2024-01-01", "a = " + "[" * 5000])
def test_a_malformed_pyproject_is_refused(text):
    with pytest.raises(SpecError):
        bentoml.parse_pyproject(text)


@pytest.mark.parametrize(
    ("written", "target", "name", "derived"),
    [
        ("service: service:Iris", "service:Iris", "iris", True),
        ("service: service.py:IrisClassifier", "service:IrisClassifier", "iris_classifier", True),
        ("service: ./src/app.py:HTTPModel", "src.app:HTTPModel", "http_model", True),
        ("service: service:Outer.inner", "service:Outer.inner", "inner", True),
        ("service: service", "service", "my_dir", True),
        ("{}", "service", "my_dir", True),
        ("", "service", "my_dir", True),
        ("service: service:Iris\nname: Flowers", "service:Iris", "flowers", False),
    ],
)
def test_a_service_is_called_after_its_class_unless_named(written, target, name, derived):
    found = bentoml.deployment(bentoml.parse(written), "/x/my-dir")
    assert (found.components[0].source.target, found.name, found.derived_name) == (target, name, derived)


def test_a_service_gets_the_variables_of_its_run_time():
    found = bentoml.parse((SAMPLES / "bentofile.yaml").read_text())
    assert bentoml.deployment(found, ".").components[0].environment == {
        "OMP_NUM_THREADS": "2",
        "BENTOML_PORT": "3000",
    }


def test_a_src_layout_puts_src_on_the_path():
    found = bentoml.parse("python: {is_src_layout: true}\nenvs: [{name: PYTHONPATH, value: /lib}]")
    assert bentoml.deployment(found, "/x").components[0].environment == {"PYTHONPATH": "/x/src:/lib"}


DESCRIPTION = ServiceDescription(
    name="IrisClassifier",
    target="service:IrisClassifier",
    endpoints=(
        EndpointDescription(name="predict", route="/predict"),
        EndpointDescription(name="train", route="/train", is_task=True),
    ),
    timeout_seconds=30.0,
    workers="cpu_count",
    threads=4,
    max_concurrency=8,
    cpu=2.0,
    environment={"A": "decorator", "B": "decorator"},
    labels={"from": "decorator"},
    warnings=("unknown key foo",),
)


def test_a_description_fills_in_what_the_decorator_says():
    config = bentoml.parse("service: service\nenvs: [{name: A, value: file}]\nlabels: {owner: me}")
    found = bentoml.with_description(bentoml.deployment(config, "/x/dir"), DESCRIPTION)
    (component,) = found.components
    assert (found.name, found.derived_name) == ("iris_classifier", True)
    assert component.source.target == "service:IrisClassifier"
    assert (component.timeout_seconds, component.workers, component.threads) == (30.0, "cpu", 4)
    assert (component.max_concurrency, component.resources) == (8, Resources(cpu=2.0))
    assert component.environment == {"A": "file", "B": "decorator"}
    assert found.labels == {"from": "decorator", "owner": "me"}
    assert [str(warning) for warning in found.warnings] == ["service:IrisClassifier: unknown key foo"]


def test_what_the_file_sets_counts_before_the_decorator():
    text = (
        "apiVersion: tiffin.dev/v1\nkind: Deployment\nmetadata: {name: flowers}\nspec:\n  service: service:Iris\n"
    )
    text += "  workers: 2\n  timeout: 5\n  replicas: 3\n  threads: 1\n  resources: {cpu: 1, memory: 1Gi}\n"
    (written,) = parse(text)
    found = bentoml.with_description(written, DESCRIPTION)
    (component,) = found.components
    assert (found.name, component.replicas, component.workers, component.threads) == ("flowers", 3, 2, 1)
    assert (component.timeout_seconds, component.max_concurrency) == (5.0, 8)
    assert component.resources == Resources(cpu=1.0, memory_bytes=2**30)
    assert "/predict" in [route.path for route in found.routes]


def test_a_described_service_has_its_endpoints_at_the_root():
    found = bentoml.with_description(bentoml.deployment(bentoml.parse("service: s:I"), "/x"), DESCRIPTION)
    shared = {route.path: route.exact for route in found.routes if route.shared}
    assert shared == {
        "/predict": True,
        "/train": False,
        "/v2/models/iris_classifier": False,
        "/v2": True,
        "/v2/health/live": True,
        "/v2/health/ready": True,
        "/schema.json": True,
        "/docs.json": True,
        "/readyz": True,
        "/livez": True,
        "/healthz": True,
    }
    own = {(route.path, route.hosts) for route in found.routes if not route.shared}
    assert own == {
        ("/default/iris_classifier", ()),
        ("/", ("iris-classifier.default.example.com", "iris-classifier.default.localhost")),
    }


@pytest.mark.parametrize(
    ("written", "described", "name", "derived"),
    [
        ("service: s:Iris", "Iris", "iris", True),
        ("service: s:Iris", "flower-service", "flower_service", False),
        ("service: s:Iris\nname: mine", "flower-service", "mine", False),
    ],
)
def test_a_name_in_the_decorator_counts_as_written(written, described, name, derived):
    description = ServiceDescription(name=described, target="s:Iris")
    found = bentoml.with_description(bentoml.deployment(bentoml.parse(written), "/x"), description)
    assert (found.name, found.derived_name) == (name, derived)


def test_a_service_without_a_time_out_has_that_of_bentoml():
    description = ServiceDescription(name="Iris", target="s:Iris")
    found = bentoml.with_description(bentoml.deployment(bentoml.parse("service: s:Iris"), "/x"), description)
    assert found.components[0].timeout_seconds == 60.0

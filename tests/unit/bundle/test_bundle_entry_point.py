"""Which class is served when nobody says so."""

import pytest

from tiffin.bundle import plan
from tiffin.errors import BundleError

PREDICTS = "class {}:\n    def predict(self, X):\n        return X\n"
BENTO = """\
import bentoml

@bentoml.service(resources={{'cpu': '2'}})
class {}:
    @bentoml.api
    def predict(self, x): ...
"""


def made(root, files, **options):
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    found = plan(root, **options)
    return found.manifest.kind, found.manifest.target


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"Iris.py": PREDICTS.format("Iris")}, ("class", "Iris:Iris")),
        ({"model.py": PREDICTS.format("Iris")}, ("class", "model:Iris")),
        ({"Iris.py": PREDICTS.format("Iris"), "old.py": PREDICTS.format("Old")}, ("class", "Iris:Iris")),
        ({"Iris.py": PREDICTS.format("Iris") + PREDICTS.format("Helper")}, ("class", "Iris:Iris")),
        ({"a.py": PREDICTS.format("_Base") + PREDICTS.format("Iris")}, ("class", "a:Iris")),
        ({"pkg/model.py": PREDICTS.format("Iris"), "pkg/__init__.py": ""}, ("class", "pkg.model:Iris")),
        ({"T.py": "class T:\n    def transform_input(self, X): ..."}, ("class", "T:T")),
        (
            {
                "a.py": PREDICTS.format("A"),
                "b.py": PREDICTS.format("B"),
                ".s2i/environment": "API_TYPE=REST\nMODEL_NAME=b.B\n",
            },
            ("class", "b:B"),
        ),
        (
            {"A.py": PREDICTS.format("A"), "B.py": PREDICTS.format("B"), ".s2i/environment": "MODEL_NAME=B"},
            ("class", "B:B"),
        ),
        (
            {
                "A.py": PREDICTS.format("A"),
                "B.py": PREDICTS.format("B"),
                "Dockerfile": "FROM x\nENV MODEL_NAME B\n",
            },
            ("class", "B:B"),
        ),
        (
            {
                "A.py": PREDICTS.format("A"),
                "B.py": PREDICTS.format("B"),
                "Dockerfile": 'ENV SERVICE_TYPE=MODEL \\\n  MODEL_NAME="B"\n',
            },
            ("class", "B:B"),
        ),
        ({"service.py": BENTO.format("Iris")}, ("service", "service:Iris")),
        ({"service.py": BENTO.format("Iris"), "Other.py": PREDICTS.format("Other")}, ("service", "service:Iris")),
        (
            {"service.py": BENTO.format("Iris"), "bentofile.yaml": "service: 'service:Iris'\n"},
            ("service", "service:Iris"),
        ),
        (
            {"service.py": BENTO.format("Iris"), "bentofile.yaml": "service: service.py\n"},
            ("service", "service:Iris"),
        ),
        ({"Iris.py": PREDICTS.format("Iris"), "broken.py": "class ("}, ("class", "Iris:Iris")),
    ],
)
def test_the_class_is_found(tmp_path, files, expected):
    assert made(tmp_path, files) == expected


@pytest.mark.parametrize(
    ("target", "expected"),
    [("Iris", "Iris:Iris"), ("Iris:Iris", "Iris:Iris"), ("other.Other", "other:Other"), ("Iris.py", "Iris:Iris")],
)
def test_the_class_may_be_named(tmp_path, target, expected):
    files = {"Iris.py": PREDICTS.format("Iris"), "other.py": PREDICTS.format("Other")}
    assert made(tmp_path, files, target=target) == ("class", expected)


@pytest.mark.parametrize(
    ("files", "options", "text"),
    [
        ({"a.txt": ""}, {}, "expected a class with predict or @service"),
        ({"a.py": PREDICTS.format("A"), "b.py": PREDICTS.format("B")}, {}, "found 2: a:A, b:B"),
        ({"A.py": PREDICTS.format("A")}, {"target": "Nope"}, "expected Nope.py for 'Nope:Nope' (--target)"),
        (
            {"A.py": PREDICTS.format("A")},
            {"target": "A:B"},
            "expected class B (--target), found none of that name",
        ),
        (
            {"A.py": PREDICTS.format("A"), ".s2i/environment": "MODEL_NAME=B"},
            {},
            "(MODEL_NAME in .s2i/environment)",
        ),
        ({"A.py": PREDICTS.format("A"), ".s2i/environment": "MODEL_NAME=?"}, {}, "expected module:Class"),
        ({"A.py": PREDICTS.format("A")}, {"kind": "service"}, "expected a class with @service"),
        ({"s.py": BENTO.format("A"), "bentofile.yaml": "service: 'x:A'"}, {}, "(service in bentofile.yaml)"),
        (
            {"s.py": BENTO.format("A"), "bentofile.yaml": "service: 's:A'\npython: {requirements_txt: r.txt}"},
            {},
            "expected r.txt",
        ),
    ],
)
def test_what_is_unclear_is_told(tmp_path, files, options, text):
    with pytest.raises(BundleError) as caught:
        made(tmp_path, files, **options)
    assert text in str(caught.value)


def test_a_class_that_is_imported_or_made_counts(tmp_path):
    assert made(tmp_path, {"Iris.py": "from lib import Iris\n", "lib.py": ""}, target="Iris") == (
        "class",
        "Iris:Iris",
    )


def test_sources_are_not_run(tmp_path):
    made(tmp_path, {"Iris.py": f"open({str(tmp_path / 'ran')!r}, 'w')\n" + PREDICTS.format("Iris")})
    assert not (tmp_path / "ran").exists()


def test_a_bentofile_fills_the_manifest(tmp_path):
    files = {
        "service.py": BENTO.format("Iris"),
        "notes.txt": "",
        "requirements.txt": "numpy\r\nscikit-learn==1.5\r\n",
        "bentofile.yaml": """
service: "service:Iris"
labels: {owner: team}
include: ["*.py"]
envs: [{name: A, value: "1"}, {name: B, stage: build, value: "2"}]
python: {requirements_txt: ./requirements.txt}
""",
    }
    for path, text in files.items():
        (tmp_path / path).write_text(text)
    found = plan(tmp_path)
    assert [file.path for file in found.manifest.files] == ["service.py"]
    assert found.manifest.requirements == "numpy\nscikit-learn==1.5\n"
    assert (found.manifest.labels, found.manifest.environment) == ({"owner": "team"}, {"A": "1"})
    assert found.name == "iris"


def test_a_src_layout_moves_to_the_top(tmp_path):
    files = {
        "src/app/svc.py": BENTO.format("Iris"),
        "bentofile.yaml": "service: 'app.svc:Iris'\npython: {is_src_layout: true}",
    }
    assert made(tmp_path, files) == ("service", "app.svc:Iris")
    assert [file.path for file in plan(tmp_path).manifest.files] == ["app/svc.py", "bentofile.yaml"]

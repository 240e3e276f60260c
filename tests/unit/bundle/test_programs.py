"""Programs are found by what they start, and never run."""

from pathlib import Path

import pytest

from tiffin.bundle import BundleStore, plan, programs
from tiffin.errors import BundleError

MODEL = """
import kserve

class Scale(kserve.Model):
    def predict(self, payload, headers=None):
        return payload

if __name__ == "__main__":
    kserve.ModelServer().start([Scale("scale")])
"""


def tree(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_py", ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_module_that_starts_a_model_server_is_the_program(tmp_path: Path) -> None:
    made = plan(tree(tmp_path, model_py=MODEL, helper_py="import numpy"))
    assert (made.manifest.kind, made.manifest.target) == ("program", "python model.py")
    assert b'"arguments"' not in made.manifest.encode()


def test_of_two_such_modules_one_has_to_be_named(tmp_path: Path) -> None:
    root = tree(tmp_path, model_py=MODEL, other_py=MODEL)
    with pytest.raises(BundleError, match=r"found 2: model\.py, other\.py"):
        plan(root)
    assert plan(root, target="other.py").manifest.target == "python other.py"
    assert plan(root, target="python -m model --x").manifest.target == "python -m model --x"


@pytest.mark.parametrize(
    ("dockerfile", "target", "arguments"),
    [
        ('ENTRYPOINT ["python", "-m", "model"]\nCMD ["--factor", "2"]', "python -m model", ("--factor", "2")),
        ('CMD ["python", "model.py", "--factor=2"]', "python model.py --factor=2", ()),
        ("ENTRYPOINT python model.py", "python model.py", ()),
        ("FROM a AS one\nENTRYPOINT nope\nFROM b\nCMD python \\\n  model.py", "python model.py", ()),
        ("CMD exec python model.py --port $PORT", "/bin/sh -c 'exec python model.py --port $PORT'", ()),
    ],
)
def test_a_dockerfile_says_how_it_starts(
    dockerfile: str, target: str, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    root = tree(tmp_path, model_py=MODEL, Dockerfile=dockerfile)
    manifest = plan(root).manifest
    assert manifest.target == target
    assert (manifest.arguments or ()) == arguments


def test_any_server_is_a_program_when_a_procfile_says_so(tmp_path: Path) -> None:
    root = tree(tmp_path, app_py="print()", Procfile="web: python app.py")
    assert plan(root).manifest.kind == "program"
    assert not programs.uses_kserve(root)


def test_a_program_that_is_not_there_is_refused(tmp_path: Path) -> None:
    root = tree(tmp_path, model_py=MODEL, Dockerfile='ENTRYPOINT ["python", "other.py"]')
    with pytest.raises(BundleError, match=r"expected other.py for `python other.py`"):
        plan(root)
    with pytest.raises(BundleError, match="expected a program"):
        plan(tree(tmp_path / "empty", a_py="x = 1"), kind="program")


def test_a_module_that_is_installed_needs_no_file(tmp_path: Path) -> None:
    root = tree(tmp_path, app_py="x = 1")
    assert plan(root, target="python -m gunicorn app:x").manifest.target == "python -m gunicorn app:x"


def test_a_program_with_arguments_is_the_same_bundle_when_read_again(tmp_path: Path) -> None:
    root = tree(tmp_path / "src", model_py=MODEL, Dockerfile='ENTRYPOINT ["python", "model.py"]\nCMD ["--a"]')
    store = BundleStore(tmp_path / "store")
    built = store.build(root, tag="scale:v1")
    assert store.get("scale:v1").manifest == built.manifest
    assert built.manifest.arguments == ("--a",)


def test_imports_of_kserve_are_seen_however_they_are_written(tmp_path: Path) -> None:
    for index, line in enumerate(
        ["import kserve", "from kserve.model import Model", "def f():\n    import kserve.errors"]
    ):
        assert programs.uses_kserve(tree(tmp_path / str(index), a_py=line)), line
    assert not programs.uses_kserve(tree(tmp_path / "none", a_py="from .kserve import x\nimport kserved"))

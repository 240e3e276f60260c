"""``tiffin build``, ``list``, ``get`` and ``delete``."""

import json
import re
from pathlib import Path

import pytest

from tiffin.cli import frame

PLAIN = "class Iris:\n    def predict(self, X):\n        return X\n"


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TIFFIN_HOME", str(tmp_path / "home"))
    directory = tmp_path / "iris"
    directory.mkdir()
    (directory / "Iris.py").write_text(PLAIN)
    monkeypatch.chdir(directory)
    return directory


def test_a_bundle_is_built_listed_shown_and_deleted(sources: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.run(["build", "-t", "iris-image:v0.1", str(sources)]) == 0
    said = capsys.readouterr()
    assert said.out == "built iris-image:v0.1 (class Iris:Iris, 1 file)\n"
    assert "the only class with predict" in said.err
    assert frame.run(["list"]) == 0
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["TAG", "KIND", "TARGET", "SIZE", "CREATED", "DIGEST"]
    assert row.split()[:3] == ["iris-image:v0.1", "class", "Iris:Iris"]
    assert frame.run(["get", "iris-image:v0.1"]) == 0
    assert "Iris.py" in capsys.readouterr().out
    assert frame.run(["delete", "iris-image:v0.1"]) == 0
    assert capsys.readouterr().out == "deleted iris-image:v0.1\n"
    assert frame.run(["list"]) == 0
    assert capsys.readouterr().out == ""


def test_the_tag_alone_is_for_scripts(sources: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.run(["build", "-o", "tag"]) == 0
    assert re.fullmatch(r"__tag__:iris:[0-9a-f]{12}\n", capsys.readouterr().out)


def test_json_is_one_value_on_stdout(sources: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*arguments: str) -> object:
        assert frame.run(arguments) == 0
        return json.loads(capsys.readouterr().out)

    built = said("build", "-t", "iris:1", "--json")
    assert isinstance(built, dict)
    assert (built["tag"], built["kind"], built["target"], built["files"]) == ("iris:1", "class", "Iris:Iris", 1)
    [listed] = said("list", "--json")  # type: ignore[misc]
    assert (listed["tag"], f"sha256:{listed['digest']}") == ("iris:1", built["digest"])
    shown = said("get", "iris", "--json")
    assert isinstance(shown, dict)
    assert shown["manifest"]["files"][0]["path"] == "Iris.py"
    assert said("delete", "iris:1", "--json") == [{"tag": "iris:1", "content": True}]


def test_the_list_may_be_of_one_name(sources: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for tag in ("a:1", "b:1"):
        assert frame.run(["build", "-t", tag, "-o", "tag"]) == 0
    capsys.readouterr()
    assert frame.run(["list", "b", "--json"]) == 0
    assert [tagged["tag"] for tagged in json.loads(capsys.readouterr().out)] == ["b:1"]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["get", "nope:1"], 1, "there is no bundle nope:1"),
        (["delete", "nope:1"], 1, "there is no bundle nope:1"),
        (["build", "-t", "../x"], 1, "expected name:version"),
        (["build", "missing"], 1, "expected a directory, found nothing"),
        (["build", "--target", "Other"], 1, "expected Other.py"),
        (["build", "-f", "missing.yaml"], 1, "expected a bentofile, found nothing"),
        (["build", "--kind", "bento"], 2, "bento"),
    ],
)
def test_what_cannot_be_done_is_told(
    sources: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, text: str
) -> None:
    assert frame.run(arguments) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert text in said.err


def test_a_field_of_a_build_file_without_effect_is_a_warning(
    sources: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sources / "service.py").write_text("import bentoml\n@bentoml.service\nclass Iris: ...\n")
    (sources / "bentofile.yaml").write_text("service: 'service:Iris'\ndocker: {cuda_version: 12.1}\n")
    assert frame.run(["build", "-o", "tag"]) == 0
    assert "docker.cuda_version: is not acted on" in capsys.readouterr().err


def test_bundles_is_a_command_of_its_own(sources: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.run(["build", "-t", "iris:1", "-o", "tag"]) == 0
    capsys.readouterr()
    for arguments in (["bundles"], ["bundles", "list"], ["bundles", "list", "iris"]):
        assert frame.run(arguments) == 0
        assert "iris:1" in capsys.readouterr().out
    assert frame.run(["bundles", "get", "iris:1"]) == 0
    assert "Iris.py" in capsys.readouterr().out
    assert frame.run(["bundles", "get"]) == 1
    assert "expected a tag" in capsys.readouterr().err
    assert frame.run(["bundles", "delete", "iris:1"]) == 0
    assert capsys.readouterr().out == "deleted iris:1\n"


def test_a_name_that_only_a_bundle_has_is_shown_as_one(sources: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.run(["build", "-t", "iris:1", "-o", "tag"]) == 0
    capsys.readouterr()
    assert frame.run(["get", "iris"]) == 0
    said = capsys.readouterr()
    assert "Iris.py" in said.out
    assert "iris is no deployment" in said.err
    assert "this is the bundle of that name" in said.err
    # Who writes the kind means that kind.
    assert frame.run(["get", "deployments", "iris"]) == 1
    assert "no controller runs" in capsys.readouterr().err


def test_a_bundle_is_deleted_by_its_whole_tag_only(sources: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.run(["build", "-t", "iris:1", "-o", "tag"]) == 0
    capsys.readouterr()
    assert frame.run(["delete", "iris"]) == 1
    assert "`tiffin delete iris:VERSION` deletes a bundle" in capsys.readouterr().err
    assert frame.run(["list"]) == 0
    assert "iris:1" in capsys.readouterr().out

"""``tiffin build``, ``list``, ``get``, ``models``, ``export``, ``import`` and ``prune``, as users type them."""

import json

import pytest

from tiffin.cli import frame

SERVICE = (
    "import tiffin\n\n@tiffin.service\nclass Echo:\n    @tiffin.api\n    def echo(self, text: str) -> str: ...\n"
)


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("TIFFIN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    directory = tmp_path / "project"
    directory.mkdir()
    (directory / "service.py").write_text(SERVICE)
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def run(capsys):
    def call(*arguments, status=0):
        assert frame.run(list(arguments)) == status, capsys.readouterr().err
        return capsys.readouterr()

    return call


def test_a_build_is_called_as_bentoml_calls_it(project, run):
    said = run("build", "service:Echo", "--name", "echo", "--version", "1", "--label", "a=b", "-o", "tag")
    assert said.out == "__tag__:echo:1\n"
    assert json.loads(run("get", "echo:1", "-o", "json").out)["labels"] == {"a": "b"}
    assert run("build", "--version", "2", "-o", "tag").out == "__tag__:echo:2\n"
    path = run("get", "echo:1", "-o", "path").out.strip()
    assert path.startswith(str(project.parent / "home"))
    assert "manifest:" in run("get", "echo:1", "-o", "yaml").out


def test_a_tag_that_exists_is_moved_only_when_that_is_said(project, run):
    run("build", "-t", "echo:1")
    run("build", "-t", "echo:1")
    (project / "service.py").write_text(SERVICE + "\n")
    assert "the tag echo:1 leads to another bundle already" in run("build", "-t", "echo:1", status=1).err
    before = json.loads(run("list", "--json").out)
    run("build", "-t", "echo:1", "--force")
    assert json.loads(run("list", "--json").out) != before
    run("build", "-t", "echo:latest")
    (project / "service.py").write_text(SERVICE)
    assert run("build", "-t", "echo:latest", "-o", "tag").out == "__tag__:echo:latest\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--label", "a"], "expected --label KEY=VALUE, found 'a'"),
        (["--max-size", "big"], "expected a size such as 500MB"),
        (["-t", "a:1", "--name", "b"], "expected --tag, or --name and --version"),
        (["--arg", "x"], "expected --arg NAME=VALUE"),
        (["absent"], "expected a directory, found nothing"),
        (["-f", "absent.yaml"], "expected a bentofile, found nothing"),
    ],
)
def test_what_cannot_be_meant_is_said(project, run, arguments, message):
    assert message in run("build", *arguments, status=1).err


def test_lists_have_the_keys_of_bentoml(project, run):
    run("build", "-t", "echo:1")
    (row,) = json.loads(run("list", "-o", "json").out)
    assert list(row)[:4] == ["tag", "size", "model_size", "creation_time"]
    assert row["tag"] == "echo:1"
    assert row["size"].endswith(" B")
    assert isinstance(json.loads(run("list", "--json").out)[0]["size"], int)
    assert "tag: echo:1" in run("list", "-o", "yaml").out
    assert "expected -o to be one of" in run("list", "-o", "xml", status=1).err


def test_bentos_of_bentoml_are_listed_and_marked(project, run, tmp_path):
    bento = tmp_path / "bentoml/bentos/clf/abcd"
    bento.mkdir(parents=True)
    (bento / "bento.yaml").write_text("service: service:Clf\nname: clf\nversion: abcd\n")
    assert "service (bentoml)" in run("list").out
    assert json.loads(run("list", "--json").out)[0]["store"] == "bentoml"


def test_a_bundle_and_its_model_move_between_machines(project, run, tmp_path, monkeypatch):
    (project / "weights.txt").write_text("w")
    assert run("models", "save", "clf:1", "weights.txt", "--label", "a=b", "--run", "r1").out.startswith(
        "saved clf:1"
    )
    assert "run       r1" in run("models", "get", "clf:1").out
    (project / "bentofile.yaml").write_text("service: service:Echo\ninclude: ['*.py']\nmodels: [clf]\n")
    run("build", "-t", "echo:1")
    assert "is needed by echo:1" in run("models", "delete", "clf:1", status=1).err
    assert run("export", "echo:1", "out.tiffin").out == f"exported echo:1 to {project / 'out.tiffin'}\n"
    assert "something is there already" in run("export", "echo:1", "out.tiffin", status=1).err
    run("export", "echo:1", f"file://{tmp_path}/sent.tar.gz")
    run("models", "export", "clf", ".")
    monkeypatch.setenv("TIFFIN_HOME", str(tmp_path / "other"))
    assert run("import", "out.tiffin").out == "imported echo:1, which needs 1 model\n"
    assert run("import", f"file://{tmp_path}/sent.tar.gz", "-t", "sent:1").out.startswith("imported sent:1")
    assert json.loads(run("models", "list", "--json").out)[0]["tag"] == "clf:1"
    assert run("models", "import", "clf-1.tiffinmodel", "-t", "again:1").out.startswith("imported again:1")
    assert "tiffin models import" in run("import", "clf-1.tiffinmodel", status=1).err


def test_several_versions_are_deleted_at_once_when_that_is_said(project, run):
    for version in ("1", "2", "3"):
        run("build", "-t", f"echo:{version}")
    assert "expected name:version" in run("bundles", "delete", "echo", status=1).err
    assert run("bundles", "delete", "echo:1,echo:2").out.count("deleted") == 2
    assert run("bundles", "delete", "echo", "-y").out == "deleted echo:3\n"
    (project / "w").write_text("w")
    run("models", "save", "m:1", "w")
    run("models", "save", "m:2", "w")
    assert run("models", "delete", "m", "--yes").out.count("deleted") == 2


def test_pruning_says_what_goes(project, run, tmp_path):
    (tmp_path / "home/bundles/.work-dead").mkdir(parents=True)
    (tmp_path / "home/bundles/.work-dead/half").write_text("x" * 10)
    assert "would delete unfinished work" in run("prune", "--dry-run").out
    assert json.loads(run("prune", "--json").out)[0]["size"] == 10
    assert "nothing to delete" in run("prune").err

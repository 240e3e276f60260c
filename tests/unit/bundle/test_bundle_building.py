"""A whole build: reproducible, complete, and with one clear message for what cannot be built."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest

from tiffin.bundle import BundleStore, building, locking, provenance
from tiffin.bundle.building import Wish
from tiffin.errors import BundleError, ModelError, ServiceError
from tiffin.kits.paths import DataDirectory
from tiffin.store.models import ModelStore
from tiffin.store.reference import Reference

SERVICE = """import tiffin

@tiffin.service(labels={"a": "decorator", "b": "decorator"}, envs=[{"name": "K", "value": "decorator"}])
class Echo:
    @tiffin.api
    def echo(self, text: str) -> str:
        return text
"""
MODEL = """import tiffin
from tiffin.models import BentoModel

@tiffin.service
class Uses:
    model = BentoModel("clf")

    @tiffin.api
    def echo(self, text: str) -> str:
        return text
"""


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("TIFFIN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    return DataDirectory(tmp_path / "home").make()


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "project"
    root.mkdir()
    (root / "service.py").write_text(SERVICE)
    return root


def wheel(directory, name, version, needs=()):
    """A package without content, as an index would have it."""
    directory.mkdir(exist_ok=True)
    path = directory / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    needed = "".join(f"Requires-Dist: {one}\n" for one in needs)
    with zipfile.ZipFile(path, "w") as packed:
        for file, text in {
            f"{name}.py": "",
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/RECORD": "",
        }.items():
            packed.writestr(zipfile.ZipInfo(file), text)
    return path


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A directory of wheels that pip and uv take for an index, and nothing beside it."""
    directory = tmp_path / "index"
    for name, version, needs in (("alpha", "1.0", ()), ("alpha", "1.1", ()), ("beta", "2.0", ("alpha",))):
        wheel(directory, name, version, needs)
    for variable, value in {
        "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(directory), "UV_NO_INDEX": "1", "UV_OFFLINE": "1",
        "UV_FIND_LINKS": str(directory),
    }.items():  # fmt: skip
        monkeypatch.setenv(variable, value)
    return directory


def prepared(root, home, **wish):
    return building.prepare(root, Wish(**wish), home)


def test_a_build_knows_the_service_its_origin_and_what_it_is_made_of(project, data):
    made = prepared(project, data)
    manifest = made.manifest
    assert manifest.format == 2
    assert manifest.target == "service:Echo"
    assert [route["route"] for route in manifest.schema["routes"]] == ["/echo"]
    assert manifest.provenance.builder.startswith("tiffin/")
    assert manifest.environment == {"K": "decorator"}
    assert made.sbom.startswith(b"{")
    tag, bundle = BundleStore(data.bundles).add(made, Reference("echo"))
    assert BundleStore(data.bundles).get(tag).manifest == bundle.manifest


def test_what_is_written_later_counts(project, data):
    (project / "bentofile.yaml").write_text(
        "service: service:Echo\nlabels: {a: file, c: file}\nenvs: [{name: K, value: file}, {name: B, value: x,"
        " stage: build}]\ndescription: 'file: ABOUT.md'\nargs: {size: 3}\n"
    )
    (project / "ABOUT.md").write_text("# Echo\n")
    manifest = prepared(project, data, labels={"c": "option"}, arguments={"depth": "2"}, data="s3://set").manifest
    assert manifest.labels == {"a": "file", "b": "decorator", "c": "option"}
    assert manifest.environment == {"K": "file", "TIFFIN_ARGS": '{"depth":"2","size":3}'}
    assert manifest.description == "# Echo\n"
    assert manifest.options == {"size": 3, "depth": "2"}
    assert manifest.provenance.data == "s3://set"
    assert "bentofile.yaml" in manifest.provenance.inputs


BUILD = """
import sys
from pathlib import Path
from tiffin.bundle import building
from tiffin.bundle.building import Wish
from tiffin.kits.paths import DataDirectory
made = building.prepare(Path(sys.argv[1]), Wish(), DataDirectory(Path(sys.argv[2])))
print(made.manifest.digest)
"""


def test_the_same_inputs_make_the_same_digest_wherever_and_however(project, data, index, tmp_path):
    (project / "requirements.txt").write_text("beta\n")
    (project / "bentofile.yaml").write_text(
        "service: service:Echo\nlabels: {z: '1', y: '2', x: '3'}\npython: {requirements_txt: requirements.txt}\n"
    )
    (project / "ä.txt").write_text("ä")
    copy = tmp_path / "somewhere" / "else"
    copy.mkdir(parents=True)
    before = os.umask(0o077)
    try:
        for file in sorted(project.iterdir(), reverse=True):
            shutil.copyfile(file, copy / file.name)
            os.utime(copy / file.name, (1, 1))
    finally:
        os.umask(before)
    digests = set()
    for number, (root, locale) in enumerate(((project, "C.UTF-8"), (copy, "C"), (copy, "POSIX"))):
        # Each with a data directory of its own: nothing is remembered between them.
        environment = {
            **os.environ, "PYTHONHASHSEED": str(number), "LC_ALL": locale, "TZ": f"UTC-{number}",
            "TIFFIN_HOME": str(tmp_path / f"home{number}"),
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", BUILD, str(root), str(tmp_path / f"home{number}")],
            env=environment, capture_output=True, text=True, check=True, cwd=root.parent,
        )  # fmt: skip
        digests.add(done.stdout)
    assert len(digests) == 1


# ---- the environment


def test_requirements_are_resolved_once_with_hashes(project, data, index):
    (project / "requirements.txt").write_text("beta  # what it needs comes along\n")
    first = prepared(project, data).manifest
    lines = first.recipe.locked.splitlines()
    assert [line.partition(" ")[0] for line in lines if "==" in line] == ["alpha==1.1", "beta==2.0"]
    assert all("--hash=sha256:" in line for line in lines[1::2])
    assert "index" not in first.recipe.locked
    assert first.recipe.platform == locking.host_platform()
    # A newer version is there now, and then no index at all: the lock that was made stands.
    wheel(index, "alpha", "9.0")
    assert prepared(project, data).manifest.digest == first.digest
    shutil.rmtree(index)
    assert prepared(project, data).manifest.digest == first.digest


def test_a_change_of_the_requirements_is_resolved_again(project, data, index):
    (project / "requirements.txt").write_text("beta\n")
    before = prepared(project, data).manifest.recipe.locked
    (project / "requirements.txt").write_text("beta\nalpha<1.1\n")
    after = prepared(project, data).manifest.recipe.locked
    assert "alpha==1.1" in before
    assert "alpha==1.0" in after


def test_constraints_and_nested_files_count(project, data, index):
    (project / "needs").mkdir()
    (project / "requirements.txt").write_text("-r needs/base.txt\n")
    (project / "needs/base.txt").write_text("-c pins.txt\nbeta\n")
    (project / "needs/pins.txt").write_text("alpha==1.0\n")
    manifest = prepared(project, data).manifest
    assert "alpha==1.0" in manifest.recipe.locked
    assert manifest.requirements == "beta\n"
    assert set(manifest.provenance.inputs) == {"requirements.txt", "needs/base.txt", "needs/pins.txt"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nowhere-gamma\n", "cannot be resolved .* nowhere-gamma"),
        ("alpha==7\n", "cannot be resolved .* alpha==7"),
        ("-r absent.txt\n", r"expected the requirements file absent.txt \(requirements.txt names it\)"),
        ("-r requirements.txt\n", "requirements.txt includes requirements.txt"),
        ("-r ../out.txt\n", "inside the directory"),
        ("alpha===\n", "cannot be resolved"),
    ],
)
def test_requirements_that_cannot_be_met_are_said(project, data, index, text, message):
    (project / "requirements.txt").write_text(text)
    with pytest.raises(BundleError, match=message):
        prepared(project, data)
    assert BundleStore(data.bundles).list() == []


def test_a_requirements_file_that_is_missing_is_said(project, data):
    (project / "bentofile.yaml").write_text("service: service:Echo\npython: {requirements_txt: needs.txt}\n")
    with pytest.raises(BundleError, match=r"needs\.txt"):
        prepared(project, data)


@pytest.mark.parametrize("how", ["option", "bentofile"])
def test_nothing_is_resolved_when_nobody_wants_it(project, data, how):
    (project / "requirements.txt").write_text("nowhere-to-be-found\n")
    if how == "bentofile":
        (project / "bentofile.yaml").write_text(
            "service: service:Echo\npython: {requirements_txt: requirements.txt, lock_packages: false}\n"
        )
    manifest = prepared(project, data, is_locking=how != "option").manifest
    assert manifest.requirements == "nowhere-to-be-found\n"
    assert manifest.recipe.locked == ""


HASH = "sha256:" + "0" * 64


@pytest.mark.parametrize("name", ["requirements.txt", "requirements.lock", "requirements.lock.txt"])
def test_an_authors_own_lock_is_taken_as_it_is(project, data, name):
    (project / "requirements.txt").write_text("nowhere\n")
    (project / name).write_text(f"# mine\nzeta==2.0 \\\n    --hash={HASH}\nnowhere==1.0 --hash={HASH}\n")
    recipe = prepared(project, data).manifest.recipe
    assert recipe.locked == f"nowhere==1.0 \\\n    --hash={HASH}\nzeta==2.0 \\\n    --hash={HASH}\n"


def test_a_lock_with_a_line_that_is_not_pinned_is_refused(project, data):
    (project / "requirements.txt").write_text("nowhere\n")
    (project / "requirements.lock").write_text(f"nowhere==1.0 --hash={HASH}\nzeta\n")
    with pytest.raises(BundleError, match="every requirement with == and a hash"):
        prepared(project, data)


def test_a_wheel_of_the_directory_is_named_with_its_hash(project, data):
    wheel(project / "wheels", "own", "1.0")
    (project / "bentofile.yaml").write_text(
        "service: service:Echo\ninclude: ['*.py']\npython: {wheels: [wheels/own-1.0-py3-none-any.whl]}\n"
    )
    manifest = prepared(project, data).manifest
    assert "./wheels/own-1.0-py3-none-any.whl" in manifest.recipe.locked
    assert "--hash=sha256:" in manifest.recipe.locked
    assert "wheels/own-1.0-py3-none-any.whl" in [file.path for file in manifest.files]


def test_what_the_author_says_of_indexes_is_kept(project, data, index):
    (project / "bentofile.yaml").write_text(
        f"service: service:Echo\npython: {{packages: [alpha], no_index: true, find_links: {index}}}\n"
    )
    assert prepared(project, data).manifest.recipe.locked.startswith(
        f"--no-index\n--find-links {index}\nalpha==1.1"
    )


# ---- the image


def test_the_image_of_the_decorator_becomes_the_recipe(project, data):
    (project / "setup.sh").write_text("#!/bin/bash\necho hi\n")
    (project / "service.py").write_text(
        SERVICE.replace("(labels", "(image=IMAGE, labels").replace(
            "@tiffin.service",
            "IMAGE = (tiffin.images.Image(base_image='debian:12', python_version='3.12.1')"
            ".system_packages('git', 'curl').run('before').run_script('setup.sh')"
            ".python_packages('alpha').run('after').build_include('*.sh'))\n\n"
            "@tiffin.service",
            1,
        )
    )
    manifest = prepared(project, data, is_locking=False).manifest
    recipe = manifest.recipe
    assert recipe.base_image == "debian:12"
    assert manifest.python == "3.12"
    assert recipe.system_packages == ("git", "curl")
    assert recipe.commands == ("before", "/bin/bash ./setup.sh")
    assert recipe.post_commands == ("after",)
    assert recipe.build_include == ("/setup.sh", "*.sh")
    assert manifest.requirements == "alpha\n"


def test_docker_options_of_a_build_file_are_honoured_or_named(project, data):
    (project / "env.txt").write_text("# comment\nA=1\nB='two'\n")
    (project / "bentofile.yaml").write_text(
        "service: service:Echo\ndocker: {distro: alpine, python_version: '3.12', system_packages: [git],"
        " base_image: debian, env: env.txt, cuda_version: '12.1', dockerfile_template: x.j2}\n"
    )
    made = prepared(project, data)
    assert made.manifest.recipe.distro == "alpine"
    assert made.manifest.recipe.system_packages == ("git",)
    assert made.manifest.environment == {"A": "1", "B": "two", "K": "decorator"}
    assert {warning.path for warning in made.warnings} == {"docker.cuda_version", "docker.dockerfile_template"}


def test_a_script_outside_of_the_directory_is_refused(project, data):
    (project / "bentofile.yaml").write_text("service: service:Echo\ndocker: {setup_script: ../x.sh}\n")
    with pytest.raises(BundleError, match=r"expected a file inside the directory, found '\.\./x\.sh'"):
        prepared(project, data)


# ---- models


def test_models_are_pinned_by_digest(project, data):
    (project / "service.py").write_text(MODEL)
    store = ModelStore(data.models)
    with pytest.raises(ModelError, match="there is no model clf"):
        prepared(project, data)
    for version in ("1", "2"):
        with store.create(f"clf:{version}", labels={"stage": "good"} if version == "1" else {}) as draft:
            (draft.path / "w").write_text(version)
    os.utime(data.models / "tags/clf/1", (1, 1))
    (project / "bentofile.yaml").write_text(
        "service: service:Uses\nmodels: [{tag: clf, filter: 'label:stage=good', alias: main}]\n"
    )
    found = prepared(project, data).manifest.models
    assert [(one.tag, one.alias) for one in found] == [("clf:1", "main"), ("clf:2", "")]
    assert found[0].digest == store.get("clf:1").digest


def test_a_model_that_was_tampered_with_stops_the_build(project, data):
    (project / "service.py").write_text(MODEL)
    with ModelStore(data.models).create("clf:1") as draft:
        (draft.path / "w").write_text("x")
    (draft.stored.path / "w").write_text("evil")
    with pytest.raises(ModelError, match="w has changed"):
        prepared(project, data)


# ---- services that cannot be described


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nowhere_to_be_found\n" + SERVICE, "imports 'nowhere_to_be_found', which is not installed"),
        (SERVICE + "1 / 0\n", "ZeroDivisionError"),
        (SERVICE.replace("api", "api(route='/x')") + "    @tiffin.api(route='/x')\n    def b(self) -> str: ...\n",
         "have one route, '/x'"),
    ],
)  # fmt: skip
def test_a_service_that_cannot_be_served_is_not_built(project, data, text, message):
    (project / "service.py").write_text(text)
    with pytest.raises(ServiceError, match=message):
        prepared(project, data)


def test_without_importing_the_sources_are_enough(project, data):
    (project / "service.py").write_text("import nowhere_to_be_found\n" + SERVICE)
    made = prepared(project, data, is_importing=False)
    assert not made.manifest.schema
    assert "the bundle has no schema" in "".join(map(str, made.warnings))


def test_a_parameter_without_annotation_is_a_warning(project, data):
    (project / "service.py").write_text(SERVICE.replace("text: str", "text"))
    assert "text has no annotation" in "".join(map(str, prepared(project, data).warnings))


def test_more_than_the_limit_is_refused_with_the_offender(project, data):
    with (project / "weights.bin").open("wb") as file:
        file.truncate(5_000_000_000)
    with pytest.raises(BundleError, match=r"at most 4\.0 GB, found 5\.0 GB: weights\.bin \(5\.0 GB\)"):
        prepared(project, data)
    (project / "weights.bin").unlink()
    (project / "many").mkdir()
    for number in range(30):
        (project / f"many/{number}").write_bytes(b"x" * 1000)
    with pytest.raises(BundleError, match=r"many/ \(30 kB\)"):
        prepared(project, data, most_bytes=20_000)


def test_a_large_file_is_a_warning(project, data):
    with (project / "weights.bin").open("wb") as file:
        file.truncate(120_000_000)
    assert "weights.bin: is 120 MB" in "".join(map(str, prepared(project, data).warnings))


# ---- origin


def git(root, *arguments):
    subprocess.run(
        ["git", "-c", "user.name=x", "-c", "user.email=x@example.com", *arguments],
        cwd=root, check=True, capture_output=True,
    )  # fmt: skip


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed (apt install git)")
def test_the_commit_is_the_one_that_touched_the_directory(project, data, tmp_path):
    git(tmp_path, "init", "-q")
    git(tmp_path, "remote", "add", "origin", "git@Example.com:team/echo.git")
    git(tmp_path, "add", "project")
    git(tmp_path, "commit", "-q", "-m", "x")
    first = prepared(project, data).manifest.provenance
    assert (len(first.commit), first.dirty, first.repository) == (40, False, "https://example.com/team/echo")
    (tmp_path / "elsewhere.txt").write_text("")
    git(tmp_path, "add", "elsewhere.txt")
    git(tmp_path, "commit", "-q", "-m", "y")
    assert prepared(project, data).manifest.provenance == first
    (project / "service.py").write_text(SERVICE + "\n")
    assert prepared(project, data).manifest.provenance.dirty


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ("https://user:secret@github.com/team/x.git", "https://github.com/team/x"),
        ("git@github.com:team/x.git", "https://github.com/team/x"),
        ("ssh://git@host:2222/team/x", "https://host/team/x"),
        ("/srv/git/x.git", ""),
        ("file:///srv/git/x.git", ""),
        ("", ""),
    ],
)
def test_a_repository_has_one_name_and_no_secret(remote, expected):
    assert provenance.repository(remote) == expected

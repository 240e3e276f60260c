"""What an image says of itself, and the Dockerfile that says the same to an engine."""

from pathlib import Path

import pytest

from tiffin.bundle import Bundle
from tiffin.bundle.manifest import File, Manifest, Provenance, Recipe
from tiffin.errors import ImageError, ProcessError
from tiffin.image import building, config, contents, dockerfile, engines, members, platforms, system
from tiffin.image.base import SCRATCH, Base
from tiffin.image.layers import Layer
from tiffin.image.looking import Look
from tiffin.image.platforms import Libc
from tiffin.oci.records import LAYER_GZIP, Descriptor

AMD64 = platforms.parse("amd64")


def bundle(tmp_path: Path, **fields: object) -> Bundle:
    values = {"kind": "service", "target": "service:IrisModel", "python": "3.11", **fields}
    manifest = Manifest(**values)  # type: ignore[arg-type]
    (tmp_path / "src").mkdir(exist_ok=True)
    return Bundle(digest="ab" * 32, manifest=manifest, path=tmp_path)


def base(name: str = "python:3.11-slim", **texts: str) -> Base:
    held = {key.replace("_", "/"): value for key, value in texts.items()}
    return Base(
        name=name,
        origin=name,
        digest="sha256:" + "0" * 64,
        layers=[],
        diff_ids=["sha256:base"],
        config={"Env": ["PATH=/usr/local/bin:/bin", "LANG=de_DE.UTF-8", "GPG_KEY=x"]},
        history=[{"created_by": "base"}],
        look=Look(pythons={"3.11": "/usr/local/bin/python3.11"}, libc=Libc("glibc", 2, 36), texts=held),
    )


def record(made: Bundle, mtime: int = 0) -> dict:  # type: ignore[type-arg]
    layer = Layer(
        title="source",
        descriptor=Descriptor(media_type=LAYER_GZIP, digest="sha256:l", size=1),
        diff_id="sha256:d",
        size=1,
    )
    return config.record(
        made, base(), [layer], platform=AMD64, python="3.11", start=contents.start(made), version="1", mtime=mtime
    )


def test_the_record_of_a_service(tmp_path: Path) -> None:
    origin = Provenance(commit="c0ffee", repository="https://git.example/x")
    made = bundle(
        tmp_path,
        labels={"team": "a"},
        environment={"GPG_KEY": "mine", "A": "b"},
        provenance=origin,
        description="Irises\nmore",
    )
    found = record(made)
    assert found["rootfs"]["diff_ids"] == ["sha256:base", "sha256:d"]
    assert [one["created_by"] for one in found["history"]] == ["base", "tiffin image: source"]
    assert found["created"] == "1970-01-01T00:00:00Z"
    variables = dict(line.split("=", 1) for line in found["config"]["Env"])
    assert variables["PATH"] == "/opt/tiffin/bin:/usr/local/bin:/bin"
    assert (variables["LANG"], variables["GPG_KEY"], variables["A"]) == ("de_DE.UTF-8", "mine", "b")
    labels = found["config"]["Labels"]
    assert labels["team"] == "a"
    assert labels["dev.tiffin.bundle"] == "sha256:" + "ab" * 32
    assert labels["org.opencontainers.image.revision"] == "c0ffee"
    assert labels["org.opencontainers.image.title"] == "iris_model"
    assert labels["org.opencontainers.image.description"] == "Irises"
    assert "--connect" not in found["config"]["Healthcheck"]["Test"]


def test_the_tags_of_a_bundle_do_not_change_its_image(tmp_path: Path) -> None:
    plain = bundle(tmp_path)
    tagged = Bundle(digest=plain.digest, manifest=plain.manifest, path=plain.path, tags=("a:1", "b:2"))
    assert record(plain) == record(tagged)
    assert record(plain, mtime=86_400)["created"] == "1970-01-02T00:00:00Z"


def test_a_program_starts_by_itself_and_kserves_by_tiffin(tmp_path: Path) -> None:
    program = bundle(tmp_path, kind="program", target="python app.py", arguments=("8080",))
    found = contents.start(program)
    assert (found.kind, found.target, found.arguments) == ("program", ["python", "app.py"], ["8080"])
    assert record(program)["config"]["Healthcheck"]["Test"][-1] == "--connect"
    (tmp_path / "src" / "app.py").write_text("import kserve\nkserve.ModelServer().start([])\n")
    assert contents.start(program).kind == "serve"


def test_the_user_is_added_to_the_accounts_of_the_base() -> None:
    found = {one.path: one for one in contents.environment(base(etc_passwd="root:x:0:0::/:/bin/sh"), "3.11")}
    passwd = found["etc/passwd"].content
    assert passwd is not None
    assert passwd().read() == (b"root:x:0:0::/:/bin/sh\ntiffin:x:1034:1034:Tiffin:/home/tiffin:/sbin/nologin\n")
    home = found["home/tiffin"]
    assert (home.mode, home.uid, home.gid) == (0o775, 1034, 0)
    assert found["opt/tiffin/bin/python"].target == "/usr/local/bin/python3.11"


def test_what_has_to_run_is_refused_without_an_engine(tmp_path: Path) -> None:
    for recipe in (Recipe(commands=("make fast",)), Recipe(post_commands=("make fast",))):
        with pytest.raises(ImageError, match="`make fast` to be run") as caught:
            building._check_recipe(recipe)
        assert "--builder docker" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("names", "given", "says"),
    [
        (("jq; rm",), base(), "expected the name of a Debian package"),
        (("jq",), base(etc_osrelease=""), "expected a base of this machine's release"),
    ],
)
def test_system_packages_that_cannot_be_had_are_refused(
    names: tuple[str, ...], given: Base, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(ImageError, match=says):
        system.check(names, given, platforms.here())


def test_system_packages_need_apt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ImageError, match="apt-get is not here") as caught:
        system.check(("jq",), base(SCRATCH), platforms.here())
    assert "--builder docker" in str(caught.value.hint)


# -- Dockerfiles


def test_the_dockerfile_has_every_step_in_order(tmp_path: Path) -> None:
    recipe = Recipe(
        locked="numpy==2 --hash=sha256:0\n",
        system_packages=("jq",),
        commands=("./first.sh",),
        post_commands=("./last.sh",),
        build_include=("*.sh",),
    )
    files = (File(path="first.sh", executable=True), File(path="service.py"))
    made = bundle(tmp_path, recipe=recipe, files=files, environment={"QUOTED": 'a "b" $c \\d'})
    for one in files:
        (tmp_path / "src" / one.path).write_text("#")
    place = tmp_path / "context"
    text = dockerfile.write(place, made, [], base="me/base:1", python="3.11").read_text()
    order = [
        "FROM me/base:1\n",
        "apt-get install --yes --no-install-recommends jq",
        "COPY include/ ./",
        "RUN ./first.sh",
        "RUN python3.11 -m venv /opt/tiffin",
        "--require-hashes -r /tmp/requirements.txt",
        "COPY own/",
        "RUN ./last.sh",
        "COPY files/ /",
        "USER 1034",
        'ENTRYPOINT ["/opt/tiffin/bin/python", "-m", "tiffin.image.entry"]',
    ]
    places = [text.index(step) for step in order]
    assert places == sorted(places)
    assert 'ENV QUOTED="a \\"b\\" \\$c \\\\d"' in text
    assert (place / "include" / "first.sh").stat().st_mode & 0o111
    assert not (place / "include" / "service.py").exists()
    assert (place / "files/home/tiffin/bundle/src/service.py").is_file()
    assert "numpy==" not in (place / "constraints.txt").read_text()


def test_alpine_has_another_installer(tmp_path: Path) -> None:
    made = bundle(tmp_path, recipe=Recipe(distro="alpine", system_packages=("jq",)))
    text = dockerfile.write(tmp_path / "c", made, [], base="python:3.11-alpine", python="3.11").read_text()
    assert "RUN apk add --no-cache jq\n" in text


def test_members_are_laid_out_as_a_layer_would_have_them(tmp_path: Path) -> None:
    dockerfile.lay(
        [members.text("a/b", "1", 0o755), members.symlink("a/c", "b"), members.directory("d")], tmp_path
    )
    assert (tmp_path / "a" / "c").read_text() == "1"
    assert (tmp_path / "a" / "b").stat().st_mode & 0o111
    assert (tmp_path / "d").is_dir()


@pytest.mark.parametrize(
    ("engine", "command"),
    [
        ("docker", "docker build --tag a:1 --tag b:1 --platform linux/arm64 --network=host --no-cache CONTEXT"),
        (
            "buildx",
            "docker buildx build --tag a:1 --tag b:1 --platform linux/arm64 --network=host --no-cache CONTEXT",
        ),
        ("buildah", "buildah build --tag a:1 --tag b:1 --platform linux/arm64 --network=host --no-cache CONTEXT"),
    ],
)
def test_the_command_of_an_engine(engine: str, command: str) -> None:
    made = engines.build_command(
        engine, Path("CONTEXT"), ["a:1", "b:1"], platforms=["linux/arm64"], options=["network=host", "no_cache"]
    )
    assert " ".join(made) == command


@pytest.mark.parametrize("option", ["", "=x", "--rm", "a;b=c"])
def test_an_option_that_is_none_is_refused(option: str) -> None:
    with pytest.raises(ImageError, match="--opt"):
        engines.build_command("docker", Path("c"), ["a:1"], platforms=[], options=[option])


def test_an_engine_that_is_not_here_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ProcessError, match="podman is not installed") as caught:
        engines.check("podman")
    assert "leave --builder out" in str(caught.value.hint)
    with pytest.raises(ImageError, match="expected one of docker, buildx"):
        engines.check("kaniko")

"""Programs of bundles as they are, and images in a real container engine where one runs."""

import asyncio
import io
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tiffin.bundle import BundleStore
from tiffin.errors import BundleError, ProcessError, TiffinError
from tiffin.kits import processes, waiting
from tiffin.kits.paths import DataDirectory
from tiffin.local import containers, engine, images, preparing, probes, programs
from tiffin.local.containers import Containers
from tiffin.local.engine import Engine
from tiffin.local.programs import Programs
from tiffin.local.seams import Order, Running
from tiffin.spec import Artefact, ClassSource, Component, ContainerSource, ReplicaSpec, Resources

SERVER = """
import http.server, os, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = (os.environ.get("GREETING", "") + open(os.environ["STORAGE_URI"] + "/a.txt").read()).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

print("serving", sys.argv[1:], flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
IMAGE = "tiffin-test/busybox:1"


def order(tmp_path: Path, component: Component, path: Path) -> Order:
    file = tmp_path / "run" / "order.json"
    file.parent.mkdir(exist_ok=True)
    spec = ReplicaSpec(deployment="web", model_name="web", component=component, path=str(path))
    file.write_bytes(msgspec.json.encode(spec))
    environment = {"GREETING": "hello "}
    return Order(name="web r1", spec=spec, file=file, log=tmp_path / "log", environment=environment)


async def ready(running: Running, seconds: float = 20) -> None:
    async def ask() -> bool | None:
        assert running.exit_code is None, running.describe_end()
        return await running.is_ready() or None

    assert await waiting.until(ask, seconds=seconds) is not None, running.describe_end()


def get(running: Running) -> str:
    with urllib.request.urlopen(f"http://{running.endpoint}/a.txt", timeout=5) as answer:
        return answer.read().decode()


# -- programs of bundles


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a.txt").write_text("you")
    return DataDirectory(tmp_path / "home").make()


def built(tmp_path: Path, data: DataDirectory, program: str, **source: object) -> tuple[Component, Path]:
    sources = tmp_path / "sources"
    sources.mkdir(exist_ok=True)
    (sources / "app.py").write_text(program)
    (sources / "Dockerfile").write_text('ENTRYPOINT ["python", "app.py"]\nCMD ["8080"]')
    BundleStore(data.bundles).build(sources, tag="web:v1", kind="program")
    mounts = {"/mnt/models": Artefact(uri="model", base=str(tmp_path))}
    component = Component(source=ContainerSource(image="web:v1", mounts=mounts, **source))  # type: ignore[arg-type]
    return images.located(component, data)


def test_a_program_of_a_bundle_runs_as_it_is_on_a_port_of_its_own(tmp_path: Path, data: DataDirectory) -> None:
    component, path = built(tmp_path, data, SERVER)
    assert Programs(data).takes(component)
    one = order(tmp_path, component, path)

    async def check() -> None:
        running = await Programs(data).launch(one)
        try:
            await ready(running)
            assert get(running) == "hello you"
            assert running.endpoint != "127.0.0.1:8080"
            assert running.identity in processes.mentioning(str(one.file))
            adopted = await Programs(data).adopt(one, running.identity, running.endpoint)
            assert adopted is not None
            await ready(adopted)
        finally:
            await running.stop(grace_seconds=5)
        assert await adopted.exited() is not None
        assert running.exit_code is not None
        with pytest.raises(urllib.error.URLError):
            get(running)
        assert await Programs(data).adopt(one, running.identity, running.endpoint) is None

    asyncio.run(check())
    BundleStore(data.bundles).get("web:v1")


def test_a_program_dies_with_its_parent(tmp_path: Path, data: DataDirectory) -> None:
    component, path = built(tmp_path, data, SERVER)

    async def check() -> None:
        running = await Programs(data).launch(order(tmp_path, component, path))
        await ready(running)
        os.kill(running.identity.pid, 9)
        assert await running.exited() == -9

        async def gone() -> bool | None:
            try:
                get(running)
            except OSError:
                return True
            return None

        assert await waiting.until(gone, seconds=5)

    asyncio.run(check())


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("import sys; sys.exit('no model here')", "no model here"),
        ("raise RuntimeError('broken')", "RuntimeError: broken"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
    ],
)
def test_a_program_that_ends_says_why(program: str, says: str, tmp_path: Path, data: DataDirectory) -> None:
    component, path = built(tmp_path, data, program)

    async def check() -> str:
        running = await Programs(data).launch(order(tmp_path, component, path))
        await asyncio.wait_for(running.exited(), 20)
        return running.describe_end()

    assert says in asyncio.run(check())


def test_a_program_on_another_port_is_told_which_was_expected(
    tmp_path: Path, data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "PATIENCE_SECONDS", 0.5)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        wrong = probe.getsockname()[1]
    component, path = built(tmp_path, data, SERVER.replace("int(sys.argv[1])", str(wrong)))

    async def check() -> None:
        running = await Programs(data).launch(order(tmp_path, component, path))
        try:
            with pytest.raises(ProcessError, match=rf"listens on port {wrong}, expected .*8080") as caught:
                await ready(running)
            assert "containerPort" in str(caught.value.hint)
        finally:
            await running.stop(grace_seconds=2)

    asyncio.run(check())


def test_an_image_that_nobody_has_is_refused_with_what_to_do(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(BundleError, match="no container engine answers here") as caught:
        images.located(Component(source=ContainerSource(image="some/image:v1")), data)
    assert "tiffin build -t some/image:v1 DIR" in str(caught.value.hint)


def test_a_bundle_of_another_kind_is_no_program(
    tmp_path: Path, data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "Iris.py").write_text("class Iris:\n    def predict(self, X): return X\n")
    BundleStore(data.bundles).build(sources, tag="iris:v1")
    with pytest.raises(BundleError, match="the bundle iris:v1 is a class, and a program is wanted here"):
        images.located(Component(source=ContainerSource(image="iris:v1")), data)


# -- a real engine


@pytest.fixture(scope="module")
def running_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The machine's engine, else a dockerd of our own where we may run one."""
    try:
        yield engine.find()
        return
    except engine.EngineAbsent:
        pass
    if shutil.which("dockerd") is None or os.getuid() != 0:
        pytest.skip("no container engine runs here; as root, `apt-get install docker.io` lets the test start one")
    home = tmp_path_factory.mktemp("engine")
    place = Path("/tmp", f"tiffin-test-docker-{os.getpid()}")
    place.mkdir()
    sock = place / "docker.sock"
    with (home / "log").open("wb") as log:
        daemon = subprocess.Popen(
            [
                *("dockerd", "--host", f"unix://{sock}", "--data-root", str(home / "data")),
                *("--exec-root", str(place / "exec"), "--pidfile", str(place / "pid")),
            ],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", f"unix://{sock}")
        try:
            yield _answering(daemon, home / "log")
        finally:
            daemon.terminate()
            daemon.wait(30)
            shutil.rmtree(place, ignore_errors=True)


def _answering(daemon: subprocess.Popen[bytes], log: Path) -> Engine:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            return engine.find()
        except engine.EngineAbsent:
            if daemon.poll() is not None:
                break
            time.sleep(0.1)
    pytest.skip(f"dockerd does not start here: {log.read_text(errors='replace')[-300:]}")


@pytest.fixture(scope="module")
def image(running_engine: Engine) -> str:
    """An image with a static busybox, made here: nothing is pulled."""
    busybox = shutil.which("busybox")
    # ldd refuses what is linked statically.
    if busybox is None or subprocess.run(["ldd", busybox], capture_output=True, check=False).returncode == 0:
        pytest.skip("no static busybox: apt-get install busybox-static")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(os.path.realpath(busybox), "bin/busybox")
        for directory in ("mnt/models", "tmp", "proc", "sys", "dev", "etc"):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
    subprocess.run(
        ["docker", "-H", f"unix://{running_engine.path}", "import", "-", IMAGE],
        input=packed.getvalue(),
        check=True,
        capture_output=True,
    )
    return IMAGE


def in_image(tmp_path: Path, data: DataDirectory, *words: str, **rest: object) -> tuple[Component, Path]:
    component = Component(
        source=ContainerSource(
            image=IMAGE,
            command=("/bin/busybox",),
            arguments=words,
            ready_path="/a.txt",
            mounts={"/mnt/models": Artefact(uri="model", base=str(tmp_path))},
        ),
        **rest,  # type: ignore[arg-type]
    )
    return images.located(component, data)


def test_a_class_whose_image_only_the_engine_has_becomes_a_container(data: DataDirectory, image: str) -> None:
    source = ClassSource(artefact=Artefact(uri=image), unit="clf", image=image)
    component, _ = preparing._located(Component(source=source), data, lambda *progress: None)
    assert component.source == ContainerSource(image=image, port=9000)
    assert component.environment["PREDICTIVE_UNIT_ID"] == "clf"
    assert Containers().takes(component)


def test_an_image_runs_in_the_engine_and_is_found_again(
    tmp_path: Path, data: DataDirectory, running_engine: Engine, image: str
) -> None:
    component, path = in_image(tmp_path, data, "httpd", "-f", "-vv", "-p", "8080", "-h", "/mnt/models")
    one = order(tmp_path, component, path)
    launcher = Containers()
    assert launcher.takes(component)

    async def check() -> None:
        running = await launcher.launch(one)
        try:
            await ready(running)
            assert get(running) == "you"
            assert processes.find(running.identity) is not None
            adopted = await launcher.adopt(one, running.identity, running.endpoint)
            assert adopted is not None
            assert (adopted.identity, adopted.endpoint) == (running.identity, running.endpoint)
            await ready(adopted)
        finally:
            await running.stop(grace_seconds=1)
        assert running.exit_code is not None
        assert await launcher.adopt(one, running.identity, running.endpoint) is None

    asyncio.run(check())
    assert not running_engine.labelled(containers.ORDER_LABEL)
    assert "GET" in (tmp_path / "log").read_text() or "response:200" in (tmp_path / "log").read_text()


def test_a_container_over_its_memory_says_so(
    tmp_path: Path, data: DataDirectory, running_engine: Engine, image: str
) -> None:
    limit = Resources(memory_limit_bytes=16 << 20)
    # tail keeps all of an endless line in memory.
    component, path = in_image(tmp_path, data, "tail", "/dev/zero", resources=limit)

    async def check() -> str:
        running = await Containers().launch(order(tmp_path, component, path))
        await asyncio.wait_for(running.exited(), 60)
        return running.describe_end()

    assert "more than its 16 MiB of memory (OOMKilled)" in asyncio.run(check())


def test_a_container_that_ends_says_what_it_printed(
    tmp_path: Path, data: DataDirectory, running_engine: Engine, image: str
) -> None:
    component, path = in_image(tmp_path, data, "sh", "-c", "echo no model here; exit 7")

    async def check() -> str:
        running = await Containers().launch(order(tmp_path, component, path))
        assert await asyncio.wait_for(running.exited(), 60) == 7
        return running.describe_end()

    said = asyncio.run(check())
    assert "exit code 7" in said
    assert "no model here" in said


def test_what_the_engine_refuses_is_in_its_own_words(
    tmp_path: Path, data: DataDirectory, running_engine: Engine, image: str
) -> None:
    component, path = in_image(tmp_path, data, "sh")
    source = msgspec.structs.replace(component.source, command=("/nothing",))
    broken = msgspec.structs.replace(component, source=source)
    with pytest.raises(TiffinError, match="/nothing"):
        asyncio.run(Containers().launch(order(tmp_path, broken, path)))
    assert not running_engine.labelled(containers.ORDER_LABEL)
    with pytest.raises(BundleError, match="neither in the local bundle store nor in the container engine"):
        images.located(Component(source=ContainerSource(image="not/there:1")), data)


def test_containers_that_nobody_knows_are_swept(
    tmp_path: Path, data: DataDirectory, running_engine: Engine, image: str
) -> None:
    component, path = in_image(tmp_path, data, "sleep", "100")
    one = order(tmp_path, component, path)
    asyncio.run(Containers().launch(one))
    assert Containers().sweep(tmp_path / "run", known=[one.file]) == 0
    assert Containers().sweep(tmp_path / "run") == 1
    assert not running_engine.labelled(containers.ORDER_LABEL)


def test_python_runs_the_wrapper_without_anything_of_ours() -> None:
    wrapper = Path(programs.__file__).with_name("wrapper.py")
    command = [
        sys.executable,
        "-I",
        "-S",
        str(wrapper),
        "order",
        "--",
        sys.executable,
        "-c",
        "raise SystemExit(5)",
    ]
    assert subprocess.run(command, check=False).returncode == 5
    missing = subprocess.run([*command[:6], "/not/there"], check=False, capture_output=True, text=True)
    assert missing.returncode == 127
    assert "/not/there cannot be started" in missing.stderr

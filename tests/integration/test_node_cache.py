"""The cache that a node's pods share, by init containers as processes: bounded, shared, full, not writable."""

import contextlib
import functools
import http.server
import os
import subprocess
import sys
import threading
import time

import pytest

from tiffin.models import archives, contents, delivery, eviction

SIZE = 200_000
UNPRIVILEGED = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
"""Permissions of files count for this process as they do in a pod; root's own right to pass over them is gone."""


class Handler(http.server.SimpleHTTPRequestHandler):
    def copyfile(self, source, outputfile):
        """Half of a file below ``slow`` comes at once, the rest when the test says so."""
        if "/slow" not in self.path:
            return super().copyfile(source, outputfile)
        outputfile.write(source.read(SIZE // 2))
        outputfile.flush()
        self.server.begun.set()
        self.server.go_on.wait(60)
        outputfile.write(source.read())
        return None

    def log_message(self, *args):
        self.server.seen.append(f"{self.command} {self.path}")


@pytest.fixture
def web(tmp_path):
    home = tmp_path / "www"
    home.mkdir()
    for number, name in enumerate(("a", "b", "c")):
        (home / name).write_bytes(bytes([number]) * SIZE)
    for name in ("here", "slow"):
        (home / name).mkdir()
        (home / name / "model").write_bytes(b"m" * SIZE)
    (home / "large").write_bytes(b"l" * 5 * SIZE)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(home)))
    server.seen, server.begun, server.go_on = [], threading.Event(), threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.go_on.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def pods(web, tmp_path):
    """Starts init containers, each with a volume of its own."""
    with contextlib.ExitStack() as running:

        def start(name, *, bound=2 * SIZE, before=()):
            environment = {"PATH": os.environ["PATH"], "TIFFIN_MODEL_CACHE": str(tmp_path / "cache")}
            if bound is not None:
                environment["TIFFIN_MODEL_CACHE_BYTES"] = str(bound)
            program = [*before, sys.executable, "-m", "tiffin.models.delivery"]
            command = [*program, f"{web.url}/{name}", tmp_path / "pod" / name]
            process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
            running.enter_context(process)
            running.callback(process.kill)
            return process

        yield start


def ended(process):
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    return said


def kept(tmp_path, web, names=("a", "b", "c", "large")):
    index = tmp_path / "cache" / "index"
    return [name for name in names if (index / contents.digest(f"{web.url}/{name}")).exists()]


def fetched(web, name):
    return web.seen.count(f"GET /{name}")


def test_what_was_not_used_for_longest_makes_way(web, pods, tmp_path):
    assert "removed" not in ended(pods("a")) + ended(pods("b")) + ended(pods("a"))
    assert fetched(web, "a") == 1
    said = ended(pods("c"))
    *_, removed, last = said.splitlines()
    assert removed == "the node's cache: removed 1 model, 200.0 kB"
    assert last.startswith(f"{web.url}/c is at ")
    assert kept(tmp_path, web) == ["a", "c"]
    assert (tmp_path / "pod" / "b" / "b").stat().st_size == SIZE
    assert len(list((tmp_path / "cache" / "content").iterdir())) == 2
    ended(pods("b"))
    assert fetched(web, "b") == 2


def test_without_a_bound_all_is_kept(web, pods, tmp_path):
    for name in ("a", "b", "c", "large"):
        ended(pods(name, bound=None))
    assert kept(tmp_path, web) == ["a", "b", "c", "large"]


def test_a_model_larger_than_the_bound_is_delivered_and_pushes_nothing_out(web, pods, tmp_path):
    ended(pods("a"))
    said = ended(pods("large"))
    assert "large has 1.0 MB and is not kept" in said
    assert "removed 1 model, 1.0 MB" in said
    assert (tmp_path / "pod" / "large" / "large").stat().st_size == 5 * SIZE
    assert kept(tmp_path, web) == ["a"]


def test_what_another_pod_fetches_or_copies_stays(web, pods, tmp_path):
    ended(pods("here/model"))
    slow = pods("slow/model", bound=0)
    assert web.begun.wait(60)
    # A pod copies what it found in the cache, another one is fetching the same content from elsewhere.
    with contents.using(tmp_path / "cache", contents.digest(f"{web.url}/here/model")):
        assert "removed 1 model" in ended(pods("a", bound=SIZE))
        assert kept(tmp_path, web, ("here/model", "a")) == ["here/model"]
        web.go_on.set()
        assert "removed" not in ended(slow)
        assert kept(tmp_path, web, ("here/model", "slow/model")) == ["here/model", "slow/model"]
    assert "removed 1 model" in ended(pods("b", bound=SIZE))
    assert kept(tmp_path, web, ("here/model", "slow/model", "b")) == ["b"]
    assert (tmp_path / "pod" / "slow" / "model" / "model").stat().st_size == SIZE
    assert fetched(web, "slow/model") == 1


def test_many_pods_at_once_have_their_models_and_the_cache_its_bound(web, pods, tmp_path):
    for _ in range(2):
        running = [pods(name, bound=SIZE) for name in ("a", "b", "c")]
        for process in running:
            ended(process)
    for number, name in enumerate(("a", "b", "c")):
        assert (tmp_path / "pod" / name / name).read_bytes() == bytes([number]) * SIZE
    assert eviction.size_of(tmp_path / "cache" / "content") == SIZE
    assert len(list((tmp_path / "cache" / "index").iterdir())) == 1
    assert list((tmp_path / "cache" / "partial").iterdir()) == []


@pytest.mark.parametrize(
    ("disk", "name", "left"), [(3.5, "c", ["b", "c"]), (2.5, "c", ["c"]), (4, "large", ["a", "b"])]
)
def test_a_full_disk_is_cleared_of_what_was_not_used_for_longest(
    web, tmp_path, monkeypatch, capsys, disk, name, left
):
    cache = tmp_path / "cache"
    environment = {"TIFFIN_MODEL_CACHE": str(cache)}
    for age, one in ((200, "a"), (100, "b")):
        assert delivery.main([f"{web.url}/{one}", str(tmp_path / one)], environment) == 0
        when = time.time() - age
        os.utime(cache / "index" / contents.digest(f"{web.url}/{one}"), (when, when))
    capsys.readouterr()
    monkeypatch.setattr(
        archives, "free_bytes", lambda path: int(disk * SIZE) - eviction.size_of(cache / "content")
    )
    code = delivery.main([f"{web.url}/{name}", str(tmp_path / name)], environment)
    said = capsys.readouterr().out
    assert kept(tmp_path, web) == left
    if name == "large":
        assert code == delivery.COULD_NOT_FETCH
        assert "has 1,000,000 bytes, and 400,000 are free" in said
    else:
        assert code == 0
        assert "the node's cache: removed 1 model, 200.0 kB" in said


def test_a_cache_that_only_root_may_write_is_told_and_the_model_comes_all_the_same(web, pods, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o755)
    cache.chmod(0o555)
    said = ended(pods("a", before=UNPRIVILEGED))
    assert (
        f"warning: the node's cache is not used, and nothing is kept for other pods: {cache} is not writable"
        in said
    )
    assert f"`install -d -o {os.geteuid()} {cache}` on the node makes it so" in said
    assert [one.name for one in (tmp_path / "pod" / "a").iterdir()] == ["a"]
    assert list(cache.iterdir()) == []
    cache.chmod(0o755)
    assert "warning" not in ended(pods("a", before=UNPRIVILEGED))
    assert kept(tmp_path, web) == ["a"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to another user")
def test_a_cache_of_pods_of_another_user_is_left_to_them(web, pods, tmp_path):
    locks = tmp_path / "cache" / "locks"
    locks.mkdir(parents=True)
    os.chown(locks, 4321, 4321)
    said = ended(pods("a"))
    assert f"{locks} is of user 4321, and this is user 0: pods share it that run as one user" in said
    assert (tmp_path / "pod" / "a" / "a").stat().st_size == SIZE


def test_what_is_on_this_machine_is_not_kept_a_second_time(tmp_path):
    (tmp_path / "model").write_text("m")
    environment = {"TIFFIN_MODEL_CACHE": str(tmp_path / "cache")}
    assert delivery.main([str(tmp_path / "model"), str(tmp_path / "pod")], environment) == 0
    assert not (tmp_path / "cache").exists()


def test_a_bound_that_is_no_number_is_told(web, tmp_path, capsys):
    environment = {"TIFFIN_MODEL_CACHE": str(tmp_path / "cache"), "TIFFIN_MODEL_CACHE_BYTES": "50Gi"}
    assert delivery.main([f"{web.url}/a", str(tmp_path / "pod")], environment) == delivery.COULD_NOT_FETCH
    assert "expected bytes in TIFFIN_MODEL_CACHE_BYTES, found 50Gi" in capsys.readouterr().out

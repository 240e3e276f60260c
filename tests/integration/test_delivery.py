"""The init container's fetcher as a process: real files, a real web server that breaks off, signatures."""

import http.server
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tiffin.dialects import secret_uses
from tiffin.dialects.secret_uses import SecretUse
from tiffin.models import delivery


@pytest.fixture
def web(tmp_path):
    """A web server; it breaks off bodies ``broken`` times, and wants the header ``X-Key`` below /private."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.reply(b"")

        def do_GET(self):
            self.reply(b"m" * 100_000)

        def reply(self, body):
            if self.path.startswith("/private") and self.headers.get("X-Key") != "k":
                self.send_error(403)
                return
            if self.path.startswith("/missing"):
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            if body and self.server.broken:
                self.server.broken -= 1
                self.wfile.write(body[:10])
                self.close_connection = True
            else:
                self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.broken = 0
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def deliver(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "tiffin.models.delivery", *map(str, arguments)],
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def files(path: Path) -> dict[str, int]:
    return {str(one.relative_to(path)): one.stat().st_size for one in sorted(path.rglob("*")) if one.is_file()}


def test_several_artefacts_come_to_their_paths(web, tmp_path):
    (tmp_path / "source" / "deep").mkdir(parents=True)
    (tmp_path / "source" / "deep" / "a.txt").write_text("a")
    done = deliver(f"{web.url}/model.joblib", tmp_path / "one", tmp_path / "source", tmp_path / "two")
    assert done.returncode == 0, done.stdout + done.stderr
    assert files(tmp_path / "one") == {"model.joblib": 100_000}
    assert files(tmp_path / "two") == {"deep/a.txt": 1}
    assert files(tmp_path / "source") == {"deep/a.txt": 1}
    assert "model.joblib is at" in done.stdout


def test_a_body_that_breaks_off_is_asked_for_again(web, tmp_path):
    web.broken = 2
    done = deliver(f"{web.url}/model.joblib", tmp_path / "one")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "attempt 2 of 5 was cut off" in done.stdout
    assert files(tmp_path / "one") == {"model.joblib": 100_000}


def test_what_is_not_there_is_said_at_once(web, tmp_path):
    done = deliver(f"{web.url}/missing", tmp_path / "one")
    assert done.returncode == delivery.COULD_NOT_FETCH
    assert "error: there is nothing at" in done.stdout
    assert "attempt" not in done.stdout
    assert "Traceback" not in done.stderr


def test_mounted_secrets_are_understood(web, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(secret_uses, "DIRECTORY", str(tmp_path / "secrets"))
    mounted = tmp_path / "secrets" / "one"
    (mounted / "..data").mkdir(parents=True)
    for key, value in (("https-host", "127.0.0.1"), ("headers", "X-Key: k")):
        (mounted / "..data" / key).write_text(value)
        (mounted / key).symlink_to(Path("..data") / key)
    said = secret_uses.written([SecretUse(kind="kserve", secret="one")])
    arguments = [f"{web.url}/private.joblib", str(tmp_path / "one")]
    assert delivery.main(arguments, {}) == delivery.COULD_NOT_FETCH
    assert "there is no permission" in capsys.readouterr().out
    assert delivery.main(arguments, said) == 0
    assert files(tmp_path / "one") == {"private.joblib": 100_000}
    missing = secret_uses.written([SecretUse(kind="kserve", secret="two")])
    assert delivery.main(arguments, missing) == delivery.COULD_NOT_FETCH
    assert "the secret two is not mounted" in capsys.readouterr().out


def test_the_cache_of_a_node_is_kept(web, tmp_path):
    cache = tmp_path / "cache"
    for name in ("one", "two"):
        done = deliver(f"{web.url}/model.joblib", tmp_path / name, TIFFIN_MODEL_CACHE=str(cache))
        assert done.returncode == 0, done.stdout + done.stderr
        assert files(tmp_path / name) == {"model.joblib": 100_000}
    assert len(list((cache / "content").iterdir())) == 1


def test_a_required_signature_is_checked(tmp_path):
    pytest.importorskip("model_signing")
    source = tmp_path / "source"
    source.mkdir()
    (source / "model.joblib").write_bytes(b"m")
    key, public = tmp_path / "key.pem", tmp_path / "key.pub"
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key], check=True)
    subprocess.run(["openssl", "ec", "-in", key, "-pubout", "-out", public], check=True, capture_output=True)
    unsigned = deliver(source, tmp_path / "one", TIFFIN_REQUIRE_SIGNATURE=public.read_text())
    assert unsigned.returncode == delivery.COULD_NOT_FETCH
    assert "is not signed" in unsigned.stdout
    assert not files(tmp_path / "one")
    signed = subprocess.run(
        [sys.executable, "-m", "tiffin", "sign", source, "--key", key], capture_output=True, text=True
    )
    assert signed.returncode == 0, signed.stderr
    done = deliver(source, tmp_path / "two", TIFFIN_REQUIRE_SIGNATURE=public.read_text())
    assert done.returncode == 0, done.stdout
    (source / "model.joblib").write_bytes(b"another")
    changed = deliver(source, tmp_path / "three", TIFFIN_REQUIRE_SIGNATURE=str(public))
    assert changed.returncode == delivery.COULD_NOT_FETCH


@pytest.mark.parametrize("arguments", [[], ["s3://bucket"]])
def test_a_wrong_call_says_how(arguments, capsys):
    assert delivery.main(arguments, {}) == delivery.WRONG_CALL
    assert "expected pairs" in capsys.readouterr().out

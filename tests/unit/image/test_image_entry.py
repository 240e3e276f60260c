"""What an image starts for the words after its name, and how its health is asked."""

import socket
import sys
import threading
from typing import Any

import pytest

from tiffin.image import entry, health, platforms
from tiffin.image.platforms import Libc

SERVICE = {"kind": "serve", "target": ["service:Iris"], "arguments": [], "directory": "/home/tiffin/bundle/src"}
PROGRAM = {"kind": "program", "target": ["python", "app.py"], "arguments": ["8080"], "directory": "/x"}
SERVE = [sys.executable, "-m", "tiffin", "serve"]
AROUND = ["--working-dir", "/home/tiffin/bundle/src", "--host", "0.0.0.0", "--port"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], [*SERVE, "service:Iris", *AROUND, "3000"]),
        (["serve"], [*SERVE, "service:Iris", *AROUND, "3000"]),
        (["serve-http", "."], [*SERVE, "service:Iris", *AROUND, "3000"]),
        (["serve", "/home/tiffin/bundle", "-p", "1"], [*SERVE, "service:Iris", *AROUND, "3000", "-p", "1"]),
        (["bentoml", "serve", "/home/tiffin/bundle"], [*SERVE, "service:Iris", *AROUND, "3000"]),
        (["--workers", "2"], [*SERVE, "service:Iris", *AROUND, "3000", "--workers", "2"]),
        (["serve", "other:Class"], [*SERVE, *AROUND, "3000", "other:Class"]),
        (["tiffin", "version"], [sys.executable, "-m", "tiffin", "version"]),
        (["python", "-c", "1"], ["python", "-c", "1"]),
    ],
)
def test_words_after_a_service(words: list[str], expected: list[str]) -> None:
    assert entry.command(SERVICE, words, {"BENTO_PATH": "/home/tiffin/bundle"}) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [([], ["python", "app.py", "8080"]), (["--debug"], ["python", "app.py", "--debug"]), (["true"], ["true"])],
)
def test_words_after_a_program(words: list[str], expected: list[str]) -> None:
    assert entry.command(PROGRAM, words, {}) == expected


@pytest.mark.parametrize(
    ("variables", "port"),
    [
        ({}, "3000"),
        ({"PORT": "80", "BENTOML_PORT": "81"}, "80"),
        ({"BENTOML_PORT": "81", "TIFFIN_PORT": "82"}, "81"),
        ({"PORT": " ", "TIFFIN_PORT": "82"}, "82"),
    ],
)
def test_the_port_is_the_platforms_word(variables: dict[str, str], port: str) -> None:
    assert entry.port(variables) == port
    assert entry.command(SERVICE, [], variables)[-1] == port


def answering(reply: bytes) -> tuple[socket.socket, int]:
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(reply)

    threading.Thread(target=serve, daemon=True).start()
    return server, server.getsockname()[1]


@pytest.mark.parametrize(
    ("reply", "ready"), [(b"HTTP/1.1 200 OK\r\n\r\n", True), (b"HTTP/1.1 503 No\r\n\r\n", False), (b"junk", False)]
)
def test_health_is_what_readyz_says(reply: bytes, ready: bool) -> None:
    server, port = answering(reply)
    with server:
        assert health.is_ready(port, seconds=5) is ready
        assert health.is_ready(port, path=None, seconds=5)
    assert not health.is_ready(port, path=None, seconds=5)


@pytest.mark.parametrize(
    ("text", "found"),
    [("linux/amd64", "linux/amd64"), ("arm64", "linux/arm64"), ("linux/arm64/v8", "linux/arm64")],
)
def test_platforms_are_read(text: str, found: str) -> None:
    assert str(platforms.parse(text)) == found


def test_tags_begin_with_what_fits_best() -> None:
    x86 = platforms.tags(platforms.parse("amd64"), Libc("glibc", 2, 28))
    assert x86[0] == "manylinux_2_28_x86_64"
    assert x86[x86.index("manylinux_2_17_x86_64") + 1] == "manylinux2014_x86_64"
    assert "manylinux1_x86_64" in x86
    assert not [tag for tag in x86 if "2_29" in tag or "musl" in tag]
    arm = platforms.tags(platforms.parse("arm64"), Libc("glibc", 2, 36))
    assert "manylinux2014_aarch64" in arm
    assert "manylinux1_aarch64" not in arm
    assert platforms.tags(platforms.parse("arm64"), Libc("musl", 1, 2)) == [
        "musllinux_1_2_aarch64",
        "musllinux_1_1_aarch64",
        "musllinux_1_0_aarch64",
    ]


def test_the_entry_point_needs_nothing_but_the_standard_library() -> None:
    for module in (entry, health):
        own: dict[str, Any] = vars(module)
        imported = {value.__name__ for value in own.values() if type(value) is type(sys)}
        assert imported <= set(sys.stdlib_module_names)

"""Byte code of a layer's modules: equal sources and an equal interpreter give equal bytes.

Without it every start of a container compiles what it imports, as nothing can be written there. The interpreter
has to be of the image's version; where none is here the layer goes without.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tiffin.errors import ImageError
from tiffin.image import members
from tiffin.image.members import Member

# Runs in the interpreter that the image has. Hashes are not checked when imported: files of an image do not
# change, and its engine may set their times as it likes.
_PROGRAM = """
import importlib._bootstrap_external as machinery, marshal, os, sys, warnings
from _imp import source_hash
warnings.simplefilter("ignore")
words = sys.stdin.buffer
out = sys.argv[1]
while line := words.readline():
    number, size, path = line.decode().rstrip("\\n").split(" ", 2)
    source = words.read(int(size))
    try:
        code = compile(source, path, "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError, RecursionError):
        continue
    data = machinery._code_to_hash_pyc(code, source_hash(machinery._RAW_MAGIC_NUMBER, source), False)
    with open(os.path.join(out, number), "wb") as file:
        file.write(data)
"""


class Interpreter(NamedTuple):
    """An interpreter, what it ends the names of byte code with, and its exact version as a number."""

    executable: str
    tag: str
    release: str


@functools.cache
def interpreter(python: str) -> Interpreter | None:
    """An interpreter of that version here; None when there is none."""
    for candidate in (sys.executable, shutil.which(f"python{python}")):
        if candidate is None:
            continue
        asked = "import sys; print('%d.%d' % sys.version_info[:2], sys.implementation.cache_tag, sys.hexversion)"
        done = subprocess.run([candidate, "-I", "-S", "-c", asked], capture_output=True, text=True, check=False)
        found = done.stdout.split()
        if done.returncode == 0 and found and found[0] == python:
            return Interpreter(candidate, found[1], found[2])
    return None


def compiled(sources: Iterable[Member], program: Interpreter, directory: Path) -> list[Member]:
    """The byte code of every module among ``sources``; its files are written to ``directory``, which is made.

    Raises:
        ImageError: the interpreter failed.
    """
    executable, tag, _ = program
    modules = sorted((one for one in sources if one.kind == "file" and one.path.endswith(".py")), key=_path)
    if not modules:
        return []
    directory.mkdir(parents=True)
    # -P, -s and -S: nothing of this machine is imported. One seed: sets of constants keep their order (-I and -E
    # would ignore it).
    process = subprocess.Popen(
        [executable, "-P", "-s", "-S", "-X", "utf8", "-c", _PROGRAM, str(directory)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PYTHONHASHSEED": "0", "PATH": "/usr/bin:/bin"},
    )
    _send(process, modules)
    said = process.stderr.read() if process.stderr else b""
    if process.stderr:
        process.stderr.close()
    if process.wait() != 0:
        raise ImageError(f"cannot compile modules with {executable}: {said.decode('utf-8', 'replace')[-500:]}")
    found = []
    for number, one in enumerate(modules):
        made = directory / str(number)
        if made.is_file():
            parent, _, name = one.path.rpartition("/")
            found.append(members.file(f"{parent}/__pycache__/{name.removesuffix('.py')}.{tag}.pyc", made))
    return found


def _path(one: Member) -> str:
    return one.path


def _send(process: subprocess.Popen[bytes], modules: Sequence[Member]) -> None:
    assert process.stdin is not None
    try:
        for number, one in enumerate(modules):
            if one.content is None:
                continue
            with one.content() as stream:
                data = stream.read()
            process.stdin.write(f"{number} {len(data)} /{one.path}\n".encode())
            process.stdin.write(data)
        process.stdin.close()
    except BrokenPipeError:
        pass  # It ended; the caller says why.

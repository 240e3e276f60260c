"""Which files of a directory go into a bundle."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pathspec

from tiffin.errors import BundleError
from tiffin.store import files as records
from tiffin.store.files import File

ALWAYS_EXCLUDED = (
    ".git/",
    ".venv/",
    "venv/",
    "__pycache__/",
    "*.pyc",
    ".DS_Store",
    ".ipynb_checkpoints/",
    ".pytest_cache/",
    ".mypy_cache/",
    ".ruff_cache/",
)
IGNORE_FILES = (".bentoignore", ".tiffinignore")


def select(root: Path, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> tuple[File, ...]:
    """Every file below ``root`` that is included (patterns of .gitignore; none means all) and not excluded.

    ``.bentoignore`` and ``.tiffinignore`` exclude more, each from its own directory on. Sorted by path.

    Raises:
        BundleError: a pattern or a symbolic link leads out of ``root``, or nothing is left.
    """
    for pattern in (*include, *exclude):
        if ".." in PurePosixPath(pattern.lstrip("!")).parts:
            raise BundleError(
                f"expected patterns inside the directory, found {pattern!r}",
                hint=f"build from a directory above {root}",
            )
    wanted = _patterns(include or ("*",))
    unwanted = _patterns((*exclude, *ALWAYS_EXCLUDED))
    files: list[File] = []
    _walk(root, PurePosixPath(), wanted, ((PurePosixPath(), unwanted),), files)
    if not files:
        raise BundleError(f"there is nothing to bundle in {root}", hint="look at include and exclude")
    files.sort(key=lambda file: file.path)
    records.check_paths(files)
    return tuple(files)


def _patterns(lines: Sequence[str]) -> pathspec.GitIgnoreSpec:
    return pathspec.GitIgnoreSpec.from_lines(lines)


_Rules = tuple[tuple[PurePosixPath, pathspec.GitIgnoreSpec], ...]


def _walk(
    root: Path, here: PurePosixPath, wanted: pathspec.GitIgnoreSpec, rules: _Rules, files: list[File]
) -> None:
    for name in IGNORE_FILES:
        ignore = root / here / name
        if ignore.is_file() and not ignore.is_symlink():
            rules += ((here, _patterns(ignore.read_text(encoding="utf-8").splitlines())),)
    with os.scandir(root / here) as entries:
        for entry in entries:
            path = here / entry.name
            if entry.is_dir(follow_symlinks=False):
                if not _is_excluded(path, rules, is_directory=True):
                    _walk(root, path, wanted, rules, files)
            elif wanted.match_file(str(path)) and not _is_excluded(path, rules, is_directory=False):
                files.append(records.record(root, str(path)))


def _is_excluded(path: PurePosixPath, rules: _Rules, *, is_directory: bool) -> bool:
    ending = "/" if is_directory else ""
    return any(spec.match_file(f"{path.relative_to(base)}{ending}") for base, spec in rules)

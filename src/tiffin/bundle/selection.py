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


MOST_BYTES = 4_000_000_000
LARGE_BYTES = 100_000_000


def select(
    root: Path, include: Sequence[str] = (), exclude: Sequence[str] = (), *, most_bytes: int = MOST_BYTES
) -> tuple[File, ...]:
    """Every file below ``root`` that is included (patterns of .gitignore; none means all) and not excluded.

    ``.bentoignore`` and ``.tiffinignore`` exclude more, each from its own directory on. Sorted by path.

    Raises:
        BundleError: a pattern or a symbolic link leads out of ``root``, nothing is left, or more than
            ``most_bytes``, which is seen before anything is read.
    """
    for pattern in (*include, *exclude):
        if ".." in PurePosixPath(pattern.lstrip("!")).parts:
            raise BundleError(
                f"expected patterns inside the directory, found {pattern!r}",
                hint=f"build from a directory above {root}",
            )
    wanted = _patterns(include or ("*",))
    unwanted = _patterns((*exclude, *ALWAYS_EXCLUDED))
    paths: list[str] = []
    _walk(root, PurePosixPath(), wanted, ((PurePosixPath(), unwanted),), paths)
    if not paths:
        raise BundleError(f"there is nothing to bundle in {root}", hint="look at include and exclude")
    _check_size(root, paths, most_bytes)
    files = [records.record(root, path) for path in sorted(paths)]
    records.check_paths(files)
    return tuple(files)


def large(files: Sequence[File]) -> list[File]:
    """Files so large that they are here by mistake, or belong into the model store; the largest first."""
    return sorted((f for f in files if f.size > LARGE_BYTES), key=lambda file: -file.size)


def _check_size(root: Path, paths: Sequence[str], most_bytes: int) -> None:
    sizes = {path: (root / path).lstat().st_size for path in paths}
    total = sum(sizes.values())
    if total <= most_bytes:
        return
    heaviest = sorted(sizes, key=lambda path: -sizes[path])
    if sizes[heaviest[0]] * 4 < total:  # Many small files: the directory is to blame.
        tops: dict[str, int] = {}
        for path, size in sizes.items():
            top, slash, _ = path.partition("/")
            tops[top + slash] = tops.get(top + slash, 0) + size
        sizes, heaviest = tops, sorted(tops, key=lambda path: -tops[path])
    listed = ", ".join(f"{path} ({readable(sizes[path])})" for path in heaviest[:3])
    raise BundleError(
        f"expected a bundle of at most {readable(most_bytes)}, found {readable(total)}: {listed}",
        hint="exclude it (.tiffinignore, or exclude in the bentofile), put models into the model store, "
        "or raise the limit with --max-size",
        at=str(root),
    )


def readable(size: int) -> str:
    """``5.0 GB``, ``120 MB`` or ``12 kB``."""
    if size < 1e6:
        return f"{size / 1e3:.0f} kB"
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _patterns(lines: Sequence[str]) -> pathspec.GitIgnoreSpec:
    return pathspec.GitIgnoreSpec.from_lines(lines)


_Rules = tuple[tuple[PurePosixPath, pathspec.GitIgnoreSpec], ...]


def _walk(
    root: Path, here: PurePosixPath, wanted: pathspec.GitIgnoreSpec, rules: _Rules, paths: list[str]
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
                    _walk(root, path, wanted, rules, paths)
            elif wanted.match_file(str(path)) and not _is_excluded(path, rules, is_directory=False):
                paths.append(str(path))


def _is_excluded(path: PurePosixPath, rules: _Rules, *, is_directory: bool) -> bool:
    ending = "/" if is_directory else ""
    return any(spec.match_file(f"{path.relative_to(base)}{ending}") for base, spec in rules)

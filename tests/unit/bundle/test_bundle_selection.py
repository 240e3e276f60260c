"""Which files go into a bundle."""

import os
from pathlib import Path

import pytest

from tiffin.bundle import BundleStore
from tiffin.bundle.selection import select
from tiffin.errors import BundleError


def write(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)


def chosen(root, include=(), exclude=()):
    return [file.path for file in select(root, include, exclude)]


def test_everything_goes_in_but_what_never_does(tmp_path):
    write(
        tmp_path,
        "b.py",
        "a/x.py",
        ".git/config",
        "venv/bin/x",
        "a/__pycache__/x.pyc",
        ".DS_Store",
        "k.pyc",
        ".env",
    )
    assert chosen(tmp_path) == [".env", "a/x.py", "b.py"]


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (["*.py"], [], ["a/x.py", "b.py"]),
        (["/b.py"], [], ["b.py"]),
        (["a/"], [], ["a/x.py", "a/x.txt"]),
        (["**/*.txt"], [], ["a/x.txt"]),
        ([], ["*.txt"], ["a/x.py", "b.py"]),
        ([], ["*.py", "!b.py"], ["a/x.txt", "b.py"]),
        (["*.py"], ["a/"], ["b.py"]),
    ],
)
def test_patterns_mean_what_they_mean_in_gitignore(tmp_path, include, exclude, expected):
    write(tmp_path, "b.py", "a/x.py", "a/x.txt")
    assert chosen(tmp_path, include, exclude) == expected


def test_an_ignore_file_counts_from_its_own_directory_on(tmp_path):
    write(tmp_path, "keep.csv", "a/drop.csv", "a/keep.py", "a/b/drop.csv", "big/x")
    (tmp_path / "a/.bentoignore").write_text("*.csv\n")
    (tmp_path / ".tiffinignore").write_text("# large\nbig/\n")
    assert chosen(tmp_path) == [".tiffinignore", "a/.bentoignore", "a/keep.py", "keep.csv"]


@pytest.mark.parametrize("pattern", ["../x", "a/../../x", "!../x"])
def test_a_pattern_that_leads_out_is_refused(tmp_path, pattern):
    write(tmp_path, "a")
    with pytest.raises(BundleError, match="patterns inside the directory"):
        select(tmp_path, [pattern])


def test_a_link_inside_stays_a_link(tmp_path):
    write(tmp_path, "data/one.txt")
    (tmp_path / "link.txt").symlink_to("data/one.txt")
    (tmp_path / "all").symlink_to("data")
    assert [(f.path, f.link) for f in select(tmp_path) if f.link] == [
        ("all", "data"),
        ("link.txt", "data/one.txt"),
    ]


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "data/missing", "."])
def test_a_link_that_leads_out_is_refused(tmp_path, target):
    write(tmp_path, "data/one.txt")
    (tmp_path / "data/link").symlink_to(target if target != "." else "../..")
    with pytest.raises(BundleError, match="expected a link to something in the bundle") as caught:
        select(tmp_path)
    assert caught.value.at == "data/link"


def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BundleError, match="expected a file"):
        select(tmp_path)


def test_nothing_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match="nothing to bundle"):
        select(tmp_path)


def test_a_link_that_climbs_behind_another_link_is_refused(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/one.txt").write_text("")
    (tmp_path / "a/b/top").symlink_to("../..")
    # It reads as a/b/one.txt of the bundle, and opens what lies beside the bundle.
    (tmp_path / "a/b/link").symlink_to("top/../one.txt")
    with pytest.raises(BundleError, match="expected a link to something in the bundle") as caught:
        select(tmp_path)
    assert caught.value.at == "a/b/link"


@pytest.mark.parametrize("name", ["home", ".tiffin", "odd [home] #1!"])
def test_a_store_inside_of_the_sources_is_no_source(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Iris.py").write_text("class Iris:\n    def predict(self, X, names):\n        return X\n")
    store = tmp_path / name / "bundles"
    monkeypatch.setenv("TIFFIN_HOME", str(store.parent))
    first = BundleStore(store).build(tmp_path)
    second = BundleStore(store).build(tmp_path)
    assert first.digest == second.digest
    assert [file.path for file in second.manifest.files] == ["Iris.py"]

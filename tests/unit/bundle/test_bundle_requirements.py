"""Requirements as pip reads them, and uv's lock files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.bundle import locking, requirements, uv_lock
from tiffin.bundle.requirements import Pinned
from tiffin.errors import BundleError

HASH = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"a==1 --hash={HASH}", True),
        (f"a==1 \\\n    --hash={HASH}  # via b\n", True),
        (f"a[extra]==1.0.post1 ; python_version < '3.12' --hash={HASH}", True),
        (f"./w/a-1-py3-none-any.whl --hash={HASH}", True),
        ("a==1", False),
        (f"a>=1 --hash={HASH}", False),
        (f"a==1 --hash={HASH}\nb==2", False),
        ("", False),
        ("--no-index\n", False),
    ],
)
def test_a_lock_leaves_nothing_to_resolve(text, expected):
    assert requirements.is_lock(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"), [("", True), ("# x\n\n--no-index\n", True), ("a", False), ("-e .", False)]
)
def test_options_alone_ask_for_nothing(text, expected):
    assert requirements.is_empty(text) is expected


def test_pinned_packages_are_told_with_their_hashes():
    text = f"b==2 ; sys_platform == 'linux'\na[x]==1.0 --hash={HASH}\nc>=3\n"
    assert requirements.pinned(text) == [Pinned("a", "1.0", (HASH,)), Pinned("b", "2")]


@given(st.lists(st.sampled_from(["a==1", f"b==2 --hash={HASH}", "--no-index", "# c", "", "zz>=3 ; x < 'y'"])))
def test_the_canonical_form_is_its_own(parts):
    once = locking.canonical("\n".join(parts))
    assert locking.canonical(once) == once
    assert locking.canonical("\n".join(reversed(parts))) == once or "--no-index" in parts


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text):
    requirements.pinned(text)
    requirements.is_lock(text)
    locking.canonical(text)


UV = """
version = 1
[[package]]
name = "project"
version = "0.1.0"
source = { virtual = "." }
dependencies = [{ name = "alpha" }, { name = "win", marker = "sys_platform == 'win32'" }]
[package.dev-dependencies]
dev = [{ name = "pytest" }]
[[package]]
name = "alpha"
version = "1.0"
source = { registry = "https://example.com/simple" }
dependencies = [{ name = "beta", extra = ["fast"], marker = "python_version < '3.12'" }]
sdist = { url = "x", hash = "sha256:aa" }
wheels = [{ url = "y", hash = "sha256:bb" }]
[[package]]
name = "beta"
version = "2.0"
source = { registry = "https://example.com/simple" }
wheels = [{ url = "y", hash = "sha256:cc" }]
[package.optional-dependencies]
fast = [{ name = "gamma" }]
[[package]]
name = "gamma"
version = "3.0"
source = { registry = "https://example.com/simple" }
dependencies = [{ name = "alpha" }]
wheels = [{ url = "y", hash = "sha256:dd" }]
[[package]]
name = "win"
version = "4.0"
source = { registry = "https://example.com/simple" }
dependencies = [{ name = "gamma" }]
wheels = [{ url = "y", hash = "sha256:ee" }]
[[package]]
name = "pytest"
version = "5.0"
source = { registry = "https://example.com/simple" }
wheels = [{ url = "y", hash = "sha256:ff" }]
"""


def test_the_lock_of_uv_gives_what_the_project_needs_and_when():
    lines = uv_lock.requirements(UV).splitlines()
    assert lines[0] == "alpha==1.0 --hash=sha256:aa --hash=sha256:bb"
    assert lines[1] == "beta==2.0 ; python_version < '3.12' --hash=sha256:cc"
    assert lines[2].startswith("gamma==3.0 ; ")
    assert "python_version < '3.12'" in lines[2]
    assert "sys_platform == 'win32'" in lines[2]
    assert lines[3] == "win==4.0 ; sys_platform == 'win32' --hash=sha256:ee"
    assert len(lines) == 4
    assert requirements.is_lock("\n".join(lines))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("= broken", "expected a lock file of uv"),
        ("version = 1\n", "expected a lock file of uv"),
        (UV.replace('registry = "https://example.com/simple"', 'git = "x"', 1), "from git"),
        (UV.replace('hash = "sha256:cc"', 'size = 1'), "expected a hash for beta 2.0"),
    ],
)  # fmt: skip
def test_a_lock_that_pip_cannot_install_is_refused(text, message):
    with pytest.raises(BundleError, match=message):
        uv_lock.requirements(text)

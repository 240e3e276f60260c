"""Wheels become what an installer would have written."""

import io
import sys
import zipfile
from pathlib import Path

import pytest

from tiffin.errors import ImageError
from tiffin.image import bytecode, fetching, own, wheels
from tiffin.image.members import Member

INFO = "demo_tool-1.0.dist-info"


def wheel(tmp_path: Path, files: dict[str, str], name: str = "demo_tool-1.0-py3-none-any.whl") -> wheels.Wheel:
    path = tmp_path / name
    with zipfile.ZipFile(path, "w") as archive:
        for inside, content in {f"{INFO}/METADATA": "Name: demo-tool\n", f"{INFO}/RECORD": "", **files}.items():
            archive.writestr(inside, content)
    return wheels.read(path)


def blob(one: Member) -> bytes:
    assert one.content is not None
    with one.content() as stream:
        return stream.read()


def content(one: Member) -> str:
    return blob(one).decode()


def unpacked(made: wheels.Wheel) -> dict[str, Member]:
    return {one.path: one for one in wheels.unpack(made, prefix="opt/x", python="3.11")}


SITE = "opt/x/lib/python3.11/site-packages"


def test_each_part_goes_where_it_belongs(tmp_path: Path) -> None:
    found = unpacked(
        wheel(
            tmp_path,
            {
                "demo.py": "x = 1\n",
                "demo_tool-1.0.data/scripts/run": "#!python\nprint(1)\n",
                "demo_tool-1.0.data/data/share/a.txt": "a",
                "demo_tool-1.0.data/platlib/fast.so": "so",
                "demo_tool-1.0.data/headers/a.h": "h",
                f"{INFO}/entry_points.txt": "[console_scripts]\ndemo = demo.cli:main.run\n[other]\nx = y\n",
            },
        )
    )
    assert content(found[f"{SITE}/demo.py"]) == "x = 1\n"
    assert content(found["opt/x/bin/run"]).startswith("#!/opt/x/bin/python\n")
    assert {"opt/x/share/a.txt", f"{SITE}/fast.so", "opt/x/include/site/python3.11/demo-tool/a.h"} <= set(found)
    script = found["opt/x/bin/demo"]
    assert script.mode == 0o755
    assert "from demo.cli import main\n" in content(script)
    assert "sys.exit(main.run())" in content(script)
    record = content(found[f"{SITE}/{INFO}/RECORD"])
    assert "demo.py,,\n" in record
    assert "../../../bin/demo,,\n" in record
    assert content(found[f"{SITE}/{INFO}/INSTALLER"]) == "tiffin\n"


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"../evil.py": ""}, "leads out of its directory"),
        ({"/etc/passwd": ""}, "leads out of its directory"),
        ({"a\\..\\b": ""}, "leads out of its directory"),
        ({"demo_tool-1.0.data/elsewhere/a": ""}, "a part that no installer knows: 'elsewhere'"),
        ({f"{INFO}/entry_points.txt": "[console_scripts\n"}, "broken entry points"),
    ],
)
def test_a_wheel_that_is_wrong_is_refused(tmp_path: Path, files: dict[str, str], says: str) -> None:
    with pytest.raises(ImageError, match=says):
        unpacked(wheel(tmp_path, files))


def test_what_is_no_wheel_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a-1.whl").write_text("")
    with pytest.raises(ImageError, match="of another name"):
        wheels.read(tmp_path / "a-1.whl")
    (tmp_path / "a-1-py3-none-any.whl").write_text("no zip")
    with pytest.raises(ImageError, match="a broken file"):
        unpacked(wheels.read(tmp_path / "a-1-py3-none-any.whl"))


def test_byte_code_is_the_same_each_time_and_is_imported(tmp_path: Path) -> None:
    source = "KINDS = {'b', 'a', 'c', 'd', 'e'}\ndef is_one(x):\n    return x in {'b', 'a', 'c', 'zz'}\n"
    sources = list(unpacked(wheel(tmp_path, {"demo.py": source, "old.py": "print 1\n"})).values())
    program = bytecode.interpreter(f"3.{sys.version_info.minor}")
    assert program is not None
    runs = [bytecode.compiled(sources, program, tmp_path / name) for name in ("one", "two")]
    assert [one.path for one in runs[0]] == [f"{SITE}/__pycache__/demo.{program.tag}.pyc"]
    made, again = ([blob(one) for one in run] for run in runs)
    assert made == again
    assert made[0][4:8] == b"\1\0\0\0", "its hash is not compared with the source"
    assert b"/opt/x/lib/python3.11/site-packages/demo.py" in made[0]


def test_tiffin_is_its_own_wheel(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    made = [own.write(tmp_path / name) for name in ("one", "two")]
    assert made[0].read_bytes() == made[1].read_bytes()
    found = unpacked(wheels.read(made[0]))
    assert {f"{SITE}/tiffin/image/health.py", "opt/x/bin/tiffin"} <= set(found)
    assert not [path for path in found if "__pycache__" in path]


PIP = {
    "none": (
        "ERROR: Could not find a version that satisfies the requirement foo==1 (from versions: none)\n"
        "ERROR: No matching distribution found for foo==1\n",
        "image",
        "there is no wheel of foo==1 for Python 3.11 on manylinux_2_36_aarch64",
    ),
    "others": (
        "ERROR: Could not find a version that satisfies the requirement foo==9 (from versions: 1.0, 2.0)\n"
        "ERROR: No matching distribution found for foo==9\n",
        "image",
        "it has 1.0, 2.0",
    ),
    "hash": (
        "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\n"
        "    numpy==2.4.6 from https://index/numpy.whl (from -r x.txt (line 1)):\n"
        "        Expected sha256 00\n             Got        11\n",
        "image",
        "numpy==2.4.6 is not what was locked",
    ),
    "other platform": (
        "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\n"
        "    numpy==2.4.6 from https://index/numpy.whl (from -r x.txt (line 1)):\n",
        "image",
        "the bundle was locked for x86_64-manylinux_2_36, and has no hash of numpy==2.4.6 for Python 3.11 on",
    ),
    "offline": (
        "WARNING: Retrying ... NewConnectionError: Failed to establish a new connection\n"
        "ERROR: Could not find a version that satisfies the requirement foo (from versions: none)\n"
        "ERROR: No matching distribution found for foo\n",
        "storage",
        "the package index does not answer",
    ),
    "clash": (
        "ERROR: Cannot install tiffin because these package versions have conflicting dependencies.\n"
        "The conflict is caused by:\n    tiffin 0.1.0 depends on msgspec>=0.19\n"
        "    The user requested (constraint) msgspec==0.1\n",
        "image",
        "tiffin 0.1.0 depends on msgspec>=0.19; The user requested (constraint) msgspec==0.1",
    ),
    "other": ("ERROR: something new\n", "image", "pip cannot fetch the requirements: something new"),
}


@pytest.mark.parametrize("case", PIP)
def test_what_pip_says_is_put_into_words(case: str) -> None:
    said, code, expected = PIP[case]
    locked_for = "x86_64-manylinux_2_36" if case == "other platform" else "aarch64-manylinux_2_36"
    asked = fetching.Asked("3.11", ["manylinux_2_36_aarch64"], locked_for=locked_for)
    error = fetching.refusal(said, asked, where="the requirements")
    assert error.code == code
    assert expected in str(error)
    assert str(error).startswith("the requirements: ")


def test_no_shared_state_between_two_wheels(tmp_path: Path) -> None:
    one = unpacked(wheel(tmp_path, {"a.py": "1"}))
    with one[f"{SITE}/a.py"].content() as first, one[f"{SITE}/{INFO}/METADATA"].content() as second:  # type: ignore[misc]
        assert (first.read(), second.read()) == (b"1", b"Name: demo-tool\n")
    assert isinstance(one[f"{SITE}/{INFO}/RECORD"].content(), io.BytesIO)  # type: ignore[misc]

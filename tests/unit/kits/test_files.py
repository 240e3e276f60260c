import stat
from pathlib import Path

import pytest

from tiffin.kits import files


def test_a_written_file_has_the_content_and_no_siblings(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    files.write_atomic(path, "one")
    files.write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_failed_write_leaves_the_old_content_and_no_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "taken"
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        files.write_atomic(path, "content")
    assert list(tmp_path.iterdir()) == [path]


def test_last_lines_are_the_last_ones_without_blanks(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"\n".join(b"line %d" % n for n in range(5000)) + b"\n\n\xff last \n")
    assert files.last_lines(path, 2) == ["line 4999", "� last"]


def test_a_missing_log_has_no_lines(tmp_path: Path) -> None:
    assert files.last_lines(tmp_path / "none") == []

"""Whether somebody holds a lock."""

import fcntl
import os
from pathlib import Path

import pytest

from tiffin.kits.locks import is_held


def test_a_lock_is_held_until_it_is_let_go_and_looking_takes_none(tmp_path: Path) -> None:
    assert not is_held(tmp_path)
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    assert is_held(tmp_path)
    fcntl.flock(handle, fcntl.LOCK_SH)
    assert not is_held(tmp_path)
    os.close(handle)
    assert not is_held(tmp_path)


def test_nothing_there_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        is_held(tmp_path / "none")

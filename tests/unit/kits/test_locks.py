"""Whether somebody holds a lock."""

import fcntl
import os
import threading
from pathlib import Path

import pytest

from tiffin.kits.locks import holding, is_held


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


def test_a_lock_is_shared_or_held_alone(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with holding(path, shared=True) as first, holding(path, shared=True, wait=False) as second:
        assert first
        assert second
        with holding(path, wait=False) as alone:
            assert not alone
    with holding(path, wait=False) as alone:
        assert alone


def test_who_waits_for_a_lock_whose_file_is_removed_takes_the_next_one(tmp_path: Path) -> None:
    path, taken = tmp_path / "lock", threading.Event()

    def wait() -> None:
        with holding(path):
            taken.set()
            assert path.exists()

    waiting = threading.Thread(target=wait)
    with holding(path):
        waiting.start()
        assert not taken.is_set()
        path.unlink()
    waiting.join(30)
    assert taken.is_set()
    with holding(path, wait=False) as is_free:
        assert is_free

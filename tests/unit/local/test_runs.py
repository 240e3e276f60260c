"""Runs on disk, without a process but this one."""

import errno
import os
from pathlib import Path

import msgspec
import pytest

from tiffin.kits import processes
from tiffin.kits.paths import DataDirectory
from tiffin.local import runs


def created(home: Path) -> tuple[DataDirectory, runs.Run]:
    data = DataDirectory(home).make()
    with runs.lock(data):
        return data, runs.create(data, host="127.0.0.1", port=8080)


def test_a_run_is_found_with_what_was_noted_and_its_owner_is_alive(tmp_path: Path) -> None:
    data, run = created(tmp_path)
    stranger = processes.Identity(2**22 + 5, 1.0)
    run.started("r0", stranger)
    run.bound(9000)
    ((directory, state),) = runs.found(data)
    assert directory == run.directory
    assert state is not None
    assert state.owner.pid == os.getpid()
    assert (state.port, state.processes) == (9000, {"r0": stranger})
    assert runs.is_alive(state)
    run.ended("r0")
    assert run.state.processes == {}
    run.remove()
    assert runs.found(data) == []


def test_a_run_whose_owner_is_gone_is_not_alive_and_is_cleared(tmp_path: Path) -> None:
    data, run = created(tmp_path)
    dead = msgspec.structs.replace(run.state, owner=processes.Identity(os.getpid(), 1.0))
    assert not runs.is_alive(dead)
    assert runs.clear(run.directory, dead, grace_seconds=0) == 0
    assert runs.found(data) == []


def test_a_run_killed_before_it_wrote_its_state_is_cleared_too(tmp_path: Path) -> None:
    data, run = created(tmp_path)
    (run.directory / "state.json").write_text("{")
    assert run.sockets.is_dir()
    ((directory, state),) = runs.found(data)
    assert state is None
    assert not runs.is_alive(state)
    runs.clear(directory, state, grace_seconds=0)
    assert runs.found(data) == []
    assert not run.sockets.exists()


def test_sockets_move_to_the_temporary_directory_when_their_path_would_be_too_long(tmp_path: Path) -> None:
    _, run = created(tmp_path / ("long" * 20))
    sockets = run.sockets
    assert len(str(sockets / "r9999.9999.sock")) < 104
    assert sockets.is_dir()
    run.remove()
    assert not sockets.exists()


def test_only_the_last_logs_are_kept(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path).make()
    for age in range(9):
        old = data.logs / f"old{age}"
        old.mkdir()
        os.utime(old, (age, age))
    _, run = created(tmp_path)
    assert {path.name for path in data.logs.iterdir()} == {"old4", "old5", "old6", "old7", "old8", run.id}
    run.remove()


def test_a_full_disk_does_not_keep_a_run_from_ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, run = created(tmp_path)
    run.started("r0", processes.Identity(2**22 + 5, 1.0))

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(runs.files, "write_atomic", full)
    with pytest.raises(OSError, match="No space"):
        run.started("r1", processes.Identity(2**22 + 6, 1.0))
    run.ended("r0")
    run.remove()
    assert runs.found(data) == []

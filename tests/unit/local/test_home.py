"""A data directory and the one controller it has."""

import os
from pathlib import Path

import msgspec
import pytest

from tiffin.errors import PlatformError, ProcessError
from tiffin.kits import processes
from tiffin.kits.paths import DataDirectory
from tiffin.local import home
from tiffin.local.home import Home


def test_a_second_controller_is_refused_with_who_is_the_first(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path)
    assert not home.is_locked(data)
    first = Home.claim(data)
    first.note(host="127.0.0.1", port=8081)
    assert home.is_locked(data)
    with pytest.raises(ProcessError, match=rf"another `tiffin up` \(pid {os.getpid()}, port 8081\)") as caught:
        Home.claim(data)
    assert "tiffin apply" in str(caught.value.hint)
    first.release()
    second = Home.claim(data)
    assert second.left is not None
    assert second.left.port == 8081
    second.remove()
    second.release()
    assert not any(data.run.iterdir())
    assert not home.has_leftovers(data)


def test_who_runs_here_is_known_by_more_than_a_pid(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path).make()
    assert home.running(data) is None
    stranger = home.State(owner=processes.Identity(os.getpid(), 1.0), host="127.0.0.1", port=1)

    (data.run / "state.json").write_bytes(msgspec.json.encode(stranger))
    assert home.read_state(data) == stranger
    assert home.running(data) is None
    (data.run / "state.json").write_text("{")
    assert home.read_state(data) is None


def test_sockets_are_at_the_same_place_for_every_controller_also_when_the_path_is_long(tmp_path: Path) -> None:
    short, long = DataDirectory(Path("/srv/t")), DataDirectory(tmp_path / ("long" * 25))
    assert home.sockets_of(short) == Path("/srv/t/run/sockets")
    assert home.sockets_of(long) == home.sockets_of(long)
    assert len(str(home.sockets_of(long) / "r9999.9999.sock")) < 104
    first = Home.claim(long)
    assert first.sockets.is_dir()
    first.remove()
    first.release()
    assert not first.sockets.exists()


def test_a_socket_directory_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "home").make()
    (data.run / "sockets").mkdir(mode=0o700)
    (data.run / "sockets").chmod(0o777)
    with pytest.raises(PlatformError, match="is not ours alone"):
        Home.claim(data)


def test_a_log_that_grew_too_large_keeps_its_end_and_its_writer_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home, "LOG_MOST_BYTES", 1000)
    monkeypatch.setattr(home, "LOG_KEPT_BYTES", 100)
    own = Home.claim(DataDirectory(tmp_path))
    with (own.logs / "a.log").open("ab", buffering=0) as writer:
        for number in range(200):
            writer.write(b"line %d\n" % number)
        own.cap_logs()
        writer.write(b"after\n")
    lines = (own.logs / "a.log").read_text().splitlines()
    assert "what came before was dropped" in lines[0]
    assert lines[-2:] == ["line 199", "after"]
    assert len(lines) < 20
    own.remove()
    own.release()


def test_logs_of_what_runs_are_kept_and_old_ones_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home, "LOGS_KEPT", 2)
    own = Home.claim(DataDirectory(tmp_path))
    for number in range(5):
        path = own.logs / f"{number}.log"
        path.touch()
        os.utime(path, (number, number))
    own.prune_logs({"0.log"})
    assert sorted(path.name for path in own.logs.iterdir()) == ["0.log", "3.log", "4.log"]
    own.remove()
    own.release()

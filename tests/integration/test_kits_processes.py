"""Children, their identity and their end, with real processes."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tiffin.errors import PortInUse, ProcessError
from tiffin.kits import http, ports, processes, waiting

PATIENT = "import signal, sys; print('up', flush=True); signal.pause()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"
FORKING = """
import os, signal
if os.fork():
    print('up', flush=True)
else:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print('forked', os.getpid(), flush=True)
    signal.pause()
signal.pause()
"""


async def started(code: str, log: Path, *words: str) -> processes.Child:
    child = await processes.Child.start([sys.executable, "-c", code], name="a child", log=log)

    async def ask() -> bool | None:
        return all(word in log.read_text() for word in words) or None

    assert await waiting.until(ask, seconds=10), log.read_text()
    return child


def test_a_polite_child_ends_on_sigterm_and_is_gone(tmp_path: Path) -> None:
    async def scenario() -> None:
        child = await started(PATIENT, tmp_path / "log", "up")
        assert processes.find(child.identity) is not None
        await child.stop(grace_seconds=5)
        assert child.exit_code == -signal.SIGTERM
        assert processes.find(child.identity) is None

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_a_stubborn_child_is_killed_after_its_grace(tmp_path: Path) -> None:
    async def scenario() -> None:
        child = await started(STUBBORN, tmp_path / "log", "up")
        await child.stop(grace_seconds=0.2)
        assert child.exit_code == -signal.SIGKILL

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_what_a_child_forked_ends_with_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        log = tmp_path / "log"
        child = await started(FORKING, log, "up", "forked")
        forked = int(log.read_text().split("forked ")[1].split()[0])
        await child.stop(grace_seconds=5)

        async def gone() -> bool | None:
            running = psutil.pid_exists(forked) and psutil.Process(forked).status() != psutil.STATUS_ZOMBIE
            return None if running else True

        assert await waiting.until(gone, seconds=10)

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_a_command_that_does_not_exist_is_a_process_error(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match="no-such-program"):
        asyncio.run(processes.Child.start(["/no-such-program"], name="x", log=tmp_path / "log"))


def test_the_end_of_a_child_is_told_with_its_last_lines(tmp_path: Path) -> None:
    async def scenario() -> str:
        child = await processes.Child.start(
            [sys.executable, "-c", "import sys; print('because'); sys.exit(7)"], name="r1", log=tmp_path / "log"
        )
        await child.exited()
        return child.describe_end()

    text = asyncio.run(scenario())
    assert "r1 ended with exit code 7" in text
    assert "because" in text


def test_a_pid_with_another_creation_time_is_a_stranger() -> None:
    me = processes.identify(os.getpid())
    assert me is not None
    assert processes.find(me) is not None
    assert processes.find(processes.Identity(me.pid, me.created - 60)) is None


def test_left_over_processes_are_found_by_their_command_line_and_stopped(tmp_path: Path) -> None:
    marker = str(tmp_path / "run-marker")
    # Orphans of a shell that has ended, as those of a killed supervisor are.
    script = '"$0" -c "$1" "$2" >"$3" 2>&1 & echo $!'
    subprocess.run(["sh", "-c", script, sys.executable, PATIENT, marker, str(tmp_path / "log")], check=True)
    found = processes.mentioning(marker)
    try:
        assert len(found) == 1
        assert processes.stop(found, grace_seconds=5) == found
    finally:
        for identity in found:
            processes.stop([identity], grace_seconds=0)
    assert processes.mentioning(marker) == []


def test_a_taken_port_names_its_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortInUse, match=f"port {port} .* in use by .*pid {os.getpid()}"):
            ports.check_free("127.0.0.1", port)
    ports.check_free("127.0.0.1", port)


def test_a_silent_or_absent_peer_gives_no_answer(tmp_path: Path) -> None:
    assert http.get(str(tmp_path / "none.sock"), "/readyz") is None
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen(1)
        assert http.get(str(tmp_path / "s"), "/readyz", seconds=0.1) is None


def orphan(code: str, log: Path) -> processes.Identity:
    """A process in a session of its own whose parent has ended."""
    script = 'setsid "$0" -c "$1" >"$2" 2>&1 & echo $!'
    done = subprocess.run(["sh", "-c", script, sys.executable, code, str(log)], check=True, capture_output=True)
    identity = processes.identify(int(done.stdout))
    assert identity is not None

    async def ask() -> bool | None:
        return "up" in log.read_text() or None

    assert asyncio.run(waiting.until(ask, seconds=10))
    return identity


def test_the_end_of_an_adopted_process_is_learnt(tmp_path: Path) -> None:
    identity = orphan(PATIENT, tmp_path / "log")

    async def main() -> None:
        adopted = processes.Adopted(identity, name="an orphan", log=tmp_path / "log")
        assert adopted.exit_code is None
        os.kill(identity.pid, signal.SIGKILL)
        assert await asyncio.wait_for(adopted.exited(), 5) == processes.UNKNOWN
        assert adopted.describe_end().startswith("an orphan ended; its last log lines:\n    up")

    asyncio.run(main())


def test_an_adopted_process_that_ignores_sigterm_is_killed_with_what_it_started(tmp_path: Path) -> None:
    identity = orphan(f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{FORKING}", tmp_path / "log")

    async def main() -> None:
        adopted = processes.Adopted(identity, name="an orphan", log=tmp_path / "log")
        await adopted.stop(grace_seconds=0.1)

    asyncio.run(main())
    forked = [int(line.split()[1]) for line in (tmp_path / "log").read_text().splitlines() if "forked" in line]
    left = [processes.identify(pid) for pid in forked]
    assert processes.wait_gone([one for one in left if one], seconds=5) == []
    assert processes.find(identity) is None


def test_a_process_with_the_number_but_not_the_birth_of_an_adopted_one_is_left_alone(tmp_path: Path) -> None:
    identity = orphan(PATIENT, tmp_path / "log")
    other = processes.Identity(identity.pid, identity.created - 100)

    async def main() -> None:
        adopted = processes.Adopted(other, name="a stranger", log=tmp_path / "log")
        assert adopted.exit_code == processes.UNKNOWN
        await adopted.stop(grace_seconds=0)

    try:
        asyncio.run(main())
        assert processes.find(identity) is not None
    finally:
        processes.stop([identity], grace_seconds=0)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the time is of the clock that people set")
def test_the_birth_of_a_process_is_told_by_a_clock_that_nobody_sets() -> None:
    me = processes.identify(os.getpid())
    assert me is not None
    assert 0 < me.created <= time.clock_gettime(time.CLOCK_BOOTTIME)

"""Segments read while they are written, and after their writer was killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.kits import spool


def test_what_is_written_is_read_while_the_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.spool"
    writer = spool.Writer(path)
    writer.append([b"one", b""])
    blocks, offset = spool.read(path, 0)
    assert (blocks, offset) == ([b"one", b""], writer.size)
    assert not spool.is_finished(path)
    writer.append([b"two"])
    assert spool.read(path, offset)[0] == [b"two"]
    writer.close()
    assert spool.is_finished(path)


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=5), st.integers(1, 400))
def test_any_torn_tail_is_left_out(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[bytes], cut: int
) -> None:
    path = tmp_path_factory.mktemp("spool") / "a.spool"
    writer = spool.Writer(path)
    writer.append(blocks)
    writer.close()
    os.truncate(path, max(0, writer.size - cut))
    found, offset = spool.read(path, 0)
    assert found == blocks[: len(found)]
    assert len(found) < len(blocks)
    assert spool.read(path, offset) == ([], offset)


def test_a_damaged_block_ends_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.spool"
    writer = spool.Writer(path)
    writer.append([b"good", b"bad!", b"after"])
    writer.close()
    data = bytearray(path.read_bytes())
    data[8 + 4 + 8] ^= 1
    path.write_bytes(data)
    assert spool.read(path, 0)[0] == [b"good"]
    path.write_bytes(b"\xff" * 20)
    assert spool.read(path, 0) == ([], 0)


def test_a_full_disk_leaves_whole_blocks(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    path = tmp_path / "a.spool"
    writer = spool.Writer(path)
    writer.append([b"kept"])
    own, writer._file = writer._file, full.open("wb", buffering=0)
    with pytest.raises(OSError, match="space"):
        writer.append([b"lost"])
    writer._file.close()
    writer._file = own
    writer.append([b"next"])
    writer.close()
    assert spool.read(path, 0)[0] == [b"kept", b"next"]


def test_the_segment_of_a_killed_writer_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "a.spool"
    program = (
        "import pathlib, sys; from tiffin.kits import spool; "
        "w = spool.Writer(pathlib.Path(sys.argv[1])); w.append([b'x']); "
        "print('ready', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        assert not spool.is_finished(path)
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert spool.is_finished(path)
    assert spool.read(path, 0)[0] == [b"x"]

"""Calls on their way from the spool into Parquet: bounded, readable at all times, and none twice."""

import os
import sys
from pathlib import Path

import msgspec
import pytest

from tiffin.errors import MissingExtra
from tiffin.kits import spool
from tiffin.local import recordings
from tiffin.local.recordings import Archive, Kept, Spools
from tiffin.spec.recording import SAMPLING, Record, Recording, Sampling

parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow: pip install 'tiffin[record]'")


def record(number: int, size: int = 10) -> Record:
    return Record(
        id=f"call-{number}",
        time=1000.0 + number,
        seconds=0.5,
        method="POST",
        path="/predict",
        query="a=1",
        headers={"content-type": "application/json"},
        body=os.urandom(size),
        status=200,
        answer_headers={"content-type": "application/json"},
        answer=b"[1]",
        flags=4,
    )


def write(directory: Path, name: str, records: list[Record]) -> spool.Writer:
    writer = spool.Writer(directory / f"{name}{spool.SUFFIX}")
    writer.append([msgspec.msgpack.encode(one) for one in records])
    return writer


def test_a_spool_is_read_while_it_is_written_and_removed_when_it_is_finished(tmp_path: Path) -> None:
    spools = Spools(tmp_path)
    directory = Path(spools.make("iris-00001", "main").directory)
    first = [record(number) for number in range(3)]
    writer = write(directory, "1", first)
    assert list(spools.collect()) == [Kept("iris-00001", one) for one in first]
    spools.let_go()
    assert writer.path.exists()
    writer.append([msgspec.msgpack.encode(record(3))])
    writer.close()
    assert [kept.record.id for kept in spools.collect()] == ["call-3"]
    assert writer.path.exists()
    spools.let_go()
    assert not writer.path.exists()
    assert list(spools.collect()) == []
    assert spools.offsets == {}


def test_the_torn_tail_of_a_killed_replica_is_left_out(tmp_path: Path) -> None:
    spools = Spools(tmp_path)
    writer = write(Path(spools.make("r", "main").directory), "1", [record(1), record(2)])
    writer.close()
    os.truncate(writer.path, writer.size - 5)
    assert [kept.record.id for kept in spools.collect()] == ["call-1"]
    spools.let_go()
    assert not writer.path.exists()


def test_what_is_no_call_is_left_out(tmp_path: Path) -> None:
    spools = Spools(tmp_path)
    writer = spool.Writer(Path(spools.make("r", "main").directory) / "1.spool")
    writer.append([b"\xc1 not a call", msgspec.msgpack.encode([1, 2]), msgspec.msgpack.encode(record(1))])
    writer.close()
    assert [kept.record.id for kept in spools.collect()] == ["call-1"]


def test_sampling_is_said_and_taken_back(tmp_path: Path) -> None:
    spools = Spools(tmp_path)
    path = Path(spools.make("r", "shadow").directory) / SAMPLING
    spools.want("r", Sampling(percent=20.0))
    assert msgspec.json.decode(path.read_bytes(), type=Sampling).percent == 20.0
    before = path.stat().st_mtime_ns
    spools.want("r", Sampling(percent=20.0))
    assert path.stat().st_mtime_ns == before
    spools.want("r", None)
    assert not path.exists()
    assert (spools.revisions(), spools.variant("r"), spools.variant("other")) == (["r"], "shadow", "")


def test_calls_come_back_from_parquet_as_they_were(tmp_path: Path) -> None:
    archive = Archive(tmp_path, Recording())
    records = [record(number) for number in range(5)]
    for one in records:
        archive.add(Kept("iris-00001", one))
    assert archive.flush({})
    assert archive.read() == [Kept("iris-00001", one) for one in records]
    assert [kept.record.id for kept in archive.read(most=2)] == ["call-3", "call-4"]
    table = parquet.read_table(str(archive.files()[0]))
    assert table.column("revision").to_pylist() == ["iris-00001"] * 5


def test_small_files_are_joined_and_large_ones_are_not(tmp_path: Path) -> None:
    archive = Archive(tmp_path, Recording(max_bytes=800_000))
    for number in range(5):
        archive.add(Kept("r", record(number)))
        archive.flush({})
    assert len(archive.files()) == 1
    assert len(archive.read()) == 5
    archive.add(Kept("r", record(6, 90_000)))
    archive.flush({})
    archive.add(Kept("r", record(7)))
    archive.flush({})
    assert len(archive.files()) == 2
    assert len(archive.read()) == 7


def test_the_oldest_go_when_there_is_too_much(tmp_path: Path) -> None:
    archive = Archive(tmp_path, Recording(max_bytes=400_000))
    for number in range(100):
        archive.add(Kept("r", record(number, 20_000)))
        assert archive.size <= 400_000
    archive.flush({})
    assert archive.size <= 400_000
    kept = [one.record.id for one in archive.read()]
    assert kept[-1] == "call-99"
    assert kept == [f"call-{number}" for number in range(100 - len(kept), 100)]
    assert len(kept) >= 10


def test_only_the_sample_is_kept(tmp_path: Path) -> None:
    archive = Archive(tmp_path, Recording(percent=10.0))
    for number in range(500):
        archive.add(Kept("r", record(number)))
    archive.flush({})
    assert 20 < len(archive.read()) < 90


def test_after_a_kill_nothing_is_lost_and_nothing_is_there_twice(tmp_path: Path) -> None:
    spools, archive = Spools(tmp_path), Archive(tmp_path, Recording())
    directory = Path(spools.make("r", "main").directory)
    writer = write(directory, "1", [record(1), record(2)])
    for kept in spools.collect():
        archive.add(kept)
    archive.flush(spools.offsets)
    writer.append([msgspec.msgpack.encode(record(3))])
    for kept in spools.collect():
        archive.add(kept)
    # Killed here: what was not flushed is still in the spool.
    (tmp_path / "calls" / ".calls-9.parquet.tmp").write_bytes(b"half a file")
    (tmp_path / "calls" / "calls-0.parquet").write_bytes(b"a damaged file")
    spools, archive = Spools(tmp_path), Archive(tmp_path, Recording())
    spools.resume(Archive.offsets(tmp_path))
    writer.close()
    for kept in spools.collect():
        archive.add(kept)
    archive.flush(spools.offsets)
    spools.let_go()
    assert [kept.record.id for kept in archive.read()] == ["call-1", "call-2", "call-3"]
    assert not (tmp_path / "calls" / ".calls-9.parquet.tmp").exists()
    assert not writer.path.exists()


@pytest.mark.parametrize("text", ["", "[1]", "{broken", '{"r/1.spool": "x", "r/2.spool": -4}'])
def test_damaged_offsets_are_left_out(tmp_path: Path, text: str) -> None:
    (tmp_path / "collected.json").write_text(text)
    assert Archive.offsets(tmp_path) == {}


def test_a_full_disk_drops_calls_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(tmp_path, Recording())

    def full(path: Path, calls: list[Kept]) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recordings, "_write", full)
    archive.add(Kept("r", record(1)))
    assert not archive.flush({})
    assert (archive.dropped, archive.problem) == (1, "calls cannot be kept: No space left on device")
    monkeypatch.undo()
    archive.add(Kept("r", record(2)))
    assert archive.flush({})
    assert archive.problem == ""


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra) as raised:
        Archive(tmp_path, Recording())
    assert raised.value.hint == "pip install 'tiffin[record]'"

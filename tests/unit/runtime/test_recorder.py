"""What is written down of calls: the sample, its bounds, and what is left out."""

import os
from pathlib import Path

import msgspec
import pytest

from tiffin.kits import spool
from tiffin.protocol.head import Head
from tiffin.runtime import recorder
from tiffin.runtime.metrics import _RECORDED, _UNRECORDED, Metrics
from tiffin.runtime.recorder import Recorder
from tiffin.runtime.tap import Taken
from tiffin.spec.recording import SAMPLING, STREAMED, TRUNCATED_ANSWER, TRUNCATED_REQUEST, Record, Sampling, Spool


def sample(directory: Path, **fields: object) -> None:
    (directory / SAMPLING).write_bytes(msgspec.json.encode(Sampling(**fields)))  # type: ignore[arg-type]


def taken(call: str = "", body: bytes = b"{}", answer: bytes = b"[]", **fields: object) -> Taken:
    headers = {b"authorization": b"Bearer secret", b"cookie": b"a=b", b"content-type": b"application/json"}
    if call:
        headers[b"x-request-id"] = call.encode()
    head = Head("POST", "/v2/models/m/infer", b"", headers, len(body), True)
    kept = ((b"content-type", b"application/json"), (b"set-cookie", b"x"))
    return Taken(head, body, 5.0, 0.25, 200, kept, answer, **fields)  # type: ignore[arg-type]


def records(directory: Path) -> list[Record]:
    found = []
    for path in sorted(directory.glob("*.spool")):
        found += [msgspec.msgpack.decode(block, type=Record) for block in spool.read(path, 0)[0]]
    return found


def counted(metrics: Metrics) -> tuple[int, int]:
    return int(metrics._slots[_RECORDED]), int(metrics._slots[_UNRECORDED])


def test_nothing_is_wanted_until_the_directory_says_so_and_again_when_it_does_not(tmp_path: Path) -> None:
    made = Recorder(Spool(directory=str(tmp_path / "later")), Metrics([]))
    assert not made.look()
    (tmp_path / "later").mkdir()
    sample(tmp_path / "later", percent=100.0)
    assert made.look()
    (tmp_path / "later" / SAMPLING).unlink()
    assert not made.look()
    (tmp_path / "later" / SAMPLING).write_text("{broken")
    assert not made.look()
    made.close()


def test_calls_are_written_whole_without_secrets(tmp_path: Path) -> None:
    sample(tmp_path)
    metrics = Metrics([])
    made = Recorder(Spool(directory=str(tmp_path)), metrics)
    assert made.look()
    made.take(taken("abc", b'{"x": 1}', b'{"y": 2}'))
    made.close()
    (record,) = records(tmp_path)
    assert (record.id, record.body, record.answer, record.status) == ("abc", b'{"x": 1}', b'{"y": 2}', 200)
    assert record.headers == {"content-type": "application/json", "x-request-id": "abc"}
    assert record.answer_headers == {"content-type": "application/json"}
    assert (record.seconds, record.time, record.flags) == (0.25, 5.0, 0)
    assert counted(metrics) == (1, 0)


def test_two_replicas_take_the_same_sample(tmp_path: Path) -> None:
    taken_by = []
    for name in ("stable", "shadow"):
        directory = tmp_path / name
        directory.mkdir()
        sample(directory, percent=30.0)
        made = Recorder(Spool(directory=str(directory)), Metrics([]))
        made.look()
        for number in range(2000):
            made.take(taken(f"request-{number}"))
        made.close()
        taken_by.append({record.id for record in records(directory)})
    assert taken_by[0] == taken_by[1]
    assert 450 < len(taken_by[0]) < 750


def test_long_bodies_are_cut_and_flagged(tmp_path: Path) -> None:
    sample(tmp_path, max_body_bytes=10)
    made = Recorder(Spool(directory=str(tmp_path)), Metrics([]))
    made.look()
    made.take(taken("a", b"x" * 11, b"y" * 12))
    made.take(taken("b", b"x" * 10, b"y" * 10, is_streamed=True))
    made.close()
    first, second = records(tmp_path)
    assert (len(first.body), len(first.answer)) == (10, 10)
    assert first.flags == TRUNCATED_REQUEST | TRUNCATED_ANSWER
    assert second.flags == STREAMED


def test_what_does_not_fit_in_memory_is_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "PENDING_CALLS", 5)
    monkeypatch.setattr(recorder, "WRITE_SECONDS", 60.0)
    sample(tmp_path)
    metrics = Metrics([])
    made = Recorder(Spool(directory=str(tmp_path)), metrics)
    made.look()
    for number in range(8):
        made.take(taken(str(number)))
    made.close()
    assert [record.id for record in records(tmp_path)] == ["0", "1", "2", "3", "4"]
    assert counted(metrics) == (5, 3)


def test_a_spool_that_nobody_collects_stays_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "SEGMENT_BYTES", 2000)
    monkeypatch.setattr(recorder, "WRITE_SECONDS", 60.0)
    sample(tmp_path, max_spool_bytes=10_000)
    metrics = Metrics([])
    made = Recorder(Spool(directory=str(tmp_path)), metrics)
    made.look()
    for number in range(100):
        made.take(taken(str(number), b"x" * 500, b"y" * 500))
        made._write()
    made.close()
    size = sum(path.stat().st_size for path in tmp_path.glob("*.spool"))
    written, lost = counted(metrics)
    assert size < 10_000 + 2 * 2000 + 2000
    assert written + lost == 100
    assert lost > 50


def test_a_directory_that_cannot_be_written_loses_calls_not_the_replica(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "spool"
    directory.mkdir()
    sample(directory)
    metrics = Metrics([])
    made = Recorder(Spool(directory=str(directory)), metrics)
    made.look()
    (directory / SAMPLING).unlink()
    os.rmdir(directory)
    made.take(taken("a"))
    made.close()
    assert counted(metrics) == (0, 1)
    assert "cannot be recorded" in caplog.text


def test_replayed_calls_and_those_without_an_id(tmp_path: Path) -> None:
    sample(tmp_path)
    made = Recorder(Spool(directory=str(tmp_path)), Metrics([]))
    made.look()
    again = taken("a")
    again.head.headers[b"x-tiffin-replay"] = b"1"
    made.take(again)
    made.take(taken())
    made.take(taken())
    made.close()
    ids = [record.id for record in records(tmp_path)]
    assert len(set(ids)) == 2

"""Downloads of many files: at once, and going on where they were cut off."""

import threading

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tiffin.errors import StorageError
from tiffin.models import transfers
from tiffin.models.remotes import Entry

PIECE = transfers.PIECE_BYTES


class Cut(Exception):
    pass


class Remote(MemoryFileSystem):
    """Files in memory; it counts what is asked for, and breaks off when told to."""

    cachable = False
    store: dict = {}
    pseudo_dirs = [""]

    def __init__(self, files):
        super().__init__()
        self.store = {}
        self.asked = []
        self.cut_after = None
        self.lock = threading.Lock()
        for name, data in files.items():
            self.pipe_file(f"/bucket/{name}", data)

    def note(self, what):
        with self.lock:
            if self.cut_after is not None and len(self.asked) >= self.cut_after:
                raise Cut
            self.asked.append(what)

    def cat_file(self, path, start=None, end=None, **kwargs):
        self.note((path, start, end))
        return super().cat_file(path, start=start, end=end, **kwargs)

    def get_file(self, rpath, lpath, **kwargs):
        self.note((rpath, None, None))
        return super().get_file(rpath, lpath, **kwargs)


def entries(files, tag="1"):
    return [Entry(f"/bucket/{name}", name, len(data), tag) for name, data in sorted(files.items())]


def fetch(remote, files, tmp_path, *, key="k", uri="s3://bucket"):
    into = tmp_path / "into"
    into.mkdir(exist_ok=True)
    arrived = []
    transfers.download(
        remote, uri, entries(files), into, arrivals=tmp_path / "arrivals", key=key, report=arrived.append
    )
    return into, sum(arrived)


def large(byte):
    return bytes([byte]) * (2 * PIECE + 10)


def test_a_file_that_came_whole_while_another_failed_is_not_asked_for_again(tmp_path):
    files = {"a": large(1), "b": b"small"}
    remote, failed, asked = Remote(files), threading.Event(), threading.Event()

    def cut(path, start=None, end=None, **kwargs):
        assert asked.wait(30)
        failed.set()
        raise Cut

    def late(rpath, lpath, **kwargs):
        asked.set()
        assert failed.wait(30)
        Remote.get_file(remote, rpath, lpath, **kwargs)

    remote.cat_file, remote.get_file = cut, late
    with pytest.raises(Cut):
        fetch(remote, files, tmp_path)
    del remote.cat_file, remote.get_file
    fetch(remote, files, tmp_path)
    assert [path for path, *_ in remote.asked].count("/bucket/b") == 1


def test_files_arrive_whole_at_their_paths(tmp_path):
    files = {"model.bin": large(1), "deep/er/config.json": b"{}", "empty": b""}
    into, arrived = fetch(Remote(files), files, tmp_path)
    assert {str(path.relative_to(into)): path.read_bytes() for path in into.rglob("*") if path.is_file()} == files
    assert arrived == sum(map(len, files.values()))
    assert not any((tmp_path / "arrivals").iterdir())


@pytest.mark.parametrize("cut_after", range(5))
def test_what_was_cut_off_goes_on_where_it_was(tmp_path, cut_after):
    files = {"a": large(1), "b": b"small"}
    remote = Remote(files)
    remote.cut_after = cut_after
    if cut_after < 4:
        with pytest.raises(Cut):
            fetch(remote, files, tmp_path)
    remote.cut_after = None
    into, arrived = fetch(remote, files, tmp_path)
    assert (into / "a").read_bytes() == files["a"]
    assert (into / "b").read_bytes() == b"small"
    assert arrived == len(files["a"]) + 5  # what had come before counts as well
    assert len(remote.asked) == len(set(remote.asked)) == 4  # nothing was asked for twice


def test_a_listing_that_changed_begins_anew(tmp_path):
    files = {"a": large(1)}
    remote = Remote(files)
    remote.cut_after = 1
    with pytest.raises(Cut):
        fetch(remote, files, tmp_path)
    files = {"a": large(2)}
    into, _ = fetch(Remote(files), files, tmp_path, key="another")
    assert (into / "a").read_bytes() == files["a"]


def test_without_anything_to_tell_by_nothing_is_kept(tmp_path):
    files = {"a": large(1)}
    remote = Remote(files)
    remote.cut_after = 1
    with pytest.raises(Cut):
        fetch(remote, files, tmp_path, key="")
    files = {"a": large(2)}
    into, _ = fetch(Remote(files), files, tmp_path, key="")
    assert (into / "a").read_bytes() == files["a"]


def test_a_file_of_another_size_is_refused(tmp_path):
    with pytest.raises(StorageError, match="expected 3 bytes of a from s3://bucket, found 2"):
        fetch(Remote({"a": b"xx"}), {"a": b"xxx"}, tmp_path)


def test_a_web_server_is_not_asked_for_ranges(tmp_path):
    files = {"a": large(1)}
    remote = Remote(files)
    into, _ = fetch(remote, files, tmp_path, uri="https://host/a")
    assert (into / "a").read_bytes() == files["a"]
    assert remote.asked == [("/bucket/a", None, None)]

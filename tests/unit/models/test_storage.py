import errno
import subprocess
import sys
import zipfile
from pathlib import Path

import fsspec
import pytest

from tiffin.errors import StorageError
from tiffin.models import access, remotes, storage


def fetch(uri, tmp_path, **options):
    return storage.fetch(str(uri), base=tmp_path, cache=tmp_path / "cache", **options)


@pytest.fixture
def memory():
    filesystem = fsspec.filesystem("memory")
    filesystem.store.clear()
    yield filesystem
    filesystem.store.clear()


def test_a_local_path_is_used_where_it_is(tmp_path):
    (tmp_path / "a b.joblib").write_bytes(b"x")
    path = tmp_path / "a b.joblib"
    assert fetch("a b.joblib", tmp_path) == path
    assert fetch("./a b.joblib", tmp_path) == path
    assert fetch(path, tmp_path) == path
    assert fetch(f"file://{tmp_path}/a%20b.joblib", tmp_path) == path
    assert fetch(tmp_path, tmp_path) == tmp_path
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("nothing.joblib", "there is no file or directory"),
        ("/mnt/models/iris", "there is no file or directory"),
        ("file://models/iris", "expected file:///absolute/path"),
        ("pvc://claim/iris", "a volume claim of Kubernetes, which Tiffin does not read"),
        ("hdfs://node/iris", "is Hadoop"),
        ("hf://model", "expected hf://ORGANISATION/MODEL"),
        ("oci://registry.example.com/Model", "expected oci://host/repository:tag, found"),
        ("https://example.com/model.git", "a git repository"),
        ("nonsense://a/b", "expected an address such as"),
        ("simplecache::memory://x", "a chain"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(uri, says, tmp_path):
    with pytest.raises(StorageError, match=says) as caught:
        fetch(uri, tmp_path)
    assert caught.value.hint or "expected" in str(caught.value)


def test_a_local_archive_is_unpacked_once_and_again_when_it_changed(tmp_path):
    def pack(content):
        with zipfile.ZipFile(tmp_path / "model.zip", "w") as out:
            out.writestr("model.joblib", content)

    pack("one")
    first = fetch("model.zip", tmp_path)
    assert (first / "model.joblib").read_text() == "one"
    inode = first.stat().st_ino
    assert fetch("model.zip", tmp_path).stat().st_ino == inode
    pack("other")
    assert (fetch("model.zip", tmp_path) / "model.joblib").read_text() == "other"
    assert list((tmp_path / "cache/partial").iterdir()) == []


def test_a_directory_with_only_an_archive_is_that_archive(tmp_path):
    (tmp_path / "iris").mkdir()
    with zipfile.ZipFile(tmp_path / "iris" / "model.zip", "w") as out:
        out.writestr("model.joblib", "x")
    assert (fetch("iris", tmp_path) / "model.joblib").read_text() == "x"


def test_a_remote_directory_is_kept_by_its_content(memory, tmp_path):
    memory.pipe({"/iris/model.joblib": b"weights", "/iris/a/b.txt": b"b", "/copy/model.joblib": b"weights"})
    memory.pipe("/copy/a/b.txt", b"b")
    first = fetch("memory://iris", tmp_path)
    assert (first / "a/b.txt").read_bytes() == b"b"
    assert fetch("memory://copy", tmp_path) == first
    assert len(list((tmp_path / "cache/content").iterdir())) == 1


def test_unchanged_content_is_not_downloaded_again(memory, tmp_path):
    memory.pipe("/iris/model.joblib", b"weights")
    seen = []
    fetch("memory://iris", tmp_path, progress=seen.append)
    assert (seen[-1].done, seen[-1].total) == (7, 7)
    seen.clear()
    fetch("memory://iris", tmp_path, progress=seen.append)
    assert seen == []
    memory.pipe("/iris/model.joblib", b"changed")
    assert (fetch("memory://iris", tmp_path) / "model.joblib").read_bytes() == b"changed"


def test_a_download_that_fails_half_way_leaves_nothing(memory, tmp_path, monkeypatch):
    memory.pipe({"/iris/a": b"1", "/iris/b": b"2"})
    original = type(memory).get_file

    def get_file(self, rpath, lpath, **kwargs):
        if rpath.endswith("b"):
            raise OSError(errno.ENOSPC, "No space left on device")
        original(self, rpath, lpath, **kwargs)

    monkeypatch.setattr(type(memory), "get_file", get_file)
    with pytest.raises(StorageError, match="the disk is full") as caught:
        fetch("memory://iris", tmp_path)
    assert "make room" in caught.value.hint
    assert list((tmp_path / "cache/partial").iterdir()) == []
    assert not (tmp_path / "cache/content").exists()


def test_a_file_that_arrives_short_is_refused(memory, tmp_path, monkeypatch):
    memory.pipe("/iris/a", b"12345")
    monkeypatch.setattr(type(memory), "get_file", lambda self, rpath, lpath, **_: Path(lpath).write_bytes(b"123"))
    with pytest.raises(StorageError, match="expected 5 bytes of a"):
        fetch("memory://iris", tmp_path)


def test_what_does_not_fit_on_the_disk_is_not_begun(memory, tmp_path, monkeypatch):
    memory.pipe("/iris/a", b"12345")
    monkeypatch.setattr(storage.archives, "free_bytes", lambda path: 4)
    with pytest.raises(StorageError, match="has 5 bytes, and 4 are free"):
        fetch("memory://iris", tmp_path)


def test_what_had_arrived_needs_no_room_again(memory, tmp_path, monkeypatch):
    memory.pipe({"/iris/a": b"12345", "/iris/b": b"123"})
    usual, asked = type(memory).get_file, []

    def broken(self, rpath, lpath, **options):
        if rpath.endswith("b"):
            raise OSError("cut off")
        return usual(self, rpath, lpath, **options)

    with monkeypatch.context() as patch:
        patch.setattr(type(memory), "get_file", broken)
        with pytest.raises(StorageError, match="cut off"):
            fetch("memory://iris", tmp_path, room=asked.append)
    monkeypatch.setattr(storage.archives, "free_bytes", lambda path: 2)
    with pytest.raises(StorageError, match="has 8 bytes, of which 5 arrived before, and 2 are free"):
        fetch("memory://iris", tmp_path, room=asked.append)
    monkeypatch.setattr(storage.archives, "free_bytes", lambda path: 3)
    assert (fetch("memory://iris", tmp_path, room=asked.append) / "b").read_bytes() == b"123"
    assert asked == [8, 3, 3]


def test_a_key_that_leads_out_of_the_directory_is_refused():
    with pytest.raises(StorageError, match="outside of its directory"):
        remotes._relative("bucket/iris/../../x", "bucket/iris/", "s3://bucket/iris")


PUTS_TOGETHER = """
import sys, time
from pathlib import Path
from tiffin.models import contents
with contents.partial(Path(sys.argv[1])) as path:
    (path / "big").write_bytes(b"1" * 100)
    print(path, flush=True)
    time.sleep(600)
"""


def test_what_a_killed_process_left_is_removed_and_nothing_of_one_that_runs(memory, tmp_path):
    memory.pipe("/iris/a", b"1")
    command = [sys.executable, "-c", PUTS_TOGETHER, str(tmp_path / "cache")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        left = Path(child.stdout.readline().strip())
        try:
            fetch("memory://iris", tmp_path)
            assert (left / "big").exists()
        finally:
            child.kill()
    memory.pipe("/iris/a", b"2")
    fetch("memory://iris", tmp_path)
    assert list((tmp_path / "cache/partial").iterdir()) == []


def test_messages_do_not_show_what_is_secret():
    assert remotes.shown("https://user:word@host:1/a.joblib?X-Amz-Signature=abc") == "https://host:1/a.joblib"


def test_s3_settings_are_read_as_kserve_names_them():
    assert access.s3_options({}) == {"client_kwargs": {}, "use_ssl": True}
    env = {"S3_ENDPOINT": "minio:9000", "S3_VERIFY_SSL": "0"}
    assert access.s3_options(env)["client_kwargs"] == {"endpoint_url": "https://minio:9000", "verify": False}
    env |= {"S3_USE_HTTPS": "0", "awsAnonymousCredential": "True", "AWS_ACCESS_KEY_ID": "a"}
    options = access.s3_options(env)
    assert options["client_kwargs"]["endpoint_url"] == "http://minio:9000"
    assert (options["use_ssl"], options["anon"], "key" in options) == (False, True, False)
    env |= {"AWS_ENDPOINT_URL": "https://s3.example.com"}
    assert access.s3_options(env)["client_kwargs"]["endpoint_url"] == "https://s3.example.com"


def test_s3_keys_and_region_are_those_given():
    env = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "eu-west-1"}
    options = access.s3_options(env)
    assert (options["key"], options["secret"]) == ("a", "b")
    assert options["client_kwargs"]["region_name"] == "eu-west-1"


def test_an_azure_address_is_split_into_account_and_path():
    uri = "https://models.blob.core.windows.net/iris/v1"
    assert access.azure_address(uri) == ("abfs://iris/v1", "models")
    assert access.azure_address("https://example.com/iris") is None
    secret = {"AZURE_ACCOUNT_NAME": "models", "AZURE_STORAGE_ACCESS_KEY": "k"}
    assert access.options_of("abfs", uri, secret) == {"account_name": "models", "account_key": "k"}
    assert access.options_of("abfs", uri, {"AZURE_ACCOUNT_NAME": "models"})["anon"] is True


def test_a_google_account_is_a_file_or_what_is_in_it():
    assert access.options_of("gs", "", {"GOOGLE_APPLICATION_CREDENTIALS": "/a.json"}) == {"token": "/a.json"}
    found = access.options_of("gs", "", {"GOOGLE_APPLICATION_CREDENTIALS": '{"type": "service_account"}'})
    assert found == {"token": {"type": "service_account"}}
    with pytest.raises(StorageError) as raised:
        access.options_of("gs", "", {"GOOGLE_APPLICATION_CREDENTIALS": "{secret"})
    assert "secret" not in str(raised.value)


def test_neither_models_nor_storage_import_numpy():
    code = (
        "import sys, tiffin.models, tiffin.models.storage, tiffin.models.model; sys.exit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

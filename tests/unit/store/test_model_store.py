"""The local model store."""

import multiprocessing
import os
import signal
import threading

import pytest

from tiffin.errors import DiskFull, ModelError
from tiffin.store.manifest import Lineage
from tiffin.store.models import ModelStore
from tiffin.store.tags import Tag, new_version


@pytest.fixture
def store(tmp_path):
    return ModelStore(tmp_path / "models")


def save(store, tag="iris:v1", text="weights", **more):
    with store.create(tag, **more) as draft:
        (draft.path / "model.bin").write_text(text)
    return draft.stored


def test_a_model_is_kept_with_what_is_said_of_it(store):
    made = save(
        store,
        module="tiffin.sklearn",
        labels={"team": "flowers"},
        metadata={"accuracy": 0.97},
        lineage=Lineage(run="mlflow:/runs/6f3c", data="sha256:abc"),
    )
    found = store.get("iris:v1")
    assert found == made
    assert (found.path / "model.bin").read_text() == "weights"
    assert found.labels == {"team": "flowers"}
    assert found.metadata == {"accuracy": 0.97}
    assert found.lineage.run == "mlflow:/runs/6f3c"
    assert found.module == "tiffin.sklearn"
    assert found.size == len("weights")


def test_equal_models_have_one_digest_and_one_content(store):
    first, second = save(store, "iris:v1"), save(store, "other:v9")
    assert first.digest == second.digest
    assert len(store.shelf.digests()) == 1
    assert save(store, "iris:v2", labels={"a": "b"}).digest != first.digest


@pytest.mark.parametrize("name", ["iris:v1", "iris", "iris:latest", "iris:v", "IRIS:V1"])
def test_a_model_is_found_by_tag_name_and_beginning(store, name):
    save(store)
    assert store.get(name.lower()).tag == "iris:v1"


def test_a_beginning_of_several_versions_is_refused(store):
    save(store, "iris:ab1", "1")
    save(store, "iris:ab2", "2")
    with pytest.raises(ModelError, match="beginning of one version, found 2"):
        store.get("iris:ab")


def test_a_version_is_made_up_when_none_is_written(store):
    tag = Tag.from_str(save(store, "iris").tag)
    assert tag.name == "iris"
    assert len(tag.version) == 16
    assert new_version() != new_version()


def test_a_tag_leads_to_one_model_for_good(store):
    save(store)
    with pytest.raises(ModelError, match="iris:v1 exists already"):
        save(store, text="other")
    assert (store.get("iris:v1").path / "model.bin").read_text() == "weights"


def test_the_faster_of_two_that_save_one_tag_wins(store):
    with store.create("iris:v1") as slow:
        (slow.path / "model.bin").write_text("slow")
        save(store, text="fast")
        with pytest.raises(ModelError, match="exists already"):
            slow.stored = store._finish(slow.path.parent, slow.manifest, (store.shelf.find("iris:v1")[1],))
        (slow.path / "model.bin").write_text("fast")
    assert (store.get("iris:v1").path / "model.bin").read_text() == "fast"


def test_a_block_that_raises_stores_nothing(store):
    def half():
        with store.create("iris:v1") as draft:
            (draft.path / "model.bin").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert store.list() == []
    assert store.shelf.digests() == []
    assert not list(store.root.glob(".work-*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": {"a": 1}}, "expected labels as text"),
        ({"metadata": {"a": object()}}, "expected metadata that is JSON"),
    ],
)
def test_what_cannot_be_kept_is_refused(store, options, message):
    with pytest.raises(ModelError, match=message):
        save(store, **options)


def test_a_model_without_files_is_refused(store):
    with pytest.raises(ModelError, match="expected files for the model iris:v1"), store.create("iris:v1"):
        pass


@pytest.mark.parametrize("name", ["", "a/b:1", "../x:1", "iris:", "x" * 64, "iris:a b"])
def test_what_is_no_tag_of_a_model_is_refused(store, name):
    with pytest.raises(ModelError, match="expected"):
        save(store, name)


def test_a_link_out_of_the_model_is_refused(store):
    with pytest.raises(ModelError, match="expected a link to something"), store.create("iris:v1") as draft:
        (draft.path / "model.bin").symlink_to("/etc/passwd")


@pytest.mark.parametrize("link", ["loop", "."])
def test_a_loop_of_links_is_refused(store, link):
    with pytest.raises(ModelError, match="loop"), store.create("iris:v1") as draft:
        (draft.path / "loop").symlink_to(link)


def test_a_file_that_changed_is_named(store):
    path = save(store).path / "model.bin"
    path.write_text("evil")
    with pytest.raises(ModelError, match=r"iris:v1 is not what was stored: model.bin has changed"):
        store.get("iris:v1")
    path.unlink()
    with pytest.raises(ModelError, match=r"model.bin is missing"):
        store.get("iris:v1")


def test_saving_it_again_mends_a_model(store):
    (save(store).path / "model.bin").write_text("evil")
    save(store)
    assert (store.get("iris:v1").path / "model.bin").read_text() == "weights"


def test_the_last_tag_takes_the_content_with_it(store):
    save(store, "iris:v1")
    save(store, "other:v1")
    assert not store.delete("iris:v1")
    assert store.delete("other:v1")
    assert store.shelf.digests() == []
    with pytest.raises(ModelError, match="there is no model iris:v1"):
        store.get("iris:v1")


def test_what_is_needed_is_not_deleted(store):
    save(store)

    def may_go(digest):
        raise ModelError("the bundle iris:1 needs it")

    with pytest.raises(ModelError, match="needs it"):
        store.delete("iris:v1", may_go=may_go)
    assert store.get("iris:v1").tag == "iris:v1"


def test_files_and_directories_are_added(store, tmp_path):
    origin = tmp_path / "saved"
    (origin / "deep").mkdir(parents=True)
    (origin / "deep/a.bin").write_bytes(b"a")
    (origin / "run.sh").write_text("")
    (origin / "run.sh").chmod(0o755)
    stored = store.add(origin, "tree:1")
    assert [(f.path, f.executable) for f in stored.files] == [("deep/a.bin", False), ("run.sh", True)]
    assert store.add(origin / "run.sh", "file:1").files[0].path == "run.sh"
    with pytest.raises(ModelError, match="found nothing"):
        store.add(tmp_path / "absent", "x:1")


def test_an_imported_tree_is_checked(store, tmp_path):
    model = save(store)
    other = ModelStore(tmp_path / "other")
    assert other.import_tree(model.path.parent, "copy:1").digest == model.digest
    (model.path / "model.bin").write_text("evil")
    with pytest.raises(ModelError, match=r"model.bin has changed"):
        ModelStore(tmp_path / "third").import_tree(model.path.parent, "copy:1")
    manifest = model.path.parent / "model.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"model.bin"', b'"../../x"'))
    with pytest.raises(ModelError, match="path inside the tree"):
        ModelStore(tmp_path / "third").import_tree(model.path.parent, "copy:1")


def _write_until_killed(root, ready):
    with ModelStore(root).create("iris:v1") as draft:
        (draft.path / "model.bin").write_text("half")
        ready.set()
        threading.Event().wait()


def test_what_a_killed_writer_left_is_never_listed_and_cleared_later(store):
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    writer = context.Process(target=_write_until_killed, args=(store.root, ready))
    writer.start()
    assert ready.wait(20)
    assert store.shelf.leftovers() == []  # Its maker lives: it is none yet.
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    assert store.list() == []
    (left,) = store.shelf.leftovers()
    save(store)
    assert not left.exists()
    assert [model.tag for model in store.list()] == ["iris:v1"]


def _save_many(root, which):
    for number in range(10):
        save(ModelStore(root), f"iris:{which}-{number}", f"{number}")


def test_several_writers_of_the_same_models_do_not_disturb_each_other(store):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_save_many, args=(store.root, which)) for which in ("a", "b", "c")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert len(store.list()) == 30
    assert len(store.shelf.digests()) == 10
    for model in store.list():
        store.verify(model)


def test_a_full_disk_is_said_and_leaves_nothing(store, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tiffin.store.shelf.os.rename", full)
    with pytest.raises(DiskFull, match="no room for the model"):
        save(store)
    monkeypatch.undo()
    assert store.list() == []
    assert store.shelf.digests() == []

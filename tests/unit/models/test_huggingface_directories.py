"""Directories as Hugging Face lays them out, and the hub's cache of them."""

import json
from pathlib import Path

import pytest

from tiffin.errors import AuthorError, ModelError
from tiffin.kits.paths import DataDirectory
from tiffin.models import exchange
from tiffin.store.models import ModelStore


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    return DataDirectory(tmp_path / "home").make()


def write(directory: Path, **contents: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text('{"model_type": "bert"}')
    for name, content in contents.items():
        (directory / name.replace("__", ".")).write_text(content)
    return directory


def test_a_directory_comes_and_goes_as_it_is(tmp_path, data):
    write(tmp_path / "Tiny_BERT", model__safetensors="weights", tokenizer__json="{}")
    model = exchange.import_model(f"hf-dir:{tmp_path / 'Tiny_BERT'}", "", data, {})
    assert model.tag.startswith("tiny_bert:")
    assert {file.path for file in model.files} == {"config.json", "model.safetensors", "tokenizer.json"}
    out = exchange.export_model(model.tag, f"hf-dir:{tmp_path / 'out'}", data, {})
    assert (Path(out) / "model.safetensors").read_text() == "weights"
    with pytest.raises(ModelError, match="empty or new"):
        exchange.export_model(model.tag, f"hf-dir:{tmp_path / 'out'}", data, {})


def test_the_hubs_cache_is_read_through_its_links(tmp_path, data):
    cache = tmp_path / "models--acme--tiny-bert"
    (cache / "blobs").mkdir(parents=True)
    (cache / "refs").mkdir()
    for commit in ("ab12cd34", "ff00ff00"):
        snapshot = cache / "snapshots" / commit
        snapshot.mkdir(parents=True)
        for name in ("config.json", "model.safetensors"):
            (cache / "blobs" / f"{commit}-{name}").write_text(f"{commit} {name}")
            (snapshot / name).symlink_to(f"../../blobs/{commit}-{name}")
    (cache / "refs/main").write_text("ab12cd34")
    model = exchange.import_model(f"hf-dir:{cache}", "bert:v1", data, {})
    assert model.tag == "bert:v1"
    assert model.lineage.source == "hf://acme/tiny-bert:ab12cd34"
    assert (model.path / "model.safetensors").read_text() == "ab12cd34 model.safetensors"
    assert not (model.path / "model.safetensors").is_symlink()
    (cache / "refs/main").unlink()
    with pytest.raises(ModelError, match=r"expected one snapshot .*, found 2"):
        exchange.import_model(f"hf-dir:{cache}", "", data, {})


def test_what_is_missing_is_named(tmp_path, data):
    with pytest.raises(ModelError, match="found none at"):
        exchange.import_model(f"hf-dir:{tmp_path / 'nothing'}", "", data, {})
    (tmp_path / "plain").mkdir()
    with pytest.raises(ModelError, match=r"with config\.json, found none"):
        exchange.import_model(f"hf-dir:{tmp_path / 'plain'}", "", data, {})
    write(tmp_path / "bare")
    with pytest.raises(ModelError, match="expected weights"):
        exchange.import_model(f"hf-dir:{tmp_path / 'bare'}", "", data, {})
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    index = json.dumps({"weight_map": shards})
    half = {"model-00001-of-00002__safetensors": "x", "model__safetensors__index__json": index}
    write(tmp_path / "half", **half)
    with pytest.raises(ModelError, match=r"names the shard model-00002-of-00002\.safetensors"):
        exchange.import_model(f"hf-dir:{tmp_path / 'half'}", "", data, {})
    broken = write(tmp_path / "broken", model__safetensors="x")
    (broken / "vocab.txt").symlink_to("nowhere")
    with pytest.raises(ModelError, match=r"cannot read .*vocab\.txt"):
        exchange.import_model(f"hf-dir:{broken}", "", data, {})
    assert ModelStore(data.models).list() == []


def test_a_model_of_another_kind_is_not_written_as_one(tmp_path, data):
    with ModelStore(data.models).create("iris:v1") as draft:
        (draft.path / "model.joblib").write_text("x")
    with pytest.raises(ModelError, match=r"with config\.json"):
        exchange.export_model("iris:v1", f"hf-dir:{tmp_path / 'out'}", data, {})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("address", "environment", "said"),
    [
        ("models:/iris/1", {}, "MLFLOW_TRACKING_URI is not set"),
        ("models:/iris/1", {"MLFLOW_TRACKING_URI": "sqlite:///x"}, "MLFLOW_TRACKING_URI is sqlite"),
        ("mlflow://", {}, "expected mlflow://host:port"),
        ("mlflow://127.0.0.1:1/", {}, "expected mlflow://host:port"),
        ("mlflow://127.0.0.1:1/iris@", {}, "expected mlflow://host:port"),
        ("mlflow://127.0.0.1:1/iris/1/2", {}, "expected mlflow://host:port"),
    ],
)
def test_addresses_of_mlflow_that_are_none_are_named(address, environment, said, data):
    with pytest.raises(AuthorError, match=said):
        exchange.import_model(address, "", data, environment)

"""How artefacts come to pods."""

import re
from typing import Any

import msgspec
import pytest

from tiffin.dialects import secret_uses
from tiffin.dialects.secret_uses import SecretUse
from tiffin.errors import SpecError
from tiffin.kube.capabilities import Capabilities
from tiffin.kube.placement import Slot
from tiffin.kube.render.fetching import Delivery, delivery
from tiffin.kube.settings import Settings
from tiffin.spec import Artefact, Component, ContainerSource, ModelSource, Pod, Policy

PEM = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"


def model(uri: str, **fields: Any) -> Component:
    credentials = fields.pop("credentials", {})
    return Component(source=ModelSource(artefact=Artefact(uri), credentials=credentials), **fields)


def delivered(component: Component, *, settings: Settings | None = None, **capabilities: bool) -> Delivery:
    return delivery(
        Slot(variant="main", component=component), settings or Settings(), Capabilities(**capabilities)
    )


def test_an_address_is_fetched_into_a_volume_that_the_model_reads() -> None:
    found = delivered(model("s3://models/iris"))
    assert found.containers[0]["name"] == "storage-initializer"
    assert found.containers[0]["args"] == ["s3://models/iris", "/mnt/models"]
    assert found.mounts == [{"name": "kserve-provision-location", "mountPath": "/mnt/models", "readOnly": True}]
    writable = delivered(model("s3://models/iris", pod=Pod(is_read_only=False)))
    assert writable.mounts == [{"name": "kserve-provision-location", "mountPath": "/mnt/models"}]


def test_a_claim_is_mounted_where_it_is() -> None:
    found = delivered(model("pvc://models/a/b/"))
    assert found.containers == []
    assert found.volumes == [{"name": "kserve-pvc-source", "persistentVolumeClaim": {"claimName": "models"}}]
    assert found.mounts == [
        {"name": "kserve-pvc-source", "mountPath": "/mnt/models", "subPath": "a/b", "readOnly": True}
    ]


@pytest.mark.parametrize(
    ("uri", "modern", "containers", "volumes"),
    [
        ("oci://reg/m:1", True, [], ["tiffin-model-image"]),
        ("oci+native://reg/m:1", True, [], ["tiffin-model-image"]),
        ("oci://reg/m:1", False, ["modelcar"], ["modelcar"]),
        ("oci+fetch://reg/m:1", True, ["storage-initializer"], ["kserve-provision-location"]),
    ],
)
def test_an_image_is_mounted_lent_or_fetched(
    uri: str, modern: bool, containers: list[str], volumes: list[str]
) -> None:
    found = delivered(model(uri), image_volumes=modern)
    assert [one["name"] for one in found.containers] == containers
    assert [one["name"] for one in found.volumes] == volumes
    assert found.shares_processes is (containers == ["modelcar"])
    assert [one["mountPath"] for one in found.mounts] == ["/mnt" if found.shares_processes else "/mnt/models"]


def test_several_artefacts_share_a_volume_without_hiding_what_is_beside_them() -> None:
    mounts = {"/app/a": Artefact("s3://a"), "/app/a/b": Artefact("s3://b"), "/app/c": Artefact("s3://c")}
    found = delivered(Component(source=ContainerSource(image="i:1", mounts=mounts)))
    assert [(one["mountPath"], one["subPath"]) for one in found.mounts] == [("/app/a", "0"), ("/app/c", "1")]
    assert found.containers[0]["args"] == ["s3://a", "/app/a", "s3://b", "/app/a/b", "s3://c", "/app/c"]


def test_secrets_are_mounted_for_the_container_that_fetches_alone() -> None:
    credentials = secret_uses.written([SecretUse(kind="kserve", secret="bucket.one")])
    found = delivered(model("s3://models/iris", credentials=credentials))
    (container,) = found.containers
    secret = next(one for one in found.volumes if "secret" in one)
    assert secret["secret"] == {"secretName": "bucket.one"}
    place = {"name": secret["name"], "mountPath": "/var/run/tiffin/secrets/bucket.one", "readOnly": True}
    assert place in container["volumeMounts"]
    assert place not in found.mounts
    assert "." not in secret["name"]


def test_variables_that_concern_fetching_reach_it_and_no_others() -> None:
    spec = {"containers": [{"name": "kserve-container", "env": [{"name": "HF_TOKEN", "valueFrom": {"x": 1}}]}]}
    environment = {"AWS_REGION": "eu", "OMP_NUM_THREADS": "1", "HTTPS_PROXY": "http://p$1"}
    (container,) = delivered(model("hf://a/b", environment=environment, pod=Pod(spec=spec))).containers
    found = {one["name"]: one.get("value", one.get("valueFrom")) for one in container["env"]}
    assert found == {"AWS_REGION": "eu", "HTTPS_PROXY": "http://p$$1", "HF_TOKEN": {"x": 1}, "HOME": "/tmp"}


def test_a_cache_of_the_node_is_used_where_there_is_one() -> None:
    (container,) = delivered(model("s3://a"), settings=Settings(model_cache="/var/models")).containers
    assert {"name": "TIFFIN_MODEL_CACHE", "value": "/var/models"} in container["env"]
    assert {"name": "tiffin-model-cache", "mountPath": "/var/models"} in container["volumeMounts"]
    assert "TIFFIN_MODEL_CACHE_BYTES" not in str(container)


@pytest.mark.parametrize(("size", "found"), [("50Gi", 50 * 2**30), ("1.5G", 1_500_000_000), ("1e3", 1000)])
def test_the_bound_of_a_cache_is_told_in_bytes(size: str, found: int) -> None:
    settings = Settings(model_cache="/var/models", model_cache_size=size)
    (container,) = delivered(model("s3://a"), settings=settings).containers
    assert {"name": "TIFFIN_MODEL_CACHE_BYTES", "value": str(found)} in container["env"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            '{modelCache: /var/models, modelCacheSize: "50 GB"}',
            "expected `modelCacheSize` such as 50Gi, found 50 GB",
        ),
        ('{modelCache: /var/models, modelCacheSize: "0"}', "expected `modelCacheSize` such as 50Gi, found 0"),
        ('{modelCache: /var/models, modelCacheSize: "-1Gi"}', "such as 50Gi, found -1Gi"),
        ("{modelCacheSize: 50Gi}", "expected `modelCache` beside `modelCacheSize`"),
        ("{modelCache: var/models}", "expected a whole path as `modelCache`, found var/models"),
        ("{modelCache: /var/../models}", "expected a whole path"),
        ("{modelCache: '/var/a:b'}", "expected a whole path"),
    ],
)
def test_settings_of_a_cache_that_cannot_be_are_refused(settings: str, message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=re.escape(message)):
        msgspec.yaml.decode(settings, type=Settings)


def test_a_path_that_the_file_mounts_itself_needs_no_fetching() -> None:
    spec = {"containers": [{"name": "kserve-container", "volumeMounts": [{"name": "nfs", "mountPath": "/data/"}]}]}
    assert delivered(model("file:///data/iris", pod=Pod(spec=spec))) == Delivery()
    with pytest.raises(SpecError, match="a path of this machine"):
        delivered(model("file:///database/iris", pod=Pod(spec=spec)))


@pytest.mark.parametrize(
    ("component", "message"),
    [
        (model("./model"), "a path of this machine"),
        (model("model://iris:1"), "this machine's store"),
        (model("pvc://"), "pvc://claim/path"),
        (model("oci+native://reg/m:1"), "cannot mount images"),
        (model("s3://a", policy=Policy(require_signature=True)), "as PEM, found none"),
        (model("s3://a", policy=Policy(require_signature=True, keys=("key.pem",))), r"as PEM, found key\.pem"),
        (model("pvc://a", policy=Policy(require_signature=True, keys=(PEM,))), "signature is compared"),
        (model("s3://a", credentials={"AWS_SECRET_ACCESS_KEY": "x"}), "Secrets of the cluster"),
    ],
)
def test_what_cannot_come_to_a_pod_is_refused_with_what_to_do(component: Component, message: str) -> None:
    with pytest.raises(SpecError, match=message) as raised:
        delivered(component)
    assert raised.value.hint
    assert str(raised.value.at).startswith("predictor.")


def test_required_signatures_are_compared_where_files_are_fetched() -> None:
    component = model("s3://a", policy=Policy(require_signature=True, keys=(PEM,)))
    (container,) = delivered(component).containers
    assert {"name": "TIFFIN_REQUIRE_SIGNATURE", "value": PEM} in container["env"]

"""What a pod makes of mounted secrets is what a reader makes of the same secrets beside a file."""

import json

import msgspec
import pytest

from tiffin.dialects import secret_uses
from tiffin.dialects.resources import ConfigMap, Resources, Secret, ServiceAccount
from tiffin.dialects.sources import parse
from tiffin.errors import SpecError

S3 = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "very secret"}
ENTRY = {"type": "s3", "bucket": "b", "access_key_id": "id", "secret_access_key": "very secret", "region": "eu"}
ISVC = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {{name: iris, annotations: {{{annotations}}}}}
spec:
  predictor:
    {account}
    model:
      modelFormat: {{name: sklearn}}
      {model}
"""
SDEP = """
apiVersion: machinelearning.seldon.io/v1
kind: SeldonDeployment
metadata: {name: iris}
spec:
  predictors:
  - name: default
    graph: {name: clf, implementation: SKLEARN_SERVER, modelUri: "mine://bucket/iris", envSecretRefName: one}
"""


def isvc(model="storageUri: s3://b/m", account="serviceAccountName: sa", annotations=""):
    return ISVC.format(model=model, account=account, annotations=annotations)


def resources(secrets, annotations=None, account=None, named=("one",), settings=None):
    maps = ()
    if settings is not None:
        written = {"credentials": json.dumps(settings)}
        maps = (ConfigMap(name="inferenceservice-config", namespace="kserve", data=written),)
    return Resources(
        secrets=tuple(
            Secret(name=name, data=data, annotations=annotations or {}) for name, data in secrets.items()
        ),
        service_accounts=(ServiceAccount(name="sa", secrets=named, annotations=account or {}),),
        config_maps=maps,
    )


def as_on_cluster(found: Resources) -> Resources:
    """What an operator passes: no data of any secret."""
    bare = tuple(msgspec.structs.replace(secret, data={}) for secret in found.secrets)
    return msgspec.structs.replace(found, secrets=bare, on_cluster=True)


CASES = {
    "s3": (isvc(), resources({"one": S3})),
    "s3 with annotations": (
        isvc(),
        resources(
            {"one": S3}, {"serving.kserve.io/s3-endpoint": "minio:9000", "serving.kserve.io/s3-usehttps": "0"}
        ),
    ),
    "s3 with the settings of KServe": (isvc(), resources({"one": S3}, settings={"s3": {"s3Region": "eu"}})),
    "gcs": (isvc("storageUri: gs://b/m"), resources({"one": {"gcloud-application-credentials.json": "{}"}})),
    "azure, in the old words": (
        isvc("storageUri: https://a.blob.core.windows.net/c/m"),
        resources({"one": {"AZ_CLIENT_ID": "c", "AZ_CLIENT_SECRET": "very secret", "AZ_TENANT_ID": "t"}}),
    ),
    "headers": (
        isvc("storageUri: https://host/m.joblib"),
        resources({"one": {"https-host": "host", "headers": "Authorization: Bearer very secret\nX: y"}}),
    ),
    "hugging face": (isvc("storageUri: hf://a/b"), resources({"one": {"HF_TOKEN": "very secret"}})),
    "several": (isvc(), resources({"one": S3, "two": {"HF_TOKEN": "very secret"}}, named=("one", "two"))),
    "an annotation chooses": (
        isvc(annotations='serving.kserve.io/storageSecretName: "two"'),
        resources({"one": S3, "two": {"HF_TOKEN": "very secret"}}),
    ),
    "a role": (
        isvc(),
        resources(
            {}, account={"eks.amazonaws.com/role-arn": "arn", "serving.kserve.io/s3-region": "eu"}, named=()
        ),
    ),
    "storage": (
        isvc("storage: {key: k, path: models/iris}", ""),
        resources({"storage-config": {"k": json.dumps(ENTRY)}}),
    ),
    "storage by its type, with parameters": (
        isvc("storage: {path: models/iris, parameters: {type: s3, bucket: other}}", ""),
        resources({"storage-config": {"default_s3": json.dumps(ENTRY)}}),
    ),
    "storage beside an address": (
        isvc("storageUri: s3://c/d\n      storage: {key: k}", ""),
        resources({"storage-config": {"k": json.dumps(ENTRY)}}),
    ),
    "rclone": (
        SDEP,
        resources(
            {
                "one": {
                    "RCLONE_CONFIG_MINE_TYPE": "s3",
                    "RCLONE_CONFIG_MINE_ACCESS_KEY_ID": "id",
                    "RCLONE_CONFIG_MINE_SECRET_ACCESS_KEY": "very secret",
                    "RCLONE_CONFIG_MINE_ENDPOINT": "minio:9000",
                }
            }
        ),
    ),
}


def source(text, known):
    (deployment,) = parse(text, resources=known)
    return deployment.components[0].source


@pytest.mark.parametrize("case", CASES)
def test_a_pod_finds_what_a_reader_finds(case):
    text, known = CASES[case]
    local = source(text, known)
    remote = source(text, as_on_cluster(known))
    data = {secret.name: secret.data for secret in known.secrets}
    uri, variables = secret_uses.resolved(
        remote.artefact.uri, secret_uses.read(remote.credentials), data.__getitem__
    )
    assert (uri, variables) == (local.artefact.uri, local.credentials)
    assert variables
    assert "very secret" not in msgspec.json.encode(remote).decode()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "specified storage key k not found in storage secret storage-config"),
        ({"k": "[]"}, "invalid json encountered in key k of storage secret storage-config: expected an object"),
        ({"k": "{}"}, "unable to determine storage type"),
        ({"k": '{"type": "ftp"}'}, "storage type [ftp] is not supported"),
        ({"k": '{"type": "s3"}'}, "requires a bucket"),
    ],
)
def test_what_an_entry_does_not_say_is_told_alike(entry, message):
    text = isvc("storage: {key: k, path: m}", "")
    known = resources({"storage-config": entry})
    with pytest.raises(SpecError) as local:
        source(text, known)
    remote = source(text, as_on_cluster(known))
    with pytest.raises(ValueError, match=r"stor|bucket") as there:
        secret_uses.resolved(remote.artefact.uri, secret_uses.read(remote.credentials), lambda _: entry)
    assert message in str(there.value)
    assert str(there.value) in local.value.message


def test_a_pod_without_secrets_is_told_nothing():
    assert source(isvc(), Resources(on_cluster=True)).credentials == {}


def test_what_is_no_list_of_secrets_is_refused():
    with pytest.raises(ValueError, match="expected a list of secrets in TIFFIN_CREDENTIALS"):
        secret_uses.read({"TIFFIN_CREDENTIALS": '{"a": 1}'})

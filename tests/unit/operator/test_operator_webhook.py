"""The webhook's verdicts and certificates, without a server."""

import datetime
import json
from typing import Any

import msgspec
import pytest
from cryptography import x509

from tiffin.dialects import live
from tiffin.errors import PlatformError, SpecError
from tiffin.operator.webhook import certificates, reviewing
from tiffin.spec import Deployment

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
HOST = "tiffin-operator.tiffin-system.svc"


async def reading(document: dict[str, Any]) -> Deployment:
    return live.read_object(document)


def isvc(**predictor: Any) -> dict[str, Any]:
    model = {"modelFormat": {"name": "sklearn"}, "storageUri": "s3://models/iris"}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "iris", "namespace": "default"},
        "spec": {"predictor": {"model": model, **predictor}},
    }


async def ask(document: Any, before: Any = None, read: Any = reading) -> dict[str, Any]:
    request = {"uid": "u1", "object": document, "oldObject": before}
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    found = await reviewing.answer(msgspec.json.encode(review), read)
    assert found["kind"] == "AdmissionReview"
    assert found["response"].pop("uid") == "u1"
    return found["response"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


pytestmark = pytest.mark.anyio


async def test_a_good_object_is_taken_without_a_word() -> None:
    assert await ask(isvc()) == {"allowed": True}


async def test_a_bad_one_is_refused_with_what_was_expected_and_where() -> None:
    response = await ask(isvc(minReplicas=3, maxReplicas=1))
    assert response["allowed"] is False
    assert response["status"]["code"] == 422
    assert "'MinReplicas' cannot be greater than MaxReplicas" in response["status"]["message"]
    assert "spec.predictor.minReplicas" in response["status"]["message"]


async def test_what_has_no_effect_is_a_warning() -> None:
    response = await ask(isvc(batcher={"maxBatchSize": 4, "maxLatency": 10}))
    assert response["allowed"] is True
    assert any(one.startswith("spec.predictor.batcher.maxLatency: ") for one in response["warnings"])
    assert all(len(one) <= reviewing.LONGEST_WARNING for one in response["warnings"])


async def test_what_was_taken_once_may_be_touched_and_deleted() -> None:
    bad = isvc(minReplicas=3, maxReplicas=1)
    labelled = {**bad, "metadata": {**bad["metadata"], "labels": {"a": "b"}}}
    going = {**bad, "metadata": {**bad["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert await ask(labelled, bad) == {"allowed": True}
    assert await ask(going, isvc()) == {"allowed": True}
    assert (await ask(bad, isvc()))["allowed"] is False
    assert await ask(None, bad) == {"allowed": True}


async def test_a_name_that_is_still_to_be_made_is_no_mistake() -> None:
    document = isvc()
    document["metadata"] = {"generateName": "iris-", "namespace": "default"}
    assert await ask(document) == {"allowed": True}


async def test_an_object_is_taken_when_it_cannot_be_judged() -> None:
    async def unreachable(document: dict[str, Any]) -> Deployment:
        raise PlatformError("no answer")

    async def not_ours(document: dict[str, Any]) -> None:
        return None

    bad = isvc(minReplicas=3, maxReplicas=1)
    assert await ask(bad, read=unreachable) == {"allowed": True}
    assert await ask(bad, read=not_ours) == {"allowed": True}


async def test_a_runtime_is_read_too() -> None:
    container = {"name": "kserve-container", "image": "a"}
    formats = [{"name": "a", "autoSelect": True, "priority": 1}, {"name": "a", "priority": 2}]
    runtime = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": "r", "namespace": "default"},
        "spec": {"containers": [container], "supportedModelFormats": formats},
    }
    assert (await ask(runtime))["allowed"] is False
    assert await ask({**runtime, "spec": {"containers": [container]}}) == {"allowed": True}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"request": 1}', b'{"request": {}}'])
async def test_what_is_no_review_is_refused(body: bytes) -> None:
    with pytest.raises(SpecError, match="expected an AdmissionReview"):
        await reviewing.answer(body, reading)


# ---- certificates


def days(count: float) -> datetime.datetime:
    return NOW + datetime.timedelta(days=count)


def test_a_certificate_is_of_the_authority_and_of_the_host() -> None:
    held = certificates.made(HOST, NOW)
    serving, authority = (
        x509.load_pem_x509_certificate(one.certificate) for one in (held.serving, held.authority)
    )
    serving.verify_directly_issued_by(authority)
    names = serving.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [HOST]
    assert held.trusted == held.authority.certificate
    assert certificates.from_secret(certificates.to_secret(held)) == held


def test_nothing_changes_while_it_is_good_for_long_enough() -> None:
    held = certificates.made(HOST, NOW)
    assert certificates.made(HOST, days(30), held) == held


def test_a_certificate_is_renewed_before_it_ends_by_the_same_authority() -> None:
    held = certificates.made(HOST, NOW)
    renewed = certificates.made(HOST, days(certificates.SERVING_DAYS * 0.7), held)
    assert renewed.serving != held.serving
    assert (renewed.authority, renewed.trusted) == (held.authority, held.trusted)


def test_an_authority_that_gives_way_stays_trusted() -> None:
    held = certificates.made(HOST, NOW)
    renewed = certificates.made(HOST, days(certificates.AUTHORITY_DAYS * 0.7), held)
    assert renewed.authority != held.authority
    assert renewed.trusted == renewed.authority.certificate + held.authority.certificate
    assert certificates.from_secret(certificates.to_secret(renewed)) == renewed
    again = certificates.made(HOST, days(certificates.AUTHORITY_DAYS * 1.4), renewed)
    assert again.trusted == again.authority.certificate + renewed.authority.certificate


def test_another_host_and_a_broken_secret_get_new_certificates() -> None:
    held = certificates.made(HOST, NOW)
    moved = certificates.made("other.svc", NOW, held)
    assert moved.serving != held.serving
    assert moved.authority == held.authority
    for name in certificates.NAMES:
        assert certificates.from_secret(certificates.to_secret(held) | {name: b""}) is None
    broken = certificates.from_secret(certificates.to_secret(held) | {"tls.crt": b"nonsense"})
    assert certificates.made(HOST, NOW, broken).serving.certificate.startswith(b"-----BEGIN")


def test_a_registration_says_whom_it_trusts() -> None:
    registration = json.loads('{"webhooks": [{"clientConfig": {"caBundle": "YQ=="}}, {"clientConfig": {}}]}')
    assert certificates.registered(registration) == {"YQ==", ""}

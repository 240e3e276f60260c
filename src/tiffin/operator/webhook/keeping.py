"""The webhook's certificate: kept in a Secret that all operators share, renewed in time, and trusted.

Where cert-manager keeps that Secret (it then has no ``ca.key``), it is used as it is, and cert-manager writes the
authority into the registration.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import datetime
import logging
import ssl
import tempfile
from pathlib import Path
from typing import Any

from tiffin.kube.client import Api, ApiError, Conflict, Kind, NotFound
from tiffin.kube.install.naming import CERTIFICATE, OPERATOR, WEBHOOK, made
from tiffin.kube.manifests import Manifest
from tiffin.operator.webhook import certificates
from tiffin.operator.webhook.certificates import Held, Pair

log = logging.getLogger(__name__)

SECRET = Kind("", "v1", "Secret", "secrets")
REGISTRATION = Kind(
    "admissionregistration.k8s.io",
    "v1",
    "ValidatingWebhookConfiguration",
    "validatingwebhookconfigurations",
    is_namespaced=False,
)
LOOK_SECONDS = 60.0
"""Between two looks at the Secret and the registration; they are reads."""
ATTEMPTS = 5


class Keeper:
    """``context`` is of the server, and is given each new certificate.

    ``name`` is what the API server calls the server; that of the operator's Service, unless another is given.
    """

    def __init__(self, api: Api, namespace: str, *, name: str = "") -> None:
        self._api = api
        self._namespace = namespace
        self._host = name or f"{OPERATOR}.{namespace}.svc"
        self._loaded: Pair | None = None
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2

    async def run(self) -> None:
        """Look again and again, until this is cancelled."""
        while True:
            try:
                await self.look()
            except ApiError as error:
                log.warning("the webhook's certificate cannot be kept: %s", error)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """See that there is a good certificate, that it is served, and that it is trusted. Raises ApiError."""
        data = await self._data()
        serving = Pair(data["tls.crt"], data["tls.key"])
        if serving != self._loaded:
            _load(self.context, serving)
            self._loaded = serving
        if data.get("ca.key"):
            await self._register(data["ca.crt"])

    async def _data(self) -> dict[str, bytes]:
        """The Secret's, made or renewed where that is due; another operator may be faster."""
        for _ in range(ATTEMPTS):
            secret = await self._secret()
            data = _decoded(secret)
            if data.get("tls.crt") and data.get("tls.key") and not data.get("ca.key"):
                return data
            before = certificates.from_secret(data)
            held = certificates.made(self._host, datetime.datetime.now(datetime.UTC), before)
            if held == before:
                return data
            with contextlib.suppress(Conflict):
                await self._write(secret, held)
                log.info("the webhook has a new certificate")
                return certificates.to_secret(held)
        raise Conflict(f"others keep writing the Secret {CERTIFICATE}")

    async def _secret(self) -> Manifest | None:
        with contextlib.suppress(NotFound):
            return await self._api.get(SECRET, self._namespace, CERTIFICATE)
        return None

    async def _write(self, secret: Manifest | None, held: Held) -> None:
        data = {name: base64.b64encode(value).decode() for name, value in certificates.to_secret(held).items()}
        if secret is None:
            fresh = made("v1", "Secret", CERTIFICATE, self._namespace, component=OPERATOR)
            await self._api.create(SECRET, fresh | {"type": "kubernetes.io/tls", "data": data})
        else:
            await self._api.replace(SECRET, secret | {"data": data})

    async def _register(self, trusted: bytes) -> None:
        try:
            registration = await self._api.get(REGISTRATION, "", WEBHOOK)
        except NotFound:
            return
        bundle = base64.b64encode(trusted).decode()
        if certificates.registered(registration) <= {bundle}:
            return
        change: dict[str, Any] = {
            "apiVersion": REGISTRATION.api_version,
            "kind": REGISTRATION.kind,
            "metadata": {"name": WEBHOOK},
            "webhooks": [
                {"name": one["name"], "clientConfig": {"caBundle": bundle}} for one in registration["webhooks"]
            ],
        }
        await self._api.apply(REGISTRATION, change)
        log.info("the API server trusts the webhook's authority")


def _decoded(secret: Manifest | None) -> dict[str, bytes]:
    found = {}
    for name, value in ((secret or {}).get("data") or {}).items():
        with contextlib.suppress(binascii.Error, ValueError):
            found[name] = base64.b64decode(value)
    return found


def _load(context: ssl.SSLContext, serving: Pair) -> None:
    """Into a context that may be in use: connections from now on get it."""
    with tempfile.TemporaryDirectory(prefix="tiffin-webhook-") as directory:
        place = Path(directory, "serving.pem")
        place.touch(0o600)
        place.write_bytes(serving.key + serving.certificate)
        context.load_cert_chain(place)

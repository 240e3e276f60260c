"""One registry and how it is asked: the client of the package ``oras``, made to log in by every scheme, to try
again where that helps, and to say what is wrong.
"""

from __future__ import annotations

import logging
import re
import threading
import urllib.parse
from collections.abc import Mapping
from typing import Any

import msgspec
import oras.logger
import oras.provider
import requests

from tiffin.errors import RegistryError
from tiffin.oci.answers import cause, problems, shown
from tiffin.oci.credentials import Credentials
from tiffin.oci.reference import Reference, is_loopback

log = logging.getLogger(__name__)

TRIES = 5
PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds before each further try."""
MOST_PAUSE = 60.0
TIMEOUTS = (10.0, 60.0)
"""Seconds to connect, and without a byte."""

_AGAIN = (408, 429, 500, 502, 503, 504)
_CHALLENGE = re.compile(r'([a-zA-Z_]+)="((?:[^"\\]|\\.)*)"')
BROKEN = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
"""What a connection that breaks raises."""

oras.logger.logger.quiet = True  # it prints what we say ourselves, and more often


class Connection(oras.provider.Registry):  # type: ignore[misc]
    """Asks one registry, from several threads at once.

    Args:
        reference: whose registry is asked; errors name it.
        credentials: who asks; None is anonymous.
        plain: without TLS.
    """

    def __init__(self, reference: Reference, credentials: Credentials | None, *, plain: bool) -> None:
        super().__init__(hostname=reference.host, insecure=plain)
        self.reference = reference
        self.credentials = credentials
        self.root = f"{self.prefix}://{reference.host}/v2"
        self.session.auth = _untouched
        self.session.headers["User-Agent"] = "tiffin"
        if reference.is_loopback:
            self.session.trust_env = False  # a proxy for the world outside is none for this machine
        self._headers: dict[str, str] = {}
        self._log_in = threading.Lock()
        self._pause = threading.Event()

    # ---- asking

    def ask(
        self,
        method: str,
        url: str,
        *,
        expect: tuple[int, ...] = (200,),
        headers: Mapping[str, str] | None = None,
        data: Any = None,
        stream: bool = False,
        what: str = "",
        tries: int = TRIES,
    ) -> requests.Response:
        """One answer with a status of ``expect``.

        Args:
            method: of HTTP.
            url: whole, or what follows ``/v2/``.
            expect: statuses that are no error.
            headers: of the request, beside who asks.
            data: the body; bytes only where it may be sent again.
            stream: leave the answer's body unread.
            what: what was asked for, for messages.
            tries: how often it is asked at most, when the connection breaks or the registry is busy.

        Raises:
            RegistryError: another status, or no answer.
        """
        whole = url if "://" in url else f"{self.root}/{url}"
        for number in range(tries):
            last = number + 1 == tries
            try:
                answer = self._once(method, whole, headers or {}, data, stream)
            except BROKEN as error:
                if last or isinstance(error, requests.exceptions.SSLError):
                    raise self.unreachable(error) from error
                log.debug("%s %s: %s; trying again", method, shown(whole), type(error).__name__)
                self.wait(number)
                continue
            if answer.status_code in expect:
                return answer
            if answer.status_code not in _AGAIN or last:
                raise self.refused(answer, what)
            log.debug("%s %s: %d; trying again", method, shown(whole), answer.status_code)
            self.wait(number, answer.headers.get("Retry-After", ""))
            answer.close()
        raise AssertionError("unreachable")

    def do_request(
        self,
        url: str,
        method: str = "GET",
        data: Any = None,
        headers: dict[str, str] | None = None,
        json: Any = None,
        stream: bool = False,
    ) -> requests.Response:
        """What the methods of ``oras`` ask by: every status is theirs to judge."""
        body = msgspec.json.encode(json) if json is not None else data
        return self._once(method, url, headers or {}, body, stream)

    def wait(self, number: int, retry_after: str = "") -> None:
        """Pause before another try; as long as the registry says, within reason."""
        seconds = PAUSES[min(number, len(PAUSES) - 1)]
        if retry_after.isdigit():
            seconds = min(float(retry_after), MOST_PAUSE)
        self._pause.wait(seconds)

    def _once(
        self, method: str, url: str, headers: Mapping[str, str], data: Any, stream: bool
    ) -> requests.Response:
        is_own = url.startswith(self.root)
        # What the registry sends elsewhere (an upload, a download from a store of objects) is not told who asks.
        key = "read" if method in ("GET", "HEAD") else "write"
        known = self._headers.get(key) if is_own else None
        answer = self._send(method, url, headers, data, stream, known)
        if answer.status_code != 401 or not is_own:
            return answer
        challenge = answer.headers.get("Www-Authenticate", "")
        answer.close()
        with self._log_in:
            if self._headers.get(key) == known:
                found = self._authorization(challenge)
                if found is None:
                    return answer
                self._headers[key] = found
        if hasattr(data, "seek"):
            data.seek(0)
        return self._send(method, url, headers, data, stream, self._headers[key])

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], data: Any, stream: bool, own: str | None
    ) -> requests.Response:
        whole = {"Accept-Encoding": "identity", **headers}
        if own is not None:
            whole["Authorization"] = own
        answer: requests.Response = self.session.request(
            method, url, data=data, headers=whole, stream=stream, timeout=TIMEOUTS, verify=self._tls_verify
        )
        return answer

    # ---- who asks

    def _authorization(self, challenge: str) -> str | None:
        """The header that answers a challenge; None when there is nothing to answer with."""
        scheme = challenge.partition(" ")[0].lower()
        if scheme == "basic":
            basic = self.credentials.basic if self.credentials else ""
            return f"Basic {basic}" if basic else None
        if scheme != "bearer":
            return None
        if self.credentials and self.credentials.bearer:
            return f"Bearer {self.credentials.bearer}"
        found = {name.lower(): value for name, value in _CHALLENGE.findall(challenge)}
        token = self._token(found)
        return f"Bearer {token}" if token else None

    def _token(self, challenge: Mapping[str, str]) -> str:
        """Ask the realm for a token; empty when it gives none."""
        realm = challenge.get("realm", "")
        parts = urllib.parse.urlsplit(realm)
        own = urllib.parse.urlsplit(self.root).hostname
        # Without TLS only where the registry itself is asked so, and only on its machine or this one.
        is_near = parts.hostname == own or is_loopback(parts.netloc)
        if parts.scheme != "https" and not (parts.scheme == self.prefix == "http" and is_near):
            raise RegistryError(
                f"{self.reference.registry} sends who asks to {shown(realm) or 'nowhere'}, which is not https",
                hint="the password was not sent there; ask who runs the registry",
            )
        asked = {key: challenge[key] for key in ("service", "scope") if challenge.get(key)}
        who = self.credentials
        try:
            if who is not None and who.refresh:
                form = {
                    **asked,
                    "grant_type": "refresh_token",
                    "refresh_token": who.refresh,
                    "client_id": "tiffin",
                }
                answer = self.session.post(realm, data=form | {"client_id": "tiffin"}, timeout=TIMEOUTS)
            else:
                headers = {"Authorization": f"Basic {who.basic}"} if who is not None and who.basic else {}
                answer = self.session.get(realm, params=asked, headers=headers, timeout=TIMEOUTS)
        except BROKEN as error:
            raise self.unreachable(error) from error
        if answer.status_code != 200:
            return ""
        try:
            found = msgspec.json.decode(answer.content, type=dict[str, Any])
        except msgspec.MsgspecError:
            return ""
        return str(found.get("token") or found.get("access_token") or "")

    # ---- what is wrong

    def unreachable(self, error: Exception) -> RegistryError:
        """The registry does not answer."""
        registry = self.reference.registry
        if isinstance(error, requests.exceptions.SSLError):
            text = str(error)
            if "WRONG_VERSION_NUMBER" in text or "record layer" in text:
                return RegistryError(
                    f"{registry} does not speak TLS",
                    hint="when it is meant to be asked in plain HTTP: --insecure",
                )
            return RegistryError(
                f"the certificate of {registry} is not trusted: {cause(error)}",
                hint="name the certificate of who signed it: REQUESTS_CA_BUNDLE=ca.pem",
            )
        return RegistryError(
            f"{registry} cannot be reached: {cause(error)}",
            hint="check the name, the network and the proxy settings",
        )

    def refused(self, answer: requests.Response, what: str = "") -> RegistryError:
        """The registry answered, and not as was expected."""
        codes, said = problems(_body(answer))
        registry, status = self.reference.registry, answer.status_code
        about = what or str(self.reference)
        if status == 401 or (status == 403 and self.credentials is None):
            source = self.credentials.source if self.credentials else ""
            who = f"the credentials from {source} are not taken" if source else "nobody is logged in"
            return RegistryError(
                f"{registry} lets nobody at {about} without a name: {who} ({status})",
                hint=f"docker login {registry}, or set TIFFIN_REGISTRY={registry}, TIFFIN_REGISTRY_USERNAME"
                " and TIFFIN_REGISTRY_PASSWORD",
            )
        if status == 403 or "DENIED" in codes:
            return RegistryError(
                f"{registry} does not allow this user at {about} ({status}{said})",
                hint="ask who runs the registry for the right to read or write there",
            )
        if status == 404 and "NAME_UNKNOWN" in codes:
            return RegistryError(
                f"{registry} has no repository {self.reference.repository}", hint="check the spelling"
            )
        if status == 404:
            return RegistryError(f"there is no {about}", hint="check the repository, the tag and the digest")
        if status == 429:
            return RegistryError(f"{registry} is asked too often (429{said})", hint="wait, or log in")
        if status == 413:
            return RegistryError(f"{about} is too large for {registry} (413)", hint="ask who runs the registry")
        if status in (405, 501) or "UNSUPPORTED" in codes:
            return RegistryError(f"{registry} does not do this: {about} ({status}{said})")
        return RegistryError(f"{registry} answered {status} for {about}{said}")


def _untouched(request: Any) -> Any:
    """In place of what ``requests`` would add from ``~/.netrc``."""
    return request


def _body(answer: requests.Response) -> bytes:
    try:
        return bytes(answer.content)
    except requests.RequestException:
        return b""
